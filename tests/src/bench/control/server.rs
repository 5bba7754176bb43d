//! The server that is measured, as a process of its own: flame-control's library, with a deployer that places nothing.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use flame_api::{AgentId, Client, Secret};
use flame_control::{BrokerChoice, DeployError, Deployer, Launch, Rates, Server, ServerConfig, Tls};

/// `bench serve-control`, hidden.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServeArgs {
    /// Folder of its data.
    home: PathBuf,
}

/// Serves until its standard input ends.
pub(crate) async fn serve(args: ServeArgs) {
    allow_many_files();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(ServerConfig {
        home: args.home,
        api: any,
        notifier: any,
        tls: Tls::Off,
        rates: Rates::default(),
        broker: BrokerChoice::Embedded { listen: any },
        deployer: Arc::new(Nowhere),
        system_data: Vec::new(),
        advertise_host: None,
        // The component has no code.
        skip_admission: true,
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    println!("{} {}", server.api_addr(), server.notifier_addr());
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ended.await.expect("it only reads").expect("standard input is there");
    server.shutdown().await;
}

struct Nowhere;

#[async_trait]
impl Deployer for Nowhere {
    fn name(&self) -> &'static str {
        "none"
    }

    async fn deploy(&self, _: Launch) -> Result<(), DeployError> {
        Ok(())
    }

    async fn revoke(&self, _: &AgentId) -> Result<(), DeployError> {
        Ok(())
    }

    async fn shutdown(&self) {}
}

/// Raises the limit of open files as far as it goes: each session is one.
pub(super) fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .expect("a limit can be raised to its maximum");
}

/// The smallest component that names a role.
pub(super) fn component(role: &str) -> Bytes {
    let name = "flame:roles";
    let mut section = vec![u8::try_from(name.len()).expect("short")];
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(role.as_bytes());
    let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
    bytes.push(u8::try_from(section.len()).expect("short"));
    bytes.extend(section);
    bytes.into()
}

/// The server's process.
pub(super) struct Process {
    child: Child,
    api: SocketAddr,
    pub(super) notifier: SocketAddr,
    /// From its start until it said that it serves.
    pub(super) started_in: Duration,
}

impl Process {
    pub(super) fn start(home: &Path) -> Self {
        let began = Instant::now();
        let mut child = Command::new(std::env::current_exe().expect("a program has a path"))
            .arg("serve-control")
            .arg(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it is");
        let started_in = began.elapsed();
        let mut addresses = line.split_whitespace().map(|text| text.parse().expect("an address"));
        let (api, notifier) = (addresses.next().expect("REST"), addresses.next().expect("gRPC"));
        Self { child, api, notifier, started_in }
    }

    pub(super) fn token(&self, home: &Path) -> Secret {
        let token = std::fs::read_to_string(home.join("token")).expect("the server wrote its token");
        Secret::new(token.trim())
    }

    pub(super) fn client(&self, home: &Path) -> Client {
        Client::new(&format!("http://{}", self.api), Some(self.token(home))).expect("a client")
    }

    /// Memory now, in MB.
    pub(super) fn memory(&self) -> f64 {
        self.number("VmRSS:")
    }

    /// The most that it has had, in MB.
    pub(super) fn peak(&self) -> f64 {
        self.number("VmHWM:")
    }

    fn number(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let rest = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        let kibibytes: f64 = rest.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        kibibytes * 1024.0 / 1e6
    }

    /// Ends it in good order.
    pub(super) fn stop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
