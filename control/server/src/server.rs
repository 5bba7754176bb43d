//! A server, from start to shutdown: puts the rooms together.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flame_api::{BrokerAccess, Problem, Secret};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::apiserver::audit::Audit;
use crate::apiserver::limits::Limits;
use crate::apiserver::metrics::Metrics;
use crate::apiserver::tokens::Tokens;
use crate::apiserver::{self, Api};
use crate::artifacts::{ArtifactError, Artifacts};
use crate::broker::{self, BrokerError};
use crate::config::ServerConfig;
use crate::controller::{Controller, Surroundings};
use crate::crypto;
use crate::listener::{Listener, Peer};
use crate::notifier::{Guard, Service, Sessions};
use crate::store::records::{IDENTITY, Identity};
use crate::store::{Metered, SledStore, Store, StoreError, StoreTimes, Tree, get_record, migrate, put_record};
use crate::tls::TlsError;

/// Time for requests and sessions to end once the server stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// File with the admin token.
pub(crate) const TOKEN_FILE: &str = "token";
/// File with where the apiserver of a running server is.
pub(crate) const ENDPOINT_FILE: &str = "endpoint";

/// Why a server does not start. Each names the fix.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be had.
    #[error("the {what} cannot listen on {address}: {error}; {fix}")]
    Listen {
        /// Whose.
        what: &'static str,
        /// Which.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
        /// What to do.
        fix: String,
    },
    /// The home folder cannot be used.
    #[error("the home folder {path} cannot be used: {error}; name another one by --home")]
    Home {
        /// Which file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The store does not open, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folders for large bytes cannot be used.
    #[error("{0}; name another home folder by --home")]
    Artifacts(String),
    /// There is no broker.
    #[error(transparent)]
    Broker(BrokerError),
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
}

impl From<ArtifactError> for StartError {
    fn from(error: ArtifactError) -> Self {
        Self::Artifacts(error.to_string())
    }
}

impl From<Problem> for StartError {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem.to_string())
    }
}

/// A control plane that runs. Dropping it ends it without grace; [`Server::shutdown`] is kinder.
pub struct Server {
    api: SocketAddr,
    notifier: SocketAddr,
    broker: BrokerAccess,
    token: Secret,
    /// Whether both ports speak TLS.
    tls: bool,
    /// Who vouches for it, where that is a CA of the server's own.
    ca: Option<PathBuf>,
    /// Host under which others know it.
    host: Option<String>,
    controller: Arc<Controller>,
    stopping: CancellationToken,
    sessions: TaskTracker,
    serving: Vec<AbortOnDropHandle<()>>,
}

impl Server {
    /// Starts everything, and goes on with the jobs that were under way.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let home = config.home.clone();
        let opened = tokio::task::spawn_blocking(move || open(&home)).await;
        let store = opened.map_err(|error| StartError::Failed(error.to_string()))??;
        Self::start_on(config, Arc::new(store)).await
    }

    /// The same on a store that was opened already, such as one in memory. Large bytes go to the home folder.
    pub async fn start_on(config: ServerConfig, store: Arc<dyn Store>) -> Result<Self, StartError> {
        make_home(&config.home)?;
        let times = StoreTimes::default();
        let store: Arc<dyn Store> = Arc::new(Metered::new(store, &times));
        if let Some(layout) = migrate(&*store)? {
            tracing::info!("the store had layout {layout} and has today's now");
        }
        let artifacts = Artifacts::open(&config.home)?;
        let (token, identity) = identity(&config.home, &*store)?;
        let api = listen("apiserver", config.api, "--api-port").await?;
        let notifier = listen("notifier", config.notifier, "--notifier-port").await?;
        let (api_addr, notifier_addr) = (address(&api)?, address(&notifier)?);
        let (tls, home) = (config.tls.clone(), config.home.clone());
        let ready = tokio::task::spawn_blocking(move || tls.prepare(&home, api_addr.ip())).await;
        let ready = ready.map_err(|error| StartError::Failed(error.to_string()))??;
        let (acceptor, ca) = match ready {
            Some(ready) => (Some(ready.acceptor), ready.ca),
            None => (None, None),
        };
        let tls = acceptor.is_some();
        let broker = broker::provide(&config.broker, &identity.broker_password).await.map_err(broker_failed)?;

        let sessions = Arc::new(Sessions::default());
        let reached = |address: SocketAddr| match &config.advertise_host {
            Some(host) => format!("{host}:{}", address.port()),
            None => reachable(address).to_string(),
        };
        let scheme = if tls { "https" } else { "http" };
        let tokens = Tokens::load(Arc::clone(&store))?;
        let (metrics, audit) = (Metrics::new(&times), Arc::new(Audit::open(Arc::clone(&store))?));
        let controller = Controller::new(Surroundings {
            store,
            artifacts,
            sessions,
            deployer: Arc::clone(&config.deployer),
            apiserver: format!("{scheme}://{}", reached(api_addr)),
            notifier: reached(notifier_addr),
            ca: ca.clone(),
            broker: broker.clone(),
            p2p_listen: SocketAddr::new(api_addr.ip(), 0),
            p2p_advertise: config.advertise_host.clone(),
            system_data: config.system_data.clone(),
            skip_admission: config.skip_admission,
        });
        // Before anybody can start a job: each has one keeper.
        controller.resume().await?;
        let (stopping, tracker) = (CancellationToken::new(), TaskTracker::new());
        let state = Api {
            controller: Arc::clone(&controller),
            admin_token: identity.admin_token.into(),
            tokens: Arc::new(tokens),
            limits: Arc::new(Limits::new(config.rates)),
            metrics: Arc::clone(&metrics),
            audit: Arc::clone(&audit),
            stopping: stopping.clone(),
        };
        let service =
            Service::new(Arc::clone(&controller), stopping.clone(), tracker.clone(), Guard::new(metrics, audit));
        let api = Listener::start(api, api_addr, acceptor.clone());
        let notifier = Listener::start(notifier, notifier_addr, acceptor);
        let serving =
            vec![serve_api(api, state, stopping.clone()), serve_notifier(notifier, service, stopping.clone())];
        let server = Self {
            api: api_addr,
            notifier: notifier_addr,
            broker,
            token,
            tls,
            ca,
            host: config.advertise_host.clone(),
            controller,
            stopping,
            sessions: tracker,
            serving,
        };
        // For commands on this machine: `flame-control db backup`.
        write_private(&config.home.join(ENDPOINT_FILE), &format!("{}\n", server.endpoint()))
            .map_err(|error| StartError::Home { path: config.home.display().to_string(), error })?;
        Ok(server)
    }

    /// Where the apiserver listens.
    pub fn api_addr(&self) -> SocketAddr {
        self.api
    }

    /// Where the notifier listens.
    pub fn notifier_addr(&self) -> SocketAddr {
        self.notifier
    }

    /// Where clients on this machine reach the apiserver: `http://host:port`, or `https://host:port`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        match &self.host {
            Some(host) => format!("{scheme}://{host}:{}", self.api.port()),
            None => format!("{scheme}://{}", reachable(self.api)),
        }
    }

    /// Whether both ports speak TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The CA that vouches for this server, where it is the server's own.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// The broker's URL, as agents get it.
    pub fn broker_url(&self) -> &str {
        &self.broker.url
    }

    /// The admin token. It is also in the file `token` of the home folder.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// Ends sessions and requests, revokes what was deployed, and lets go of the store. Jobs stay as they are: they go
    /// on when a server is started on the same home. The embedded broker ends with the process.
    pub async fn shutdown(mut self) {
        self.controller.shutdown().await;
        self.stopping.cancel();
        self.sessions.close();
        let serving = std::mem::take(&mut self.serving);
        let drained = async {
            self.sessions.wait().await;
            for task in serving {
                // One that failed has logged why.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(DRAIN_WITHIN, drained).await.is_err() {
            tracing::warn!("some connections did not end within {} s and were cut", DRAIN_WITHIN.as_secs());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.controller.let_go();
        self.stopping.cancel();
    }
}

fn open(home: &Path) -> Result<SledStore, StartError> {
    make_home(home)?;
    Ok(SledStore::open(&home.join("store"))?)
}

fn make_home(home: &Path) -> Result<(), StartError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
    made.map_err(|error| StartError::Home { path: home.display().to_string(), error })
}

/// Reads who this server is, or makes it up on the first start. A token whose file is gone is replaced.
fn identity(home: &Path, store: &dyn Store) -> Result<(Secret, Identity), StartError> {
    let path = home.join(TOKEN_FILE);
    let known: Option<Identity> = get_record(store, Tree::Server, IDENTITY)?;
    if let Some(identity) = &known
        && let Ok(text) = std::fs::read_to_string(&path)
        && crypto::same(&crypto::sha256_hex(text.trim().as_bytes()), &identity.admin_token)
    {
        return Ok((Secret::new(text.trim()), identity.clone()));
    }
    if known.is_some() {
        tracing::warn!("{} is missing or was changed: there is a new admin token", path.display());
    }
    let token = crypto::random_secret()?;
    let broker_password = match known {
        Some(identity) => identity.broker_password,
        None => crypto::random_secret()?,
    };
    let identity = Identity { admin_token: crypto::sha256_hex(token.expose().as_bytes()), broker_password };
    // The file first: a token that only the file has is replaced at the next start, one that only the store has is lost.
    write_private(&path, &format!("{}\n", token.expose()))
        .map_err(|error| StartError::Home { path: path.display().to_string(), error })?;
    put_record(store, Tree::Server, IDENTITY, &identity)?;
    Ok((token, identity))
}

/// Writes a file that only its owner reads, as one step.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

async fn listen(what: &'static str, address: SocketAddr, flag: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        let fix = fix_for(&error, flag);
        StartError::Listen { what, address, error, fix }
    })
}

fn fix_for(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("stop what uses the port (perhaps another flame-control or fiab), or choose another one by {flag}")
        }
        ErrorKind::AddrNotAvailable => "choose an address of this machine by --listen".to_owned(),
        ErrorKind::PermissionDenied => format!("choose a port above 1023 by {flag}"),
        _ => format!("choose another address by --listen and {flag}"),
    }
}

fn broker_failed(error: BrokerError) -> StartError {
    match error {
        BrokerError::Port { address, error } => {
            let fix = format!("{}; or use that broker by --broker mqtt://HOST:PORT", fix_for(&error, "--broker-port"));
            StartError::Listen { what: "embedded broker", address, error, fix }
        }
        other => StartError::Broker(other),
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Failed(format!("a listener has no address: {error}")))
}

/// Where a process on this machine reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    }
}

fn serve_api(listener: Listener, api: Api, stopping: CancellationToken) -> AbortOnDropHandle<()> {
    let service = apiserver::router(api).into_make_service_with_connect_info::<Peer>();
    let serve = axum::serve(listener, service).with_graceful_shutdown(stopping.cancelled_owned());
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!("the apiserver failed: {error}");
        }
    }))
}

fn serve_notifier(
    listener: Listener,
    service: flame_api::notifier::notifier_server::NotifierServer<Service>,
    stopping: CancellationToken,
) -> AbortOnDropHandle<()> {
    let serve = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .serve_with_incoming_shutdown(service, listener.into_incoming(), stopping.cancelled_owned());
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!("the notifier failed: {error}");
        }
    }))
}
