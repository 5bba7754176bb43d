//! An end on Flame's channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flame_channel::mqtt::{MqttSettings, MqttTransport};
use flame_channel::{Channel, ChannelConfig, ChannelEncoding, ChannelKeys, ChannelLimits, Peer};
use flame_model::{EndId, Message, Model, SharedBufferMut, Tensor};

use super::peer::{Order, PeerArgs, end_with_parent, obey};

const LONG: Duration = Duration::from_mins(2);

/// The end `n`.
pub(crate) fn id(n: u32) -> EndId {
    EndId::new(&format!("{:08x}{n:032x}", n + 1)).expect("an id")
}

/// End 0 is the aggregator, the others are trainers.
pub(crate) fn config(job: &str, me: u32, count: u32) -> ChannelConfig {
    let role = |n: u32| if n == 0 { "aggregator" } else { "trainer" }.to_owned();
    let roster: Vec<Peer> = (0..count).map(|n| Peer { id: id(n), role: role(n), index: n.saturating_sub(1) }).collect();
    ChannelConfig {
        job: job.to_owned(),
        name: "param-channel".to_owned(),
        group: "default".to_owned(),
        me: id(me),
        incarnation: 1,
        keys: ChannelKeys::of_secret(&[3; 32], &id(me), &roster),
        roster,
        encoding: ChannelEncoding::default(),
        limits: ChannelLimits::default(),
    }
}

/// A model of `bytes` bytes of f32.
pub(crate) fn model(bytes: usize, round: u64) -> Message {
    let mut buffer = SharedBufferMut::with_len(bytes).expect("memory");
    // Memory that was never written to would be read from one page of zeros.
    buffer.as_mut_bytes().fill(7);
    let shape = [u64::try_from(bytes / 4).expect("a length")];
    let tensor = Tensor::from_buffer(&shape, flame_model::Dtype::Float32, buffer.freeze()).expect("a tensor");
    let mut model = Model::new();
    model.insert("w", tensor);
    Message { kind: "weights".into(), models: vec![("model".into(), model)], round, ..Message::default() }
}

fn small() -> Message {
    Message { kind: "small".into(), body: Bytes::from_static(&[7; 64]), ..Message::default() }
}

pub(crate) async fn run(args: PeerArgs) {
    let client_id = format!("{}-{}", args.job, args.me);
    let settings = MqttSettings { url: args.broker.clone(), client_id, ..MqttSettings::default() };
    let transport = Arc::new(MqttTransport::connect(&settings, &args.job, &id(args.me)).await.expect("the broker"));
    let channel = Channel::join(config(&args.job, args.me, args.count), transport).await.expect("the channel");
    if args.me == 0 {
        channel.await_ends(args.count - 1, LONG).await.expect("the others");
        let mut sender = Sender { channel, round: 0, large: None };
        obey(async |order| sender.act(order).await).await;
    } else {
        end_with_parent();
        println!("ready");
        answer(&channel).await;
    }
}

/// Takes everything; what is called `ping` it answers.
async fn answer(channel: &Channel) {
    while let Ok(received) = channel.recv_fifo(&[], Duration::from_hours(1)).await {
        if received.message.kind == "ping" {
            channel.send(&[received.sender], small()).await.expect("an answer");
        }
    }
}

struct Sender {
    channel: Channel,
    round: u64,
    /// What was sent last: it is there before the clock runs, as a guest's model is.
    large: Option<(usize, Message)>,
}

impl Sender {
    async fn act(&mut self, order: Order) -> Vec<f64> {
        self.round += 1;
        match order {
            Order::Unicast(bytes) | Order::Broadcast(bytes) => {
                let message = self.message(bytes);
                let begin = Instant::now();
                let sent = match order {
                    Order::Unicast(_) => self.channel.send(&[id(1)], message).await,
                    _ => self.channel.broadcast(message).await,
                };
                sent.expect("room").wait(LONG).await.expect("delivery");
                vec![begin.elapsed().as_secs_f64()]
            }
            Order::Small(count) => {
                let begin = Instant::now();
                let mut last = None;
                for _ in 0..count {
                    last = Some(self.channel.send(&[id(1)], small()).await.expect("room"));
                }
                last.expect("one at least").wait(LONG).await.expect("delivery");
                vec![begin.elapsed().as_secs_f64()]
            }
            Order::Trips(count) => {
                let mut trips = Vec::new();
                for _ in 0..count {
                    let begin = Instant::now();
                    let ping = Message { kind: "ping".into(), ..small() };
                    self.channel.send(&[id(1)], ping).await.expect("room");
                    self.channel.recv(&id(1), LONG).await.expect("the answer");
                    trips.push(begin.elapsed().as_secs_f64());
                }
                trips
            }
        }
    }

    fn message(&mut self, bytes: usize) -> Message {
        if self.large.as_ref().is_none_or(|(len, _)| *len != bytes) {
            self.large = Some((bytes, model(bytes, 0)));
        }
        let (_, message) = self.large.clone().expect("it was made");
        Message { round: self.round, ..message }
    }
}
