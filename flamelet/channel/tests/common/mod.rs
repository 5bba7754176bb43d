//! Brokers, bad links and ends for the tests of the channel contract.

#![allow(dead_code, unreachable_pub, unused_imports, unused_macros, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and its numbers are small"
)]

pub mod authority;
pub mod links;
pub mod processes;
mod transports;

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use flame_channel::inproc::InprocHub;
use flame_channel::mqtt::{MqttSettings, MqttTransport};
use flame_channel::p2p::{Directory, LinkSecret, Listen, P2pSettings, P2pTransport, Place, Resolver};
use flame_channel::{
    Channel, ChannelConfig, ChannelEncoding, ChannelError, ChannelKeys, ChannelLimits, Peer, Transport,
};
use flame_model::{EndId, Message, Model, Tensor};
pub(crate) use transports::on_every_transport;

/// Longer than anything takes; a test that reaches it has failed.
pub const LONG: Duration = Duration::from_secs(40);

/// What carries the packets of a test.
pub enum Net {
    Inproc(Arc<InprocHub>),
    Broker(String),
    Peers(P2p),
}

static JOBS: AtomicU64 = AtomicU64::new(0);

/// A job id that no other test uses.
pub fn job() -> String {
    format!("job{}x{}", std::process::id(), JOBS.fetch_add(1, Ordering::Relaxed))
}

pub fn id(n: u32) -> EndId {
    EndId::new(&format!("{:08x}{:032x}", n + 1, n)).unwrap()
}

impl Net {
    pub async fn transport(&self, config: &ChannelConfig, n: u32) -> Arc<dyn Transport> {
        match self {
            Self::Inproc(hub) => hub.clone(),
            Self::Broker(url) => Arc::new(connect(url, &config.job, n).await),
            Self::Peers(peers) => peers.transport(config).await,
        }
    }
}

/// Ends that find each other through directories of the test, one per job.
#[derive(Default)]
pub struct P2p {
    places: Mutex<HashMap<String, Arc<Directory>>>,
    /// As in a flamelet, the channels of one attempt share a transport.
    transports: Mutex<HashMap<(String, EndId, u32), Weak<P2pTransport>>>,
}

/// What the notifier is to a flamelet.
pub struct TestResolver {
    pub me: EndId,
    pub places: Arc<Directory>,
}

#[async_trait]
impl Resolver for TestResolver {
    async fn announce(&self, address: Option<&str>) -> Result<(), ChannelError> {
        let place = address.map_or(Place::Hidden, |address| Place::At(address.to_owned()));
        self.places.put(&self.me, place);
        Ok(())
    }

    fn watch(&self, end: &EndId) -> tokio::sync::watch::Receiver<Place> {
        self.places.watch(end)
    }
}

/// Settings of an end that talks to `peers`; listens on loopback if it does.
pub fn p2p_settings(job: &str, me: &EndId, incarnation: u32, peers: &[EndId], listens: bool) -> P2pSettings {
    let secret = |peer: &EndId| (peer.clone(), LinkSecret::derive(job, me, peer, [&[5; 32]]));
    P2pSettings {
        job: job.into(),
        me: me.clone(),
        incarnation,
        listen: listens.then(|| Listen { address: "127.0.0.1:0".into(), advertise: None }),
        peers: peers.iter().map(secret).collect::<BTreeMap<_, _>>(),
    }
}

impl P2p {
    async fn transport(&self, config: &ChannelConfig) -> Arc<P2pTransport> {
        let key = (config.job.clone(), config.me.clone(), config.incarnation);
        if let Some(shared) = self.transports.lock().unwrap().get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        let places = Arc::clone(self.places.lock().unwrap().entry(config.job.clone()).or_default());
        let peers: Vec<EndId> = config.roster.iter().map(|peer| peer.id.clone()).collect();
        // Each transport is a newer attempt, as each process is.
        let attempt = JOBS.fetch_add(1, Ordering::Relaxed) as u32;
        // Trainers dial the aggregator, as behind a firewall they must; in a self-loop all listen.
        let self_loop = config.roster.iter().all(|peer| peer.role == config.roster[0].role);
        let listens = self_loop || config.me == config.roster[0].id;
        let settings = p2p_settings(&config.job, &config.me, attempt, &peers, listens);
        let resolver = Arc::new(TestResolver { me: config.me.clone(), places });
        let transport = Arc::new(P2pTransport::connect(settings, resolver).await.unwrap());
        self.transports.lock().unwrap().insert(key, Arc::downgrade(&transport));
        transport
    }
}

/// One per connection, as one per attempt.
fn common_client(job: &str, n: u32) -> String {
    format!("{job}-{}-{}", id(n), JOBS.fetch_add(1, Ordering::Relaxed))
}

pub async fn connect(url: &str, job: &str, n: u32) -> MqttTransport {
    let settings = MqttSettings { url: url.into(), client_id: common_client(job, n), ..MqttSettings::default() };
    MqttTransport::connect(&settings, job, &id(n)).await.unwrap()
}

/// End `n` of `count`: end 0 is the aggregator, the others are trainers.
pub fn config(job: &str, n: u32, count: u32) -> ChannelConfig {
    let role = |n: u32| if n == 0 { "aggregator" } else { "trainer" }.to_owned();
    let roster: Vec<Peer> = (0..count).map(|n| Peer { id: id(n), role: role(n), index: n.saturating_sub(1) }).collect();
    ChannelConfig {
        job: job.into(),
        name: "param-channel".into(),
        group: "default/us".into(),
        me: id(n),
        incarnation: 1,
        keys: ChannelKeys::of_secret(&[3; 32], &id(n), &roster),
        roster,
        encoding: ChannelEncoding::default(),
        limits: ChannelLimits::default(),
    }
}

pub async fn join(net: &Net, job: &str, n: u32, count: u32) -> Channel {
    join_with(net, config(job, n, count), n).await
}

pub async fn join_with(net: &Net, config: ChannelConfig, n: u32) -> Channel {
    let transport = net.transport(&config, n).await;
    Channel::join(config, transport).await.unwrap()
}

/// All ends of a group of `count`, everybody seeing everybody.
pub async fn group(net: &Net, count: u32) -> Vec<Channel> {
    let job = job();
    let mut channels = Vec::new();
    for n in 0..count {
        channels.push(join(net, &job, n, count).await);
    }
    channels[0].await_ends(count - 1, LONG).await.unwrap();
    for channel in &channels[1..] {
        channel.await_ends(1, LONG).await.unwrap();
    }
    channels
}

/// Takes what `from` sent and checks that it is `messages`, each once and in order, and nothing more.
pub async fn expect(end: &Channel, from: u32, messages: &[Message]) {
    for (number, message) in messages.iter().enumerate() {
        let got = end.recv(&id(from), LONG).await.unwrap();
        assert!(got.message == *message, "message {number} of {} is another one or differs", messages.len());
    }
    let more = end.recv(&id(from), Duration::from_millis(200)).await;
    assert!(matches!(more, Err(ChannelError::Timeout | ChannelError::Closed)), "one too many came: {more:?}");
}

pub fn text(kind: &str, round: u64) -> Message {
    Message { kind: kind.into(), round, ..Message::default() }
}

/// A message with `len` bytes of body, each depending on its place.
pub fn body(kind: &str, len: usize) -> Message {
    let bytes: Vec<u8> = (0..len).map(|at| (at.wrapping_mul(31) >> 3) as u8).collect();
    Message { kind: kind.into(), body: Bytes::from(bytes), ..Message::default() }
}

pub fn model(parameters: usize) -> Message {
    let data: Vec<f32> = (0..parameters).map(|at| at as f32 * 0.5).collect();
    let tensor = Tensor::from_f32(&[parameters as u64], &data).unwrap();
    let mut model = Model::new();
    model.insert("w", tensor);
    Message { kind: "weights".into(), models: vec![("model".into(), model)], samples: 7, ..Message::default() }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn wait_for_port(port: u16) {
    let deadline = Instant::now() + LONG;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts rumqttd within this process, with the settings that the documentation names.
pub fn embedded() -> Net {
    let port = free_port();
    let server = rumqttd::ServerSettings {
        name: "flame-v5".into(),
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        tls: None,
        next_connection_delay_ms: 0,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: 1024 * 1024,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let router = rumqttd::RouterConfig {
        max_connections: 1000,
        max_outgoing_packet_count: 200,
        max_segment_size: 8 * 1024 * 1024,
        max_segment_count: 4,
        ..Default::default()
    };
    let config = rumqttd::Config {
        id: 0,
        router,
        v4: None,
        v5: Some(HashMap::from([("v5".to_owned(), server)])),
        ws: None,
        cluster: None,
        console: None,
        bridge: None,
        prometheus: None,
        metrics: None,
    };
    std::thread::spawn(move || rumqttd::Broker::new(config).start().is_ok());
    wait_for_port(port);
    Net::Broker(format!("mqtt://127.0.0.1:{port}"))
}

/// A mosquitto child process; killed when dropped.
pub struct Mosquitto {
    child: Child,
    program: PathBuf,
    port: u16,
    dir: tempfile::TempDir,
}

impl Mosquitto {
    /// With its default configuration. `None`, with a printed reason, where mosquitto is not installed.
    pub fn start() -> Option<Self> {
        Self::start_saying("")
    }

    /// With more lines of configuration.
    pub fn start_saying(lines: &str) -> Option<Self> {
        let port = free_port();
        Self::start_with(port, |_| format!("listener {port} 127.0.0.1\nallow_anonymous true\n{lines}\n"))
    }

    /// With the configuration that `conf` makes in the folder that it is given; it has to listen on `port`.
    pub fn start_with(port: u16, conf: impl FnOnce(&Path) -> String) -> Option<Self> {
        let places =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
        let Some(program) = places.iter().map(PathBuf::from).find(|place| place.exists()) else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        // Started by root, it would change to a user that cannot read this folder.
        let conf = format!("user root\n{}", conf(dir.path()));
        std::fs::write(dir.path().join("conf"), conf).unwrap();
        let child = Self::spawn(&program, &dir);
        wait_for_port(port);
        Some(Self { child, program, port, dir })
    }

    fn spawn(program: &PathBuf, dir: &tempfile::TempDir) -> Child {
        Command::new(program)
            .arg("-c")
            .arg(dir.path().join("conf"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap()
    }

    /// For whom it has dropped packets because their queue was full.
    pub fn dropped_for(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains("being dropped")).map(str::to_owned).collect()
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.child = Self::spawn(&self.program, &self.dir);
        wait_for_port(self.port);
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The same over TLS.
    pub fn tls_url(&self) -> String {
        format!("mqtts://localhost:{}", self.port)
    }

    pub fn net(&self) -> Net {
        Net::Broker(self.url())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
