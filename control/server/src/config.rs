//! What a server is started with: typed, read once by whoever starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::apiserver::Rates;
use crate::broker::BrokerChoice;
use crate::deploy::Deployer;
use crate::tls::Tls;

/// What a [`crate::Server`] is started with.
pub struct ServerConfig {
    /// Folder of the server's own data: `store/`, `code/`, `models/`, `agents/`, `token`. Made with mode 0700 if missing.
    pub home: PathBuf,
    /// Where the apiserver (REST) listens; port 0 for any free one.
    pub api: SocketAddr,
    /// Where the notifier (gRPC) listens; port 0 for any free one.
    pub notifier: SocketAddr,
    /// Whether both speak TLS.
    pub tls: Tls,
    /// How many requests are taken from one caller.
    pub rates: Rates,
    /// The MQTT broker that carries channels.
    pub broker: BrokerChoice,
    /// What places system tasks.
    pub deployer: Arc<dyn Deployer>,
    /// Data sets that the operator grants to system tasks, by name.
    pub system_data: Vec<(String, PathBuf)>,
    /// Host under which placed flamelets reach this server. Without it: the address that it listens on, or loopback
    /// where that is every address.
    pub advertise_host: Option<String>,
    /// Takes code whose imports admission would refuse: for tests of the second line of defence, the agent's own
    /// linking. The binary never sets it, and there is no flag for it.
    pub skip_admission: bool,
}
