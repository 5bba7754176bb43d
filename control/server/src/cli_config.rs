//! flamectl's configuration: a server on the user's own machine writes there how it is reached, so that flamectl works
//! without being told. A file that somebody else's server or the user wrote is left alone.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flame_api::Secret;
use serde::Deserialize;

use crate::server::write_private;

/// The file's name in flamectl's folder.
const FILE: &str = "config.yaml";
/// Begins every file that a server wrote.
const MARK: &str = "# Written by a Flame server when it started; the next one on this machine replaces it.";
/// Time for a server to answer that a file names.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// What became of flamectl's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CliConfig {
    /// It leads to this server now.
    Written(PathBuf),
    /// It leads elsewhere, and was left so.
    LeftAlone {
        /// The file.
        path: PathBuf,
        /// Where it leads.
        endpoint: String,
    },
}

/// Why it could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("flamectl's configuration {path} cannot be {what}: {reason}; set FLAME_HOME to use another folder")]
pub struct CliConfigError {
    path: String,
    what: &'static str,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
struct Existing {
    #[serde(default)]
    apiserver: Option<ApiServer>,
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ApiServer {
    endpoint: String,
}

/// Writes `<home>/config.yaml` (mode 0600), where `home` is `FLAME_HOME` or `~/.flame`, so that flamectl finds the server
/// at `endpoint` with `token`. An existing file is replaced when it names the same endpoint or token, or when a server
/// wrote it that does not answer any more.
///
/// `ca`: who vouches for the server over TLS, where flamectl's machine does not know them.
pub fn write_cli_config(
    home: &Path,
    endpoint: &str,
    token: &Secret,
    ca: Option<&Path>,
) -> Result<CliConfig, CliConfigError> {
    let path = home.join(FILE);
    let failed = |what, reason: String| CliConfigError { path: path.display().to_string(), what, reason };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed("read", error.to_string())),
    };
    let existing: Existing = match text.trim() {
        "" => Existing::default(),
        // The parser's message may quote the file, and the file may hold a token.
        text => serde_saphyr::from_str(text).map_err(|_| failed("read", "it is not what flamectl writes".into()))?,
    };
    let there = existing.apiserver.map(|server| server.endpoint);
    if let Some(there) = there
        && there != endpoint
        && existing.token.as_ref() != Some(token)
        && (!text.starts_with(MARK) || answers(&there))
    {
        return Ok(CliConfig::LeftAlone { path, endpoint: there });
    }
    // Texts of JSON are texts of YAML.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let user = existing.user.map(|user| format!("user: {}\n", quoted(&user))).unwrap_or_default();
    let ca = ca.map(|ca| format!("ca: {}\n", quoted(&ca.display().to_string()))).unwrap_or_default();
    let new =
        format!("{MARK}\napiserver:\n  endpoint: {}\ntoken: {}\n{ca}{user}", quoted(endpoint), quoted(token.expose()));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
    made.and_then(|()| write_private(&path, &new)).map_err(|error| failed("written", error.to_string()))?;
    Ok(CliConfig::Written(path))
}

/// Whether something listens there. What is not an address of ours counts as answering: it is not ours to replace.
fn answers(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let Some(host) = host.map(|host| host.trim_end_matches('/')) else { return true };
    let Ok(mut addresses) = host.to_socket_addrs() else { return true };
    addresses.any(|address| TcpStream::connect_timeout(&address, ANSWER_WITHIN).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_first_server_writes_it_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("flame");
        let written = write_cli_config(&folder, "http://127.0.0.1:10100", &Secret::new("t0ken"), None).unwrap();
        let path = folder.join("config.yaml");
        assert_eq!(written, CliConfig::Written(path.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("endpoint: \"http://127.0.0.1:10100\"") && text.contains("token: \"t0ken\""), "{text}");
    }

    #[test]
    fn the_same_endpoint_or_a_dead_servers_file_is_replaced_and_others_are_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.yaml");
        std::fs::write(&path, "apiserver: {endpoint: http://127.0.0.1:9}\ntoken: old\nuser: me\n").unwrap();
        let left = write_cli_config(home.path(), "http://127.0.0.1:10", &Secret::new("new"), None).unwrap();
        assert!(matches!(left, CliConfig::LeftAlone { .. }), "{left:?}");
        let same = write_cli_config(home.path(), "http://127.0.0.1:9", &Secret::new("new"), None).unwrap();
        assert!(matches!(same, CliConfig::Written(_)), "{same:?}");
        assert!(std::fs::read_to_string(&path).unwrap().contains("user: \"me\""));

        // Now a server wrote it, at a port where nobody is.
        let next = write_cli_config(home.path(), "http://127.0.0.1:10", &Secret::new("newer"), None).unwrap();
        assert!(matches!(next, CliConfig::Written(_)), "{next:?}");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = format!("http://{}", listener.local_addr().unwrap());
        write_cli_config(home.path(), &alive, &Secret::new("newer"), None).unwrap();
        let left = write_cli_config(home.path(), "http://127.0.0.1:10", &Secret::new("newest"), None).unwrap();
        assert!(matches!(left, CliConfig::LeftAlone { .. }), "{left:?}");
    }
}
