//! Where the server is and which token opens it: read here, once, from flags, environment and file.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use flame_api::{API_PORT, Secret, Trust};
use serde::Deserialize;

use crate::Failure;

/// Folder of Flame's own files; the configuration is `config.yaml` in it.
const HOME_VARIABLE: &str = "FLAME_HOME";
/// The bearer token. There is no flag for it: a flag is seen by everybody who lists processes.
const TOKEN_VARIABLE: &str = "FLAME_TOKEN";

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default)]
    apiserver: Option<ApiServer>,
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    ca: Option<PathBuf>,
    // Flame's own configuration names the user; the token tells it here.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted so that an existing file can be used")]
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiServer {
    endpoint: String,
}

/// Where the token came from.
#[derive(Debug, PartialEq, Eq)]
enum TokenSource {
    Environment,
    File,
    Nowhere,
}

/// What it takes to reach a server.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `http://…`.
    pub(crate) endpoint: String,
    /// Opens the server.
    pub(crate) token: Option<Secret>,
    /// Whom to trust as the server over TLS.
    pub(crate) trust: Trust,
    source: TokenSource,
    file: Option<PathBuf>,
}

impl Settings {
    /// Flag over environment over file over default; the flag and its variable come as one, from clap.
    pub(crate) fn resolve(config: Option<&Path>, apiserver: Option<&str>, ca: Option<&Path>) -> Result<Self, Failure> {
        let file = config.map(Path::to_owned).or_else(default_path);
        let read = match &file {
            Some(path) => read(path, config.is_some())?,
            None => ConfigFile::default(),
        };
        let endpoint = match (apiserver.filter(|url| !url.is_empty()), read.apiserver) {
            (Some(url), _) => url.to_owned(),
            (None, Some(server)) => server.endpoint,
            (None, None) => format!("http://127.0.0.1:{API_PORT}"),
        };
        check(&endpoint)?;
        let ca = ca.filter(|ca| !ca.as_os_str().is_empty()).map(Path::to_owned).or(read.ca);
        let trust = Trust::load(ca.as_deref()).map_err(|error| Failure::input(error.to_string(), ""))?;
        let environment = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let (token, source) = match (environment, read.token) {
            (Some(token), _) => (Some(Secret::new(token.trim())), TokenSource::Environment),
            (None, Some(token)) => (Some(Secret::new(token.expose().trim())), TokenSource::File),
            (None, None) => (None, TokenSource::Nowhere),
        };
        Ok(Self { endpoint, token, trust, source, file })
    }

    /// A hint that is better than the failure's own, because it knows where the token came from.
    pub(crate) fn hint_for(&self, failure: &Failure) -> Option<String> {
        if !failure.is_unauthenticated() {
            return None;
        }
        let file = self.file.as_ref().map_or_else(|| "the configuration".into(), |file| file.display().to_string());
        Some(match self.source {
            TokenSource::Environment => {
                format!("the token came from {TOKEN_VARIABLE}; unset it to use the one in {file}, or ask for a new one")
            }
            TokenSource::File => format!(
                "the token came from {file}, perhaps from another server's first start; set {TOKEN_VARIABLE} or give --config PATH"
            ),
            TokenSource::Nowhere => format!(
                "no token was given: set {TOKEN_VARIABLE}, or put `token: …` into {file} (a server on this machine writes one on its first start)"
            ),
        })
    }
}

fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set(HOME_VARIABLE).or_else(|| set("HOME").map(|home| home.join(".flame")))?;
    Some(home.join("config.yaml"))
}

fn read(path: &Path, required: bool) -> Result<ConfigFile, Failure> {
    let name = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(ConfigFile::default()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Failure::input(
                format!("the configuration file {name} does not exist"),
                "leave --config out to use the default one, or write `apiserver: {endpoint: URL}` into it",
            ));
        }
        Err(error) => return Err(Failure::input(format!("cannot read the configuration file {name}: {error}"), "")),
    };
    if text.trim().is_empty() {
        return Ok(ConfigFile::default());
    }
    serde_saphyr::from_str(&text).map_err(|error| {
        // Only the first line of the parser's message: the rest may quote the file, and the file holds a token.
        let what = error.without_snippet().to_string();
        let what = what.lines().next().unwrap_or_default().to_owned();
        Failure::input(
            format!("the configuration file {name} is not right: {what}"),
            "it holds `apiserver: {endpoint: URL}`, `token: TEXT` and, if you like, `ca: PATH` and `user: NAME`",
        )
    })
}

fn check(endpoint: &str) -> Result<(), Failure> {
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with(['/', ':']) => Ok(()),
        _ => Err(Failure::input(
            format!("`{endpoint}` is not the address of an apiserver"),
            "an address begins with http:// or https://, such as http://127.0.0.1:10100",
        )),
    }
}
