//! The protocol over a link that loses, doubles, reorders and breaks, in virtual time and by seed: a failure is played
//! again by its number.

mod broadcast;
mod cost;
mod delivery;
mod flow;
mod presence;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use flame_model::{EndId, Message};

use super::{Core, Inbound, Now, Outbound, Outgoing};
use crate::ChannelKeys;
use crate::config::{ChannelConfig, ChannelLimits, Peer};
use crate::encoding::ChannelEncoding;
use crate::topics::Route;

/// SplitMix64: small, seeded, good enough to choose faults.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// The seeds that a test plays: `FLAME_SEEDS` many, or enough for every change.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    0..std::env::var("FLAME_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

struct World {
    dice: Dice,
    now: Now,
    ends: Vec<Core>,
    configs: Vec<ChannelConfig>,
    /// Packets on their way, by time of arrival and number.
    air: BTreeMap<(Now, u64), (usize, Outgoing)>,
    number: u64,
    loss: u64,
    double: u64,
    /// Percent of packets that arrive otherwise than they were sent.
    bent: u64,
    jitter: u64,
    up: Vec<bool>,
    uploads: Vec<u64>,
    wires: Vec<Wire>,
}

/// What leads from an end to the others and back.
#[derive(Default, Clone)]
struct Wire {
    /// Bytes per millisecond up and down; 0: no limit.
    up: u64,
    down: u64,
    up_free: Now,
    down_free: Now,
    bytes_up: u64,
    /// Packets on their way to it, now and at most.
    waiting: usize,
    most_waiting: usize,
}

fn takes(bytes: usize, rate: u64) -> Duration {
    Duration::from_micros((bytes as u64 * 1000).checked_div(rate).unwrap_or_default())
}

pub(super) fn id(n: usize) -> EndId {
    EndId::new(&format!("{:08x}{:032x}", n + 1, n)).unwrap()
}

pub(super) fn config(me: usize, count: usize, limits: &ChannelLimits) -> ChannelConfig {
    let role = |n: usize| if n == 0 { "aggregator" } else { "trainer" }.to_owned();
    let roster: Vec<Peer> = (0..count).map(|n| Peer { id: id(n), role: role(n), index: 0 }).collect();
    ChannelConfig {
        job: "job".into(),
        name: "param".into(),
        group: "default".into(),
        me: id(me),
        incarnation: 1,
        keys: ChannelKeys::of_secret(&[7; 32], &id(me), &roster),
        roster,
        encoding: ChannelEncoding::default(),
        limits: limits.clone(),
    }
}

fn small() -> ChannelLimits {
    ChannelLimits { chunk_bytes: 64, window_bytes: 256, ..ChannelLimits::default() }
}

fn message(number: u64, len: usize) -> Message {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(8 + len, number.to_le_bytes()[0]);
    Message { kind: "k".into(), round: number, body: Bytes::from(body), ..Message::default() }
}

/// A message of no round.
fn plain(number: u64, len: usize) -> Message {
    Message { round: 0, ..message(number, len) }
}

fn number(message: &Message) -> u64 {
    let first = *message.body.first_chunk().unwrap();
    assert!(message.body[8..].iter().all(|byte| *byte == message.body[0]));
    u64::from_le_bytes(first)
}

impl World {
    fn new(seed: u64, count: usize, limits: &ChannelLimits) -> Self {
        let configs: Vec<_> = (0..count).map(|me| config(me, count, limits)).collect();
        let ends = configs.iter().map(|config| Core::new(config, 1, [0; 32], false).unwrap()).collect();
        let mut world = Self {
            dice: Dice(seed),
            now: Now::ZERO,
            ends,
            configs,
            air: BTreeMap::new(),
            number: 0,
            loss: 0,
            double: 0,
            bent: 0,
            jitter: 1,
            up: vec![false; count],
            uploads: vec![0; count],
            wires: vec![Wire::default(); count],
        };
        for end in 0..count {
            world.set_link(end, true);
        }
        world
    }

    fn set_link(&mut self, end: usize, up: bool) {
        self.up[end] = up;
        if up { self.ends[end].on_link_up(self.now, 4096) } else { self.ends[end].on_link_down() }
    }

    fn restart(&mut self, end: usize) {
        self.configs[end].incarnation += 1;
        let session = u64::from(self.configs[end].incarnation);
        self.ends[end] = Core::new(&self.configs[end], session, [0; 32], false).unwrap();
        self.set_link(end, true);
    }

    fn publish(&mut self, from: usize, packet: &Outgoing) {
        self.uploads[from] += 1;
        let size = packet.payload.len();
        let wire = &mut self.wires[from];
        wire.bytes_up += size as u64;
        wire.up_free = wire.up_free.max(self.now) + takes(size, wire.up);
        let sent = wire.up_free;
        let route = self.ends[from].topics.parse(&packet.topic).unwrap();
        let to: Vec<usize> = match route {
            Route::All { .. } => (0..self.ends.len()).collect(),
            Route::To { to, .. } => (0..self.ends.len()).filter(|n| id(*n) == to).collect(),
            Route::Gone { .. } => Vec::new(),
        };
        for end in to {
            let copies = 1 + u64::from(self.dice.percent(self.double));
            for _ in 0..copies {
                if !self.dice.percent(self.loss) {
                    let wire = &mut self.wires[end];
                    let at = sent + Duration::from_millis(1 + self.dice.below(self.jitter));
                    let at = if wire.down == 0 { at } else { at.max(wire.down_free) + takes(size, wire.down) };
                    wire.down_free = at;
                    wire.waiting += 1;
                    wire.most_waiting = wire.most_waiting.max(wire.waiting);
                    self.number += 1;
                    let packet = self.as_it_arrives(packet);
                    self.air.insert((at, self.number), (end, packet));
                }
            }
        }
    }

    /// A byte of it bent, bytes cut off or more behind it; or as it was sent.
    fn as_it_arrives(&mut self, packet: &Outgoing) -> Outgoing {
        let mut packet = packet.clone();
        if self.bent > 0 && self.dice.percent(self.bent) {
            let mut payload = packet.payload.to_vec();
            let at = usize::try_from(self.dice.below(payload.len() as u64)).unwrap();
            match self.dice.below(3) {
                0 => payload[at] ^= 1 << self.dice.below(8),
                1 => payload.truncate(at),
                _ => payload.resize(payload.len() + 1 + at, 7),
            }
            packet.payload = payload.into();
        }
        packet
    }

    /// Sends all that wants to go, then jumps to whatever happens next.
    fn step(&mut self, until: Now) {
        for end in 0..self.ends.len() {
            self.ends[end].on_tick(self.now);
            // A transport takes no more while its socket is full.
            while self.wires[end].up_free <= self.now
                && let Some(packet) = self.ends[end].poll_transmit(self.now)
            {
                self.publish(end, &packet);
            }
        }
        let socket = self.wires.iter().map(|wire| wire.up_free).filter(|at| *at > self.now).min();
        let arrival = self.air.keys().next().map(|(at, _)| *at).into_iter().chain(socket).min();
        let wake = self.ends.iter().filter_map(|end| end.next_wake(self.now)).min();
        let next = arrival.into_iter().chain(wake).min().unwrap_or(until);
        self.now = next.clamp(self.now + Duration::from_micros(100), until.max(self.now + Duration::from_micros(100)));
        while let Some(entry) = self.air.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (end, packet) = entry.remove();
            self.wires[end].waiting -= 1;
            if self.up[end] {
                self.ends[end].on_packet(self.now, &packet.topic, &packet.payload, None);
            }
        }
    }

    fn run(&mut self, within: Duration) {
        let until = self.now + within;
        while self.now < until {
            self.step(until);
        }
    }

    fn queue(&mut self, from: usize, to: &[usize], message: &Message, broadcast: bool) -> Option<u64> {
        let targets: Vec<usize> = to.iter().map(|to| self.ends[from].index_of(&id(*to)).unwrap()).collect();
        let message = Outbound::new(message, self.configs[from].encoding.of(message.form), false).unwrap();
        self.ends[from].queue(self.now, &targets, &message, broadcast).unwrap()
    }

    /// What is still on its way, for the message of a test that fails.
    fn what_is_left(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        for (at, end) in self.ends.iter().enumerate() {
            let _ = write!(out, "\nend {at}: {} messages in, out:", end.room.messages);
            for (id, message) in &end.outbox {
                let _ = write!(out, "\n  {id:x} of {}: {:?}", message.encoded.total_len, message.targets);
            }
            for peer in &end.peers {
                let _ =
                    write!(out, "\n  {}: window {} {:?}; in {:?}", peer.peer.id, peer.window, peer.load, peer.inbox);
            }
        }
        out
    }

    fn take(&mut self, end: usize, from: usize) -> Option<u64> {
        let index = self.ends[end].index_of(&id(from)).unwrap();
        let (_, inbound) = self.ends[end].take(self.now, &[index])?;
        Some(self.let_go(end, inbound))
    }

    /// What a guest does that looks at a message and lets go of it.
    fn let_go(&mut self, end: usize, inbound: Inbound) -> u64 {
        self.ends[end].give_back(self.now, inbound.lent);
        number(&inbound.arrived.unpack().unwrap())
    }
}
