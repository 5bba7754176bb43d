//! The protocol over a link that loses, doubles, reorders and breaks, in virtual time and by seed: a failure is played
//! again by its number.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use flame_model::{EndId, Message};

use super::{Core, Now, Outbound, Outgoing};
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
    jitter: u64,
    up: Vec<bool>,
    uploads: Vec<u64>,
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
            jitter: 1,
            up: vec![false; count],
            uploads: vec![0; count],
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
        self.ends[end] = Core::new(&self.configs[end], 1, [0; 32], false).unwrap();
        self.set_link(end, true);
    }

    fn publish(&mut self, from: usize, packet: &Outgoing) {
        self.uploads[from] += 1;
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
                    let at = self.now + Duration::from_millis(1 + self.dice.below(self.jitter));
                    self.number += 1;
                    self.air.insert((at, self.number), (end, packet.clone()));
                }
            }
        }
    }

    /// Sends all that wants to go, then jumps to whatever happens next.
    fn step(&mut self, until: Now) {
        for end in 0..self.ends.len() {
            self.ends[end].on_tick(self.now);
            while let Some(packet) = self.ends[end].poll_transmit(self.now) {
                self.publish(end, &packet);
            }
        }
        let arrival = self.air.keys().next().map(|(at, _)| *at);
        let wake = self.ends.iter().filter_map(|end| end.next_wake(self.now)).min();
        let next = arrival.into_iter().chain(wake).min().unwrap_or(until);
        self.now = next.clamp(self.now + Duration::from_micros(100), until.max(self.now + Duration::from_micros(100)));
        while let Some(entry) = self.air.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (end, packet) = entry.remove();
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

    fn take(&mut self, end: usize, from: usize) -> Option<u64> {
        let index = self.ends[end].index_of(&id(from)).unwrap();
        self.ends[end].take(self.now, &[index]).map(|(_, inbound)| number(&inbound.arrived.unpack().unwrap()))
    }
}

/// Three trainers and an aggregator talk at random over a bad link.
fn everything_arrives(seed: u64) {
    let mut world = World::new(seed, 4, &small());
    world.loss = world.dice.below(30);
    world.double = world.dice.below(30);
    world.jitter = 1 + world.dice.below(200);
    let mut sent: BTreeMap<(usize, usize), Vec<u64>> = BTreeMap::new();
    let mut got: BTreeMap<(usize, usize), Vec<u64>> = BTreeMap::new();
    let mut counter = 0;
    let deadline = Duration::from_hours(1);
    let mut left = 40;
    loop {
        if left > 0 && world.dice.percent(20) {
            let len = usize::try_from(world.dice.below(600)).unwrap();
            let from = usize::try_from(world.dice.below(4)).unwrap();
            counter += 1;
            let broadcast = from == 0 && world.dice.percent(50);
            let to: Vec<usize> = match from {
                0 if broadcast => vec![1, 2, 3],
                0 => vec![1 + usize::try_from(world.dice.below(3)).unwrap()],
                _ => vec![0],
            };
            // No rounds: nothing is superseded.
            let message = Message { round: 0, ..message(counter, len) };
            if world.queue(from, &to, &message, broadcast).is_some() {
                left -= 1;
                for to in to {
                    sent.entry((from, to)).or_default().push(counter);
                }
            }
        }
        if world.dice.percent(3) {
            let end = usize::try_from(world.dice.below(4)).unwrap();
            let up = world.up[end];
            world.set_link(end, !up);
        }
        let pause = Duration::from_millis(world.dice.below(2000));
        world.run(pause);
        for (from, to) in [(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)] {
            if world.dice.percent(40)
                && let Some(number) = world.take(to, from)
            {
                got.entry((from, to)).or_default().push(number);
            }
        }
        if left == 0 {
            for end in 0..4 {
                if !world.up[end] {
                    world.set_link(end, true);
                }
            }
            if got == sent && world.ends.iter().all(|end| end.outbox.is_empty()) {
                break;
            }
        }
        assert!(world.now < deadline, "seed {seed}: sent {sent:?}, got {got:?}");
    }
    for end in &world.ends {
        assert_eq!((end.inbox_bytes, end.inbox_messages, end.outbox_bytes), (0, 0, 0), "seed {seed}");
        assert_eq!(end.stats.dropped_forged, 0, "seed {seed}");
    }
}

#[test]
fn every_message_arrives_exactly_once_and_in_order_per_end_over_a_bad_link() {
    for seed in 0..60 {
        everything_arrives(seed);
    }
}

#[test]
fn a_restarted_receiver_gets_again_what_it_had_not_taken_and_nothing_else() {
    for seed in 0..30 {
        let mut world = World::new(seed, 2, &small());
        world.loss = world.dice.below(20);
        world.jitter = 1 + world.dice.below(50);
        world.run(Duration::from_secs(8));
        for n in 1..=6 {
            world.queue(0, &[1], &message(n, 300), false).unwrap();
        }
        world.run(Duration::from_mins(1));
        assert_eq!((world.take(1, 0), world.take(1, 0)), (Some(1), Some(2)));
        // The acknowledgement that they were taken is out before the fall.
        world.run(Duration::from_secs(30));
        world.restart(1);
        world.run(Duration::from_secs(90));
        let rest: Vec<u64> = std::iter::from_fn(|| world.take(1, 0)).collect();
        assert_eq!(rest, [3, 4, 5, 6], "seed {seed}");
    }
}

#[test]
fn a_restarted_sender_loses_nothing_that_its_receiver_had_whole() {
    let mut world = World::new(3, 2, &small());
    world.run(Duration::from_secs(1));
    world.queue(1, &[0], &message(1, 10), false).unwrap();
    world.run(Duration::from_secs(1));
    world.restart(1);
    world.queue(1, &[0], &message(2, 10), false).unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!((world.take(0, 1), world.take(0, 1), world.take(0, 1)), (Some(1), Some(2), None));
}

#[test]
fn a_broadcast_is_one_upload_for_all_ends_that_are_here() {
    let mut world = World::new(1, 9, &small());
    world.run(Duration::from_secs(1));
    let before = world.uploads[0];
    world.queue(0, &[1, 2, 3, 4, 5, 6, 7, 8], &message(1, 6400), true).unwrap();
    world.run(Duration::from_millis(2500));
    assert!((1..9).all(|end| world.take(end, 0) == Some(1)));
    let chunks = 6500 / 64 + 3;
    assert!(world.uploads[0] - before < chunks + 20, "{} uploads", world.uploads[0] - before);
}

#[test]
fn a_late_joiner_gets_the_broadcast_and_only_that_of_the_last_round() {
    let mut world = World::new(1, 3, &small());
    world.set_link(2, false);
    world.run(Duration::from_secs(11));
    for round in 1..=3 {
        world.queue(0, &[1, 2], &message(round, 100), true).unwrap();
        world.run(Duration::from_secs(1));
    }
    world.set_link(2, true);
    world.run(Duration::from_secs(8));
    let late: Vec<u64> = std::iter::from_fn(|| world.take(2, 0)).collect();
    let early: Vec<u64> = std::iter::from_fn(|| world.take(1, 0)).collect();
    assert_eq!((early, late), (vec![1, 2, 3], vec![3]));
}

#[test]
fn an_end_that_never_takes_delays_only_itself() {
    let mut world = World::new(1, 3, &small());
    world.ends[2].limits.max_queued_messages = 2;
    world.run(Duration::from_secs(1));
    for n in 1..=10 {
        let message = Message { round: 0, ..message(n, 2000) };
        world.queue(0, &[1, 2], &message, true).unwrap();
        let mut waited = 0;
        while world.take(1, 0).is_none() {
            waited += 1;
            assert!(waited < 20, "message {n} waits for the end that does not take");
            world.run(Duration::from_millis(100));
        }
    }
    assert_eq!(world.ends[2].inbox_messages, 2);
    // Once it takes it gets the rest, in order.
    let mut late = Vec::new();
    while late.len() < 10 {
        assert!(world.now < Duration::from_mins(5), "only {late:?} came");
        late.extend(world.take(2, 0));
        world.run(Duration::from_millis(100));
    }
    assert_eq!(late, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_guest_that_waits_for_one_end_gets_its_message_through_a_full_queue() {
    let mut world = World::new(1, 3, &small());
    world.ends[0].limits.max_queued_messages = 2;
    world.run(Duration::from_secs(1));
    for n in 1..=4 {
        world.queue(1, &[0], &message(n, 100), false).unwrap();
        world.run(Duration::from_secs(1));
    }
    world.queue(2, &[0], &message(9, 100), false).unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(world.take(0, 2), None);
    let (now, index) = (world.now, world.ends[0].index_of(&id(2)).unwrap());
    world.ends[0].want(now, index, true);
    world.run(Duration::from_secs(1));
    assert_eq!(world.take(0, 2), Some(9));
}

#[test]
fn a_message_over_the_receivers_limit_is_refused_by_name_and_takes_no_memory() {
    let mut world = World::new(1, 2, &small());
    world.ends[1].limits.max_message_bytes = 1000;
    world.run(Duration::from_secs(1));
    let large = world.queue(0, &[1], &message(1, 5000), false).unwrap();
    world.queue(0, &[1], &message(2, 10), false).unwrap();
    world.run(Duration::from_secs(2));
    assert_eq!(world.ends[0].receipt(large).refused, [id(1)]);
    assert_eq!((world.take(1, 0), world.take(1, 0)), (Some(2), None));
    assert_eq!(world.ends[1].inbox_bytes, 0);
}

#[test]
fn a_cancelled_message_frees_its_place_in_the_order() {
    let mut world = World::new(1, 2, &small());
    world.run(Duration::from_secs(1));
    let large = world.queue(0, &[1], &message(1, 50_000), false).unwrap();
    world.queue(0, &[1], &message(2, 10), false).unwrap();
    world.run(Duration::from_millis(10));
    world.ends[0].cancel(large);
    assert!(world.ends[0].receipt(large).pending.is_empty());
    world.run(Duration::from_secs(5));
    assert_eq!((world.take(1, 0), world.take(1, 0)), (Some(2), None));
    world.run(Duration::from_secs(1));
    assert!(world.ends[0].outbox.is_empty());
    assert_eq!(world.ends[1].inbox_bytes, 0);
}

#[test]
fn silence_is_a_departure_and_speech_a_return() {
    let mut world = World::new(1, 2, &small());
    world.run(Duration::from_secs(1));
    assert_eq!(world.ends[0].ends(), [id(1)]);
    world.set_link(1, false);
    world.run(Duration::from_secs(9));
    assert_eq!(world.ends[0].ends(), [id(1)]);
    world.run(Duration::from_secs(2));
    assert!(world.ends[0].ends().is_empty() && world.ends[0].is_gone(0));
    world.set_link(1, true);
    world.run(Duration::from_secs(1));
    assert_eq!(world.ends[0].ends(), [id(1)]);
    let now = world.now;
    world.ends[1].say_goodbye(now);
    world.run(Duration::from_secs(1));
    assert!(world.ends[0].ends().is_empty());
}

#[test]
fn a_replayed_life_brings_nobody_back_and_a_lower_attempt_is_fenced() {
    let mut world = World::new(1, 2, &small());
    // Everything that end 1 ever said is recorded by the broker …
    let mut recorded = Vec::new();
    for _ in 0..50 {
        for end in [0, 1] {
            world.ends[end].on_tick(world.now);
            while let Some(packet) = world.ends[end].poll_transmit(world.now) {
                if end == 1 {
                    recorded.push(packet.clone());
                }
                world.publish(end, &packet);
            }
        }
        world.run(Duration::from_millis(100));
    }
    assert!(!recorded.is_empty());
    // … and played to a restarted end 0 after end 1 has died.
    world.set_link(1, false);
    world.air.clear();
    world.restart(0);
    for packet in recorded {
        let now = world.now;
        world.ends[0].on_packet(now, &packet.topic, &packet.payload, None);
    }
    assert!(world.ends[0].ends().is_empty());
    // A second copy of the old attempt of end 0 finds itself replaced.
    let old = ChannelConfig { incarnation: 1, ..world.configs[0].clone() };
    let mut old = Core::new(&old, 9, [0; 32], false).unwrap();
    old.on_link_up(world.now, 4096);
    world.ends[0].on_tick(world.now + Duration::from_secs(5));
    while let Some(packet) = world.ends[0].poll_transmit(world.now) {
        old.on_packet(world.now, &packet.topic, &packet.payload, None);
    }
    assert!(matches!(old.usable(), Err(crate::ChannelError::NotPermitted(_))));
}

#[test]
fn a_message_of_a_stranger_is_dropped() {
    let mut world = World::new(1, 2, &small());
    world.run(Duration::from_secs(1));
    let stranger = ChannelConfig {
        keys: ChannelKeys::of_secret(&[8; 32], &id(1), &world.configs[1].roster),
        incarnation: 5,
        ..world.configs[1].clone()
    };
    let mut stranger = Core::new(&stranger, 9, [0; 32], false).unwrap();
    stranger.on_link_up(world.now, 4096);
    while let Some(packet) = stranger.poll_transmit(world.now) {
        let now = world.now;
        world.ends[0].on_packet(now, &packet.topic, &packet.payload, None);
    }
    assert_eq!(world.ends[0].stats.dropped_forged, 1);
    world.queue(1, &[0], &message(1, 1), false).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(world.take(0, 1), Some(1), "the real end is not fenced by the stranger's attempt number");
}

#[test]
fn who_takes_the_last_message_and_leaves_at_once_has_acknowledged_it() {
    let mut world = World::new(1, 2, &small());
    world.run(Duration::from_secs(1));
    let last = world.queue(0, &[1], &message(1, 10), false).unwrap();
    // Until the message is there and not yet acknowledged.
    while world.take(1, 0).is_none() {
        world.run(Duration::from_millis(1));
    }
    let now = world.now;
    world.ends[1].say_goodbye(now);
    let mut packets: Vec<_> = std::iter::from_fn(|| world.ends[1].poll_transmit(now)).collect();
    // The broker lets the goodbye pass.
    packets.reverse();
    for packet in packets {
        world.ends[0].on_packet(now, &packet.topic, &packet.payload, None);
    }
    assert!(world.ends[0].ends().is_empty());
    assert!(world.ends[0].receipt(last).pending.is_empty());
}
