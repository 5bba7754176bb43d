//! Brokers, bad links and ends for the tests of the channel contract.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and its numbers are small"
)]

pub mod links;
pub mod processes;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flame_channel::inproc::InprocHub;
use flame_channel::mqtt::{MqttSettings, MqttTransport};
use flame_channel::{Channel, ChannelConfig, ChannelError, ChannelLimits, Peer, Transport};
use flame_model::{EndId, Message, Model, Tensor};

/// Longer than anything takes; a test that reaches it has failed.
pub const LONG: Duration = Duration::from_secs(40);

/// What carries the packets of a test.
pub enum Net {
    Inproc(Arc<InprocHub>),
    Broker(String),
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
    pub async fn transport(&self, job: &str, n: u32) -> Arc<dyn Transport> {
        match self {
            Self::Inproc(hub) => hub.clone(),
            Self::Broker(url) => Arc::new(connect(url, job, n).await),
        }
    }
}

/// One per connection, as one per attempt.
fn common_client(job: &str, n: u32) -> String {
    format!("{job}-{}-{}", id(n), JOBS.fetch_add(1, Ordering::Relaxed))
}

pub async fn connect(url: &str, job: &str, n: u32) -> MqttTransport {
    let settings = MqttSettings { url: url.into(), client_id: common_client(job, n), username: None, password: None };
    MqttTransport::connect(&settings, job, &id(n)).await.unwrap()
}

/// End `n` of `count`: end 0 is the aggregator, the others are trainers.
pub fn config(job: &str, n: u32, count: u32) -> ChannelConfig {
    let role = |n: u32| if n == 0 { "aggregator" } else { "trainer" }.to_owned();
    ChannelConfig {
        job: job.into(),
        name: "param-channel".into(),
        group: "default/us".into(),
        me: id(n),
        incarnation: 1,
        roster: (0..count).map(|n| Peer { id: id(n), role: role(n), index: n.saturating_sub(1) }).collect(),
        key: [3; 32],
        limits: ChannelLimits::default(),
    }
}

pub async fn join(net: &Net, job: &str, n: u32, count: u32) -> Channel {
    join_with(net, config(job, n, count), n).await
}

pub async fn join_with(net: &Net, config: ChannelConfig, n: u32) -> Channel {
    let transport = net.transport(&config.job, n).await;
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
    /// With its default configuration; `None`, with a printed reason, where mosquitto is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With more lines of configuration.
    pub fn start_with(lines: &str) -> Option<Self> {
        let places =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
        let Some(program) = places.iter().map(PathBuf::from).find(|place| place.exists()) else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let conf = format!("listener {port} 127.0.0.1\nallow_anonymous true\n{lines}\n");
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
