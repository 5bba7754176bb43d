//! The yardstick: rumqttc and nothing else. QoS 1, chunks of 256 KiB, no sealing, no order, no repair; what it
//! receives it counts and drops. Two connections an end, one to publish and one to receive, as Flame's own: on a single one
//! TCP's delayed acknowledgements would hold small messages back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;

use super::peer::{Order, PeerArgs, end_with_parent, obey};

const CHUNK: usize = 256 * 1024;
/// After so long without the others' word that all has come, the broker has lost something.
pub(super) const LOST: Duration = Duration::from_secs(20);
/// First byte of the packets behind which one answers.
pub(super) const ANSWER: u8 = 1;

fn connect(args: &PeerArgs, suffix: &str) -> (AsyncClient, mpsc::Receiver<Bytes>) {
    let rest = args.broker.strip_prefix("mqtt://").expect("an mqtt URL");
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    let (host, port) = place.rsplit_once(':').expect("a port");
    let id = format!("{}-{}-{suffix}", args.job, args.me);
    let mut options = MqttOptions::new(id, host, port.parse().expect("a port"));
    if let Some((user, password)) = login.and_then(|login| login.split_once(':')) {
        options.set_credentials(user, password);
    }
    options.set_max_packet_size(Some(4 << 20)).set_outgoing_inflight_upper_limit(100).set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 16);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.options.set_network_options(network);
    let (arrived, arrivals) = mpsc::channel(1024);
    tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let _ = arrived.send(publish.payload).await;
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    let _ = arrived.send(Bytes::from_static(b"subscribed")).await;
                }
                Ok(_) => {}
                Err(error) => panic!("the bare client's connection broke: {error}"),
            }
        }
    });
    (client, arrivals)
}

pub(super) struct Bare {
    job: String,
    client: AsyncClient,
    pub(super) arrivals: mpsc::Receiver<Bytes>,
    pub(super) others: u32,
    /// What was sent last: it is there before the clock runs, as a guest's model is.
    source: Bytes,
}

impl Bare {
    /// End 0 hears what comes `back`, the others what goes `out`.
    pub(super) async fn join(args: &PeerArgs) -> Self {
        let (client, _unused) = connect(args, "out");
        let (receiver, mut arrivals) = connect(args, "in");
        let topic = if args.me == 0 { format!("bare/{}/back", args.job) } else { format!("bare/{}/out", args.job) };
        receiver.subscribe(topic, QoS::AtLeastOnce).await.expect("the client runs");
        assert_eq!(arrivals.recv().await.as_deref(), Some(&b"subscribed"[..]));
        Self { job: args.job.clone(), client, arrivals, others: args.count - 1, source: Bytes::new() }
    }

    pub(super) async fn publish(&self, topic: &str, payload: Bytes) {
        let topic = format!("bare/{}/{topic}", self.job);
        self.client.publish_bytes(topic, QoS::AtLeastOnce, false, payload).await.expect("the client runs");
    }

    /// Waits for one word of each of the others; infinite if it does not come.
    async fn words(&mut self, begin: Instant) -> f64 {
        for _ in 0..self.others {
            if tokio::time::timeout(LOST, self.arrivals.recv()).await.is_err() {
                eprintln!("the bare client waits in vain: the broker lost what it was given");
                return f64::INFINITY;
            }
        }
        begin.elapsed().as_secs_f64()
    }

    /// So many bytes in chunks, the last of which asks for an answer.
    pub(super) async fn send(&mut self, topic: &str, bytes: usize) -> Instant {
        if self.source.len() != bytes {
            // Not zero: the system would hand out one page of zeros for all of it.
            self.source = Bytes::from(vec![7; bytes]);
        }
        let begin = Instant::now();
        let mut at = 0;
        while bytes - at > CHUNK {
            self.publish(topic, self.source.slice(at..at + CHUNK)).await;
            at += CHUNK;
        }
        self.publish(topic, asking(bytes - at)).await;
        begin
    }

    async fn act(&mut self, order: Order) -> Vec<f64> {
        match order {
            Order::Unicast(bytes) | Order::Broadcast(bytes) => {
                let begin = self.send("out", bytes).await;
                vec![self.words(begin).await]
            }
            Order::Small(count) => {
                let begin = Instant::now();
                for _ in 1..count {
                    self.publish("out", Bytes::from_static(&[0; 64])).await;
                }
                self.publish("out", asking(64)).await;
                vec![self.words(begin).await]
            }
            Order::Trips(count) => {
                let mut trips = Vec::new();
                for _ in 0..count {
                    let begin = Instant::now();
                    self.publish("out", asking(64)).await;
                    trips.push(self.words(begin).await);
                }
                trips
            }
        }
    }
}

/// A packet that asks for an answer.
fn asking(len: usize) -> Bytes {
    let mut bytes = vec![0; len.max(1)];
    bytes[0] = ANSWER;
    bytes.into()
}

pub(crate) async fn run(args: PeerArgs) {
    let mut bare = Bare::join(&args).await;
    if args.me == 0 {
        obey(async |order| bare.act(order).await).await;
    } else {
        end_with_parent();
        println!("ready");
        while let Some(payload) = bare.arrivals.recv().await {
            if payload.first() == Some(&ANSWER) {
                bare.publish("back", Bytes::from_static(&[ANSWER; 64])).await;
            }
        }
    }
}
