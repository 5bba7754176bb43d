//! Exactly once and in order, whatever the link does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// What was queued and what was taken, by sender and receiver.
type Log = BTreeMap<(usize, usize), Vec<u64>>;

const WAYS: [(usize, usize); 6] = [(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)];

/// Three trainers and an aggregator talk at random over a bad link.
struct Talk {
    world: World,
    sent: Log,
    got: Log,
    counter: u64,
}

impl Talk {
    fn new(seed: u64, limits: &ChannelLimits) -> Self {
        let mut world = World::new(seed, 4, limits);
        world.loss = world.dice.below(30);
        world.double = world.dice.below(30);
        world.jitter = 1 + world.dice.below(200);
        Self { world, sent: Log::new(), got: Log::new(), counter: 0 }
    }

    fn any_end(&mut self) -> usize {
        usize::try_from(self.world.dice.below(4)).unwrap()
    }

    /// Queues a message of up to `most` bytes; whether there was room.
    fn say(&mut self, most: u64) -> bool {
        let len = usize::try_from(self.world.dice.below(most)).unwrap();
        let from = self.any_end();
        let broadcast = from == 0 && self.world.dice.percent(50);
        let to: Vec<usize> = match from {
            0 if broadcast => vec![1, 2, 3],
            0 => vec![1 + usize::try_from(self.world.dice.below(3)).unwrap()],
            _ => vec![0],
        };
        self.counter += 1;
        // No rounds: nothing is superseded.
        let message = Message { round: 0, ..message(self.counter, len) };
        let queued = self.world.queue(from, &to, &message, broadcast).is_some();
        for to in to.into_iter().filter(|_| queued) {
            self.sent.entry((from, to)).or_default().push(self.counter);
        }
        queued
    }

    fn toggle_a_link(&mut self) {
        let end = self.any_end();
        let up = self.world.up[end];
        self.world.set_link(end, !up);
    }

    fn links_up(&mut self) {
        for end in 0..4 {
            if !self.world.up[end] {
                self.world.set_link(end, true);
            }
        }
    }

    /// Time passes and guests take at random.
    fn go_on(&mut self) {
        let pause = Duration::from_millis(self.world.dice.below(2000));
        self.world.run(pause);
        for (from, to) in WAYS {
            if self.world.dice.percent(40)
                && let Some(number) = self.world.take(to, from)
            {
                self.got.entry((from, to)).or_default().push(number);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.world.ends.iter().all(|end| end.outbox.is_empty() && end.room.messages == 0)
    }

    fn nothing_is_left(&self, seed: u64) {
        for end in &self.world.ends {
            assert_eq!((end.room.bytes, end.room.messages, end.outbox_bytes), (0, 0, 0), "seed {seed}");
            assert_eq!(end.stats.dropped_forged > 0, self.world.bent > 0, "seed {seed}");
            for peer in &end.peers {
                let load = &peer.load;
                assert!(load.owed.is_empty() && load.open.is_empty() && load.untaken.is_empty(), "seed {seed}");
                assert_eq!((load.in_flight, load.packets), (0, 0), "seed {seed}");
            }
        }
    }
}

fn everything_arrives(seed: u64, limits: &ChannelLimits, most: u64, bent: u64) -> Talk {
    let mut talk = Talk::new(seed, limits);
    talk.world.bent = bent;
    let mut left = 40;
    while left > 0 || talk.got != talk.sent || !talk.is_quiet() {
        if left > 0 && talk.world.dice.percent(20) && talk.say(most) {
            left -= 1;
        }
        if talk.world.dice.percent(3) {
            talk.toggle_a_link();
        }
        talk.go_on();
        if left == 0 {
            talk.links_up();
        }
        assert!(talk.world.now < Duration::from_hours(1), "seed {seed}: sent {:?}, got {:?}", talk.sent, talk.got);
    }
    talk.nothing_is_left(seed);
    talk
}

#[test]
fn every_message_arrives_exactly_once_and_in_order_per_end_over_a_bad_link() {
    for seed in seeds(60) {
        everything_arrives(seed, &small(), 600, 0);
    }
}

#[test]
fn a_broker_that_bends_packets_only_delays_them() {
    for seed in seeds(60) {
        everything_arrives(seed, &small(), 600, 10);
    }
}

#[test]
fn every_message_arrives_exactly_once_and_in_order_where_hardly_one_finds_room() {
    let limits =
        ChannelLimits { max_inbox_bytes: 1500, max_queued_messages: 5, dead_after: Duration::from_secs(5), ..small() };
    // In one seed an acknowledgement is overtaken by one that takes back what it said.
    for seed in seeds(60).chain([1087]) {
        let talk = everything_arrives(seed, &limits, 1200, 0);
        assert!(talk.world.ends.iter().all(|end| end.stats.refused == 0));
    }
}

/// As above, but ends die and come back as their next attempt. What a sender that lives on has queued is taken, in order
/// and once by each life of the receiver; only the fall of a receiver just after it took something may repeat that.
fn the_living_lose_nothing(seed: u64) {
    let limits = ChannelLimits { max_inbox_bytes: 4000, ..small() };
    let mut talk = Talk::new(seed, &limits);
    let mut left = 40;
    let mut falls = 6;
    while left > 0 || !talk.is_quiet() {
        if left > 0 && talk.world.dice.percent(20) && talk.say(600) {
            left -= 1;
        }
        if talk.world.dice.percent(2) {
            talk.toggle_a_link();
        }
        if falls > 0 && left > 0 && talk.world.dice.percent(5) {
            falls -= 1;
            let end = talk.any_end();
            talk.world.restart(end);
            for (way, sent) in &mut talk.sent {
                // Its outbox died with it; what had left arrives or not.
                if way.0 == end {
                    sent.clear();
                }
            }
            for (way, got) in &mut talk.got {
                if way.0 == end || way.1 == end {
                    assert!(got.is_sorted_by(|a, b| a < b), "seed {seed}: {way:?} got {got:?}");
                }
                // A new life begins a new record.
                if way.1 == end {
                    let known = std::mem::take(got);
                    talk.sent.entry(*way).or_default().retain(|number| !known.contains(number));
                }
            }
        }
        talk.go_on();
        if left == 0 {
            talk.links_up();
        }
        assert!(
            talk.world.now < Duration::from_hours(1),
            "seed {seed}: sent {:?}, got {:?}, left {}",
            talk.sent,
            talk.got,
            talk.world.what_is_left()
        );
    }
    for (way, sent) in &talk.sent {
        let got = talk.got.remove(way).unwrap_or_default();
        assert!(got.is_sorted_by(|a, b| a < b), "seed {seed}: {way:?} got {got:?}");
        let missing: Vec<u64> = sent.iter().filter(|number| !got.contains(number)).copied().collect();
        assert!(missing.is_empty(), "seed {seed}: {way:?} misses {missing:?} of {sent:?}, got {got:?}");
    }
    talk.nothing_is_left(seed);
}

#[test]
fn ends_that_die_and_come_back_cost_the_living_nothing() {
    for seed in seeds(60) {
        the_living_lose_nothing(seed);
    }
}

#[test]
fn a_restarted_receiver_gets_again_what_it_had_not_taken_and_nothing_else() {
    for seed in seeds(30) {
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
    assert_eq!(world.ends[1].room.bytes, 0);
}
