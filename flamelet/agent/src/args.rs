//! The command line of `flamelet`, and the typed configuration that the agent takes.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;
use flame_api::{AgentId, Secret};
use flame_channel::mqtt::TlsSettings;
use flame_sandbox::{Dataset, Limits};

use crate::broker::BrokerArgs;

/// Names the task to serve; shown by `flamectl get tasks JOB`.
const ENV_AGENT_ID: &str = "FLAME_AGENT_ID";
/// The key that binds this agent to its task; chosen by the participant.
const ENV_AGENT_KEY: &str = "FLAME_AGENT_KEY";
/// A file with the key, for who does not want it in the environment.
const ENV_AGENT_KEY_FILE: &str = "FLAME_AGENT_KEY_FILE";
/// Longest key that is read, in bytes.
const MAX_KEY: usize = 1_024;

/// Serves one task of a Flame job: runs its code in a sandbox beside your data.
///
/// The task is named by FLAME_AGENT_ID, which `flamectl get tasks JOB` shows. FLAME_AGENT_KEY is any text that you
/// choose; use the same one to rejoin the task after a crash or on another machine.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  FLAME_AGENT_ID=18d2671fbf597f2200fd4a01f4dfc7878fce5ca9 FLAME_AGENT_KEY=my-own-key \\
    flamelet -a http://127.0.0.1:10100 -n 127.0.0.1:10101 --data mnist=examples/mnist-wasm/data/train

Exit status: 0 the task completed, 1 it failed, 2 it was terminated, 64 wrong usage."
)]
pub struct Args {
    /// Address of the apiserver.
    #[arg(short = 'a', long, value_name = "URL", env = "FLAME_APISERVER", default_value = "http://127.0.0.1:10100")]
    pub apiserver: String,
    /// Address of the notifier.
    #[arg(short = 'n', long, value_name = "HOST:PORT", env = "FLAME_NOTIFIER", default_value = "127.0.0.1:10101")]
    pub notifier: String,
    /// Grants the data set at PATH (an IDX file or a folder of them, .gz too) to the task under NAME. Repeatable.
    #[arg(long, value_name = "NAME=PATH")]
    pub data: Vec<DataArg>,
    /// Who vouches for the broker, and who this agent is there.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Folder for compiled components, private to this agent.
    #[arg(long, value_name = "DIR", env = "FLAME_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// What to log, such as `debug` or `flamelet=debug`.
    #[arg(long, value_name = "FILTER", env = "FLAME_LOG", default_value = "info")]
    pub log: String,
}

/// `NAME=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataArg {
    /// The name that the code asks for.
    pub name: String,
    /// Where the data is; never leaves this process.
    pub path: PathBuf,
}

impl FromStr for DataArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err(format!("`{text}` is not NAME=PATH, such as mnist=data/train")),
        }
    }
}

/// What an agent needs to serve one task.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The task.
    pub id: AgentId,
    /// The key that binds the agent to it.
    pub key: Secret,
    /// Address of the apiserver, `http://host:port`.
    pub apiserver: String,
    /// Address of the notifier, `host:port`.
    pub notifier: String,
    /// Data sets granted to the task.
    pub datasets: Vec<Arc<Dataset>>,
    /// What the task may use at the most; a job may ask for less.
    pub limits: Limits,
    /// Whom to trust as a broker over TLS, and as whom to appear there; stands over the grant.
    pub broker_tls: TlsSettings,
}

impl AgentConfig {
    /// Loads data sets granted on the command line.
    pub fn load_data(data: &[DataArg]) -> anyhow::Result<Vec<Arc<Dataset>>> {
        let mut sets: Vec<Arc<Dataset>> = Vec::new();
        for arg in data {
            for set in Dataset::load(&arg.name, &arg.path)? {
                if sets.iter().any(|known| known.name() == set.name()) {
                    bail!("the data set name `{}` is given twice; give each --data a name of its own", set.name());
                }
                sets.push(Arc::new(set));
            }
        }
        Ok(sets)
    }
}

impl Args {
    /// Reads the environment and the data, and checks both before anything is connected.
    pub fn config(&self) -> anyhow::Result<AgentConfig> {
        Ok(AgentConfig {
            id: agent_id()?,
            key: agent_key()?,
            apiserver: self.apiserver.clone(),
            notifier: self.notifier.clone(),
            datasets: AgentConfig::load_data(&self.data)?,
            limits: Limits::default(),
            broker_tls: self.broker.load()?,
        })
    }

    /// The folder for compiled components: as given, or `flamelet` in the user's cache folder.
    pub fn cache_folder(&self) -> PathBuf {
        if let Some(folder) = &self.cache_dir {
            return folder.clone();
        }
        let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        cache.join("flamelet")
    }
}

fn agent_id() -> anyhow::Result<AgentId> {
    let Ok(id) = std::env::var(ENV_AGENT_ID) else {
        bail!(
            "{ENV_AGENT_ID} is not set; it names the task to serve: `flamectl get tasks JOB` lists them under AGENT ID"
        );
    };
    id.parse().with_context(|| format!("{ENV_AGENT_ID} is wrong; copy it from `flamectl get tasks JOB`"))
}

fn agent_key() -> anyhow::Result<Secret> {
    let key = match (std::env::var(ENV_AGENT_KEY), std::env::var_os(ENV_AGENT_KEY_FILE)) {
        (Ok(key), _) => key,
        (Err(_), Some(path)) => {
            let path = PathBuf::from(path);
            let text = std::fs::read_to_string(&path);
            text.with_context(|| format!("{ENV_AGENT_KEY_FILE}: cannot read {}", path.display()))?.trim().to_owned()
        }
        (Err(_), None) => bail!(
            "{ENV_AGENT_KEY} is not set; choose any text as the key of this task and keep it: the same key rejoins the task"
        ),
    };
    if key.is_empty() || key.len() > MAX_KEY {
        bail!("{ENV_AGENT_KEY} has {} bytes; a key has 1 to {MAX_KEY}", key.len());
    }
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_named_and_placed() {
        let arg: DataArg = "mnist=/data/a=b".parse().unwrap();
        assert_eq!((arg.name.as_str(), arg.path.to_str()), ("mnist", Some("/data/a=b")));
        for wrong in ["mnist", "=x", "mnist="] {
            assert!(wrong.parse::<DataArg>().unwrap_err().contains("NAME=PATH"));
        }
    }
}
