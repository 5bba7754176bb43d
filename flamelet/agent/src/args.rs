//! The command line of `flamelet`, and the typed configuration that the agent takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;
use flame_api::{AgentId, CA_VARIABLE, Secret, Trust};
use flame_channel::inproc::InprocHub;
use flame_channel::mqtt::TlsSettings;
use flame_channel::p2p::Listen;
use flame_sandbox::Dataset;

use crate::agents_file;
use crate::audit::AuditLog;
use crate::broker::BrokerArgs;
use crate::peers::host;
use crate::policy::Policy;

/// Names the task to serve; shown by `flamectl get tasks JOB`.
const ENV_AGENT_ID: &str = "FLAME_AGENT_ID";
/// The key that binds this agent to its task; chosen by the participant.
const ENV_AGENT_KEY: &str = "FLAME_AGENT_KEY";
/// A file with the key, for who does not want it in the environment.
const ENV_AGENT_KEY_FILE: &str = "FLAME_AGENT_KEY_FILE";
/// Where to listen for peers.
const ENV_P2P_LISTEN: &str = "FLAME_P2P_LISTEN";
/// What to tell peers of it.
const ENV_P2P_ADVERTISE: &str = "FLAME_P2P_ADVERTISE";
/// Longest key that is read, in bytes.
pub(crate) const MAX_KEY: usize = 1_024;

/// What it takes to serve a task.
#[derive(Debug, Parser)]
pub struct Args {
    /// Address of the apiserver.
    #[arg(short = 'a', long, value_name = "URL", env = "FLAME_APISERVER", default_value = "http://127.0.0.1:10100")]
    pub apiserver: String,
    /// Address of the notifier.
    #[arg(short = 'n', long, value_name = "HOST:PORT", env = "FLAME_NOTIFIER", default_value = "127.0.0.1:10101")]
    pub notifier: String,
    /// Certificates (PEM) of who vouches for the control plane over TLS [default: whom this machine trusts].
    #[arg(long, value_name = "FILE", env = CA_VARIABLE)]
    pub ca: Option<PathBuf>,
    /// Serves several tasks: a file with an agent id and its key on each line, instead of FLAME_AGENT_ID.
    #[arg(long, value_name = "FILE", env = "FLAME_AGENTS")]
    pub agents: Option<PathBuf>,
    /// Grants the data set at PATH (an IDX file or a folder of them, .gz too) to the task under NAME. Repeatable.
    #[arg(long, value_name = "NAME=PATH")]
    pub data: Vec<DataArg>,
    /// What a task may use and what may leave: a TOML file, see docs/policy.md.
    #[arg(long, value_name = "FILE", env = "FLAME_POLICY")]
    pub policy: Option<PathBuf>,
    /// File to which what runs and what leaves is appended [default: $FLAME_HOME/audit.log, or ~/.flame/audit.log].
    #[arg(long, value_name = "FILE", env = "FLAME_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,
    /// Who vouches for the broker, and who this agent is there.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Where to listen for peers, for channels with the backend p2p; port 0 takes a free one, `none` does not listen. Of
    /// two peers one has to listen [default: a free port on loopback where the notifier is there, else none].
    #[arg(long, value_name = "HOST:PORT", env = ENV_P2P_LISTEN, value_parser = p2p_listen)]
    pub p2p_listen: Option<P2pListen>,
    /// Address under which peers reach this flamelet, where that is not the one it listens on.
    #[arg(long, value_name = "HOST:PORT", env = ENV_P2P_ADVERTISE)]
    pub p2p_advertise: Option<String>,
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

/// Whether and where to listen for peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum P2pListen {
    /// Peers cannot dial this agent.
    None,
    /// `host:port`.
    At(String),
}

fn p2p_listen(text: &str) -> Result<P2pListen, String> {
    if text == "none" {
        return Ok(P2pListen::None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(P2pListen::At(text.to_owned())),
        _ => Err("write HOST:PORT, such as 0.0.0.0:7000 or 127.0.0.1:0, or none".into()),
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
    /// Address of the notifier, `host:port`; over TLS where the apiserver is.
    pub notifier: String,
    /// Whom to trust as either over TLS.
    pub trust: Trust,
    /// Data sets granted to the task.
    pub datasets: Vec<Arc<Dataset>>,
    /// What the participant grants; a job may ask for less.
    pub policy: Policy,
    /// Keeps a record of what runs and what leaves.
    pub audit: Option<Arc<AuditLog>>,
    /// Whom to trust as a broker over TLS, and as whom to appear there; stands over the grant.
    pub broker_tls: TlsSettings,
    /// Where to listen for peers; without it the agent dials them.
    pub p2p_listen: Option<Listen>,
    /// Joins the agents of one process: for channels with the backend `inproc`.
    pub inproc: Option<Arc<InprocHub>>,
}

impl AgentConfig {
    /// Where an agent listens that was not told: on loopback if the control plane is there, else nowhere.
    pub fn default_p2p_listen(notifier: &str) -> Option<Listen> {
        let host = host(notifier);
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let loopback = if host == "localhost" { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { ip.ok() };
        let address = SocketAddr::new(loopback.filter(IpAddr::is_loopback)?, 0).to_string();
        Some(Listen { address, advertise: None })
    }

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
    /// Reads the environment and the data, and checks both before anything is connected: for one task.
    pub fn config(&self) -> anyhow::Result<AgentConfig> {
        self.config_as(agent_id()?, agent_key()?)
    }

    /// The same for all tasks that are to be served.
    pub fn configs(&self) -> anyhow::Result<Vec<AgentConfig>> {
        let Some(path) = &self.agents else { return Ok(vec![self.config()?]) };
        let agents = agents_file::read(path)?;
        let fixed = match &self.p2p_listen {
            Some(P2pListen::At(address)) => !address.ends_with(":0"),
            _ => false,
        };
        if fixed && agents.len() > 1 {
            bail!("--p2p-listen names one port, and {} has {} agents: give it port 0", path.display(), agents.len());
        }
        let Some((first, rest)) = agents.split_first() else {
            bail!("{} names no agent; write an agent id and its key on each line", path.display());
        };
        // Data, policy and audit log are read and opened once, for all.
        let shared = self.config_as(first.id.clone(), first.key.clone())?;
        let other =
            |agent: &agents_file::Agent| AgentConfig { id: agent.id.clone(), key: agent.key.clone(), ..shared.clone() };
        let rest: Vec<AgentConfig> = rest.iter().map(other).collect();
        Ok(std::iter::once(shared).chain(rest).collect())
    }

    fn config_as(&self, id: AgentId, key: Secret) -> anyhow::Result<AgentConfig> {
        Ok(AgentConfig {
            id,
            key,
            apiserver: self.apiserver.clone(),
            notifier: self.notifier.clone(),
            trust: Trust::load(self.ca.as_deref())?,
            datasets: AgentConfig::load_data(&self.data)?,
            policy: self.policy()?,
            audit: Some(Arc::new(AuditLog::open(&self.audit_log())?)),
            broker_tls: self.broker.load()?,
            p2p_listen: self.listen()?,
            inproc: None,
        })
    }

    fn policy(&self) -> anyhow::Result<Policy> {
        Ok(self.policy.as_deref().map(Policy::load).transpose()?.unwrap_or_default())
    }

    /// The audit log: as given, or `audit.log` in Flame's folder.
    pub fn audit_log(&self) -> PathBuf {
        self.audit_log.clone().unwrap_or_else(default_audit_log)
    }

    fn listen(&self) -> anyhow::Result<Option<Listen>> {
        let listen = match &self.p2p_listen {
            None => AgentConfig::default_p2p_listen(&self.notifier),
            Some(P2pListen::None) => None,
            Some(P2pListen::At(address)) => Some(Listen { address: address.clone(), advertise: None }),
        };
        match (listen, &self.p2p_advertise) {
            (Some(listen), advertise) => Ok(Some(Listen { advertise: advertise.clone(), ..listen })),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                bail!("--p2p-advertise names an address, and nothing listens: add --p2p-listen HOST:PORT")
            }
        }
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

/// `audit.log` in `$FLAME_HOME`, or in `~/.flame`.
pub(crate) fn default_audit_log() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    std::env::var_os("FLAME_HOME").map_or_else(|| home.join(".flame"), PathBuf::from).join("audit.log")
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
    fn peers_are_listened_for_where_that_is_asked_for_or_everybody_is_on_one_machine() {
        let listen = |args: &[&str]| {
            let args = Args::try_parse_from(std::iter::once(&"flamelet").chain(args)).unwrap();
            args.listen().map(|listen| listen.map(|listen| (listen.address, listen.advertise)))
        };
        let at = |address: &str| Some((address.to_owned(), None));
        assert_eq!(listen(&["-n", "127.0.0.1:10101"]).unwrap(), at("127.0.0.1:0"));
        assert_eq!(listen(&["-n", "localhost:10101"]).unwrap(), at("127.0.0.1:0"));
        assert_eq!(listen(&["-n", "[::1]:10101"]).unwrap(), at("[::1]:0"));
        assert_eq!(listen(&["-n", "flame.example:10101"]).unwrap(), None);
        assert_eq!(listen(&["--p2p-listen", "none"]).unwrap(), None);
        let both = ["--p2p-listen", "0.0.0.0:7000", "--p2p-advertise", "a.example:7000"];
        assert_eq!(listen(&both).unwrap(), Some(("0.0.0.0:7000".into(), Some("a.example:7000".into()))));
        let error = listen(&["--p2p-listen", "none", "--p2p-advertise", "a:1"]).unwrap_err().to_string();
        assert!(error.contains("--p2p-listen HOST:PORT"), "{error}");
        assert!(p2p_listen("7000").is_err() && p2p_listen("host:port").is_err());
    }

    #[test]
    fn data_is_named_and_placed() {
        let arg: DataArg = "mnist=/data/a=b".parse().unwrap();
        assert_eq!((arg.name.as_str(), arg.path.to_str()), ("mnist", Some("/data/a=b")));
        for wrong in ["mnist", "=x", "mnist="] {
            assert!(wrong.parse::<DataArg>().unwrap_err().contains("NAME=PATH"));
        }
    }
}
