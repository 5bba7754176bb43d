//! One upload for all, and nobody waits for the slow.

use std::time::Duration;

use super::*;

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
    assert_eq!(world.ends[2].room.messages, 2);
    // Once it takes it gets the rest, in order.
    let mut late = Vec::new();
    while late.len() < 10 {
        assert!(world.now < Duration::from_mins(5), "only {late:?} came");
        late.extend(world.take(2, 0));
        world.run(Duration::from_millis(100));
    }
    assert_eq!(late, (1..=10).collect::<Vec<_>>());
}

/// Rounds of 400 KiB to three ends, of which end 3's guest never takes anything; gives what the outbox held at most.
fn rounds_beside_a_sleeper(world: &mut World, rounds: u64) -> u64 {
    let mut most = 0;
    for round in 1..=rounds {
        let began = world.now;
        assert!(world.queue(0, &[1, 2, 3], &message(round, 400 << 10), true).is_some(), "round {round} finds no room");
        most = most.max(world.ends[0].outbox_bytes);
        let mut missing = vec![1, 2];
        while !missing.is_empty() {
            world.run(Duration::from_millis(10));
            missing.retain(|end| world.take(*end, 0) != Some(round));
            assert!(world.now < began + Duration::from_secs(3), "round {round} waits for the end that does not take");
        }
    }
    most
}

#[test]
fn rounds_for_an_end_that_does_not_take_them_are_given_up_before_they_pile_up() {
    let limits = ChannelLimits { chunk_bytes: 1 << 10, window_bytes: 16 << 10, max_inbox_bytes: 900 << 10, ..small() };
    let mut world = World::new(1, 4, &limits);
    world.run(Duration::from_secs(1));
    let most = rounds_beside_a_sleeper(&mut world, 30);
    assert!(most <= 4 * (401 << 10), "the outbox held {most} bytes");
    // What its host has it still gets, and the latest.
    let mut late = Vec::new();
    while late.last() != Some(&30) {
        late.extend(world.take(3, 0));
        world.run(Duration::from_millis(100));
        assert!(world.now < Duration::from_mins(10), "only {late:?} came");
    }
    assert!(late.is_sorted_by(|a, b| a < b) && late.len() < 6, "{late:?}");
    world.run(Duration::from_secs(10));
    assert_eq!((world.ends[0].outbox_bytes, world.ends[3].room.bytes), (0, 0));
}

#[test]
fn what_an_end_is_in_the_middle_of_is_not_given_up() {
    let limits = ChannelLimits { chunk_bytes: 1 << 10, window_bytes: 16 << 10, max_inbox_bytes: 900 << 10, ..small() };
    let mut world = World::new(1, 4, &limits);
    // 40 s a round, where the others take 2.
    world.wires[3].down = 10;
    world.run(Duration::from_secs(1));
    rounds_beside_a_sleeper(&mut world, 8);
    let mut late = Vec::new();
    while late.last() != Some(&8) {
        late.extend(world.take(3, 0));
        world.run(Duration::from_secs(1));
        assert!(world.now < Duration::from_mins(20), "only {late:?} came");
    }
    assert_eq!(late.first(), Some(&1));
    assert!(late.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_full_outbox_gives_up_earlier_rounds_when_its_time_has_come() {
    let mut world = World::new(1, 3, &ChannelLimits { max_queued_messages: 8, ..small() });
    // It comes on all the time, and is slower than the rounds.
    world.wires[2].down = 3;
    world.run(Duration::from_secs(3));
    let mut round = 0;
    let mut late = Vec::new();
    loop {
        round += 1;
        if world.queue(0, &[1, 2], &message(round, 400), true).is_none() {
            break;
        }
        world.run(Duration::from_millis(100));
        assert_eq!(world.take(1, 0), Some(round));
        late.extend(world.take(2, 0));
        assert!(round < 100, "the outbox was never full");
    }
    world.ends[0].give_up_rounds_before(round);
    world.queue(0, &[1, 2], &message(round, 400), true).unwrap();
    world.run(Duration::from_millis(100));
    assert_eq!(world.take(1, 0), Some(round));
    while late.last() != Some(&round) {
        late.extend(world.take(2, 0));
        world.run(Duration::from_millis(100));
        assert!(world.now < Duration::from_mins(5), "only {late:?} came");
    }
    assert!(late.is_sorted_by(|a, b| a < b));
}

#[test]
fn an_end_that_dies_in_the_middle_of_rounds_costs_no_memory() {
    let mut world = World::new(1, 3, &small());
    world.wires[2].down = 1;
    world.run(Duration::from_secs(1));
    for round in 1..=5 {
        world.queue(0, &[1, 2], &message(round, 5000), true).unwrap();
        world.run(Duration::from_millis(300));
        assert_eq!(world.take(1, 0), Some(round));
        world.set_link(2, false);
        world.run(Duration::from_secs(11));
        world.set_link(2, true);
        world.run(Duration::from_secs(1));
    }
    world.set_link(2, false);
    world.run(Duration::from_secs(11));
    world.queue(0, &[1, 2], &message(6, 100), true).unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!(world.take(1, 0), Some(6));
    let bytes = world.ends[0].outbox_bytes;
    assert!(bytes < 5000, "{bytes} bytes are kept of rounds that are over");
}

#[test]
fn a_late_joiner_that_catches_up_takes_a_part_of_the_way_only() {
    let limits = ChannelLimits { chunk_bytes: 1 << 10, window_bytes: 16 << 10, ..ChannelLimits::default() };
    let mut world = World::new(1, 4, &limits);
    world.set_link(3, false);
    // A chunk with its head, proofs and tags in a millisecond.
    world.wires[0].up = 1250;
    world.run(Duration::from_secs(1));
    world.queue(0, &[1, 2, 3], &plain(1, 400 << 10), true).unwrap();
    world.run(Duration::from_millis(450));
    assert_eq!((world.take(1, 0), world.take(2, 0)), (Some(1), Some(1)));
    // The next is for those who are here; the one that comes now wants both.
    world.queue(0, &[1, 2, 3], &plain(2, 400 << 10), true).unwrap();
    world.set_link(3, true);
    let began = world.now;
    let mut missing = vec![1, 2];
    while !missing.is_empty() {
        world.run(Duration::from_millis(5));
        missing.retain(|end| world.take(*end, 0) != Some(2));
    }
    let took = world.now.saturating_sub(began);
    assert!(took < Duration::from_millis(650), "{took:?} for 400 ms worth of bytes and a quarter for the late one");
    world.run(Duration::from_secs(3));
    assert_eq!((world.take(3, 0), world.take(3, 0)), (Some(1), Some(2)));
}
