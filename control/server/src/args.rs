//! Flags and environment of the binary: read here, once. A flag wins over its variable, and that over the default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use flame_api::{API_PORT, BROKER_PORT, NOTIFIER_PORT};

use crate::apiserver::Rates;
use crate::broker::{BrokerChoice, BrokerError};
use crate::config::ServerConfig;
use crate::db::DbCommand;
use crate::deploy::ProcessDeployer;
use crate::tls::Tls;

/// Folder of the server's data.
pub const HOME_VARIABLE: &str = "FLAME_CONTROL_HOME";
/// Address to listen on.
pub const LISTEN_VARIABLE: &str = "FLAME_CONTROL_LISTEN";
/// Port of the apiserver.
pub const API_PORT_VARIABLE: &str = "FLAME_CONTROL_API_PORT";
/// Port of the notifier.
pub const NOTIFIER_PORT_VARIABLE: &str = "FLAME_CONTROL_NOTIFIER_PORT";
/// URL of a broker elsewhere. May hold its login.
pub const BROKER_VARIABLE: &str = "FLAME_BROKER";
/// Certificates of who vouches for a broker over TLS.
pub const BROKER_CA_VARIABLE: &str = "FLAME_BROKER_CA";
/// Port of the embedded broker.
pub const BROKER_PORT_VARIABLE: &str = "FLAME_CONTROL_BROKER_PORT";
/// The flamelet that is started for system tasks.
pub const FLAMELET_VARIABLE: &str = "FLAME_FLAMELET";
/// What is logged.
pub const LOG_VARIABLE: &str = "FLAME_LOG";
/// Certificate (PEM) of both ports.
pub const TLS_CERT_VARIABLE: &str = "FLAME_CONTROL_TLS_CERT";
/// Its key (PEM).
pub const TLS_KEY_VARIABLE: &str = "FLAME_CONTROL_TLS_KEY";
/// Host under which others know the server.
pub const PUBLIC_HOST_VARIABLE: &str = "FLAME_CONTROL_PUBLIC_HOST";
/// Folder of flamectl's configuration; the same that flamectl reads.
pub const CLI_HOME_VARIABLE: &str = "FLAME_HOME";

const EXAMPLES: &str = "\
Examples:
  flame-control
      Everything on this machine: REST on 10100, gRPC on 10101, an MQTT broker on 1883.
  flame-control --listen 0.0.0.0 --public-host flame.example.org
      The same for participants on other machines, over TLS with a certificate that it makes for that name; it prints
      the CA that they name by --ca.
  flame-control --listen 0.0.0.0 --tls-cert server.pem --tls-key server.key --public-host flame.example.org
      With a certificate of yours.
  flame-control db backup backup.jsonl
      Writes everything that the store has into a file, also while the server runs.
  flame-control --broker mqtt://broker.example.org:1883
      With a broker that runs elsewhere.
  flame-control --broker mqtts://broker.example.org --broker-ca ca.crt
      The same over TLS.
  flame-control --data mnist-test=data/mnist/test
      Grants system tasks a data set, such as the one that a job names for evaluation.

On its first start the server makes a token, writes it to HOME/token and into flamectl's configuration
($FLAME_HOME/config.yaml, default ~/.flame/config.yaml).";

/// Flame's control plane: apiserver, controller, notifier and an MQTT broker.
#[derive(Debug, Parser)]
#[command(name = "flame-control", version, after_help = EXAMPLES)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Folder of the server's data [default: ~/.flame/control]
    #[arg(long, global = true, value_name = "DIR", env = HOME_VARIABLE)]
    pub home: Option<PathBuf>,
    /// Address to listen on; 0.0.0.0 for participants on other machines
    #[arg(long, value_name = "IP", env = LISTEN_VARIABLE, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    /// Port of the apiserver (REST)
    #[arg(long, value_name = "PORT", env = API_PORT_VARIABLE, default_value_t = API_PORT)]
    pub api_port: u16,
    /// Port of the notifier (gRPC)
    #[arg(long, value_name = "PORT", env = NOTIFIER_PORT_VARIABLE, default_value_t = NOTIFIER_PORT)]
    pub notifier_port: u16,
    /// Certificate (PEM) for both ports, with those between it and its CA; needs --tls-key, and --public-host to say whose
    #[arg(long, value_name = "FILE", env = TLS_CERT_VARIABLE, requires = "tls_key", requires = "public_host")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", env = TLS_KEY_VARIABLE, requires = "tls_cert", hide_env_values = true)]
    pub tls_key: Option<PathBuf>,
    /// TLS with a certificate that the server makes, also on loopback. Elsewhere it is so without this flag
    #[arg(long, conflicts_with_all = ["tls_cert", "insecure"])]
    pub tls: bool,
    /// One more name or address that the made certificate is for; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tls_cert", "insecure"])]
    pub tls_name: Vec<String>,
    /// No TLS, also where other machines come in: for a proxy in front that has it
    #[arg(long, conflicts_with = "tls_cert")]
    pub insecure: bool,
    /// Host under which others know this server: for the made certificate, and for flamelets that it starts
    #[arg(long, value_name = "HOST", env = PUBLIC_HOST_VARIABLE)]
    pub public_host: Option<String>,
    /// Requests a second that are taken with one token; 0: no limit
    #[arg(long, value_name = "N", default_value_t = Rates::default().token)]
    pub token_rate: u32,
    /// Requests a second that are taken from one address; 0: no limit
    #[arg(long, value_name = "N", default_value_t = Rates::default().address)]
    pub address_rate: u32,
    /// An MQTT 5 broker that runs elsewhere, mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS; without it, one is
    /// embedded
    #[arg(long, value_name = "URL", env = BROKER_VARIABLE, hide_env_values = true)]
    pub broker: Option<String>,
    /// Certificates (PEM) of who vouches for a broker over TLS; without it, agents trust whom their machines trust
    #[arg(long, value_name = "FILE", env = BROKER_CA_VARIABLE)]
    pub broker_ca: Option<PathBuf>,
    /// Port of the embedded broker
    #[arg(long, value_name = "PORT", env = BROKER_PORT_VARIABLE, default_value_t = BROKER_PORT)]
    pub broker_port: u16,
    /// A data set that system tasks may open; may be given several times
    #[arg(long, value_name = "NAME=PATH", value_parser = data_grant)]
    pub data: Vec<(String, PathBuf)>,
    /// The flamelet to start for system tasks [default: the one beside this program, else on PATH]
    #[arg(long, value_name = "PATH", env = FLAMELET_VARIABLE)]
    pub flamelet: Option<PathBuf>,
    /// What is logged, such as debug or info,flame_control=trace
    #[arg(long, value_name = "FILTER", env = LOG_VARIABLE, default_value = "info,rumqttd=off")]
    pub log: String,
    /// How it is logged
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The store: backups, moving it, checking it
    #[command(subcommand)]
    Db(DbCommand),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why flags and environment make no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// No home folder is known.
    #[error("there is no home folder: set HOME, or name a folder for the server's data by --home")]
    NoHome,
    /// The broker's URL or its CA cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

fn data_grant(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            let path = PathBuf::from(path);
            // The flamelet may run in another folder than we do.
            let found = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
            Ok((name.to_owned(), found))
        }
        _ => Err("write NAME=PATH, such as mnist-test=data/mnist/test".into()),
    }
}

impl Args {
    /// Folder of the server's data.
    pub fn home(&self) -> Result<PathBuf, ArgsError> {
        match &self.home {
            Some(home) => Ok(home.clone()),
            None => Ok(flame_home().ok_or(ArgsError::NoHome)?.join("control")),
        }
    }

    /// Loopback is plain unless TLS is asked for; whatever other machines reach has TLS unless it is waived.
    fn tls(&self) -> Tls {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return Tls::Files { certificate: certificate.clone(), key: key.clone() };
        }
        let wanted = self.tls || !self.tls_name.is_empty() || !self.listen.is_loopback();
        if self.insecure || !wanted {
            return Tls::Off;
        }
        Tls::Made { names: self.tls_name.iter().chain(&self.public_host).cloned().collect() }
    }

    /// The configuration of the server.
    pub fn server_config(&self) -> Result<ServerConfig, ArgsError> {
        let home = self.home()?;
        let broker = match &self.broker {
            Some(url) => BrokerChoice::external(url)?,
            None => BrokerChoice::Embedded { listen: SocketAddr::new(self.listen, self.broker_port) },
        };
        let broker = match &self.broker_ca {
            Some(path) => broker.vouched_by(path)?,
            None => broker,
        };
        Ok(ServerConfig {
            api: SocketAddr::new(self.listen, self.api_port),
            notifier: SocketAddr::new(self.listen, self.notifier_port),
            tls: self.tls(),
            rates: Rates { token: self.token_rate, address: self.address_rate },
            broker,
            deployer: Arc::new(ProcessDeployer::new(self.flamelet.clone(), &home)),
            system_data: self.data.clone(),
            // A made certificate is good for loopback, and what the server starts is on this machine.
            advertise_host: self.public_host.clone().filter(|_| self.tls_cert.is_some()),
            skip_admission: false,
            home,
        })
    }
}

/// Folder of flamectl's configuration: `FLAME_HOME`, else `~/.flame`.
pub fn flame_home() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(CLI_HOME_VARIABLE).or_else(|| set("HOME").map(|home| home.join(".flame")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent_and_the_help_has_examples() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        for part in ["Examples:", "FLAME_CONTROL_HOME", "--broker", "--broker-ca", "NAME=PATH"] {
            assert!(help.contains(part), "{part}");
        }
    }

    #[test]
    fn loopback_is_plain_and_elsewhere_is_not_unless_that_is_said() {
        let tls = |args: &[&str]| Args::try_parse_from([&["flame-control"], args].concat()).unwrap().tls();
        let made = |names: &[&str]| Tls::Made { names: names.iter().map(ToString::to_string).collect() };
        assert_eq!(tls(&[]), Tls::Off);
        assert_eq!(tls(&["--tls"]), made(&[]));
        assert_eq!(tls(&["--listen", "0.0.0.0", "--public-host", "flame.example"]), made(&["flame.example"]));
        assert_eq!(tls(&["--listen", "0.0.0.0", "--insecure"]), Tls::Off);
        let files = Tls::Files { certificate: "c.pem".into(), key: "k.pem".into() };
        assert_eq!(tls(&["--tls-cert", "c.pem", "--tls-key", "k.pem", "--public-host", "flame.example"]), files);
        for wrong in [&["--tls", "--insecure"][..], &["--tls-cert", "c.pem", "--tls-key", "k.pem"]] {
            assert!(Args::try_parse_from([&["flame-control"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn data_grants_name_what_exists() {
        assert!(data_grant("here=.").is_ok_and(|(name, path)| name == "here" && path.is_absolute()));
        for bad in ["here", "=.", "here=", "here=/no/such/folder"] {
            assert!(data_grant(bad).is_err(), "{bad}");
        }
    }
}
