//! Room before memory, and who gets it.

use std::time::Duration;

use super::*;

/// Chunks of 1 KiB, a window of 16 KiB, room for two of `LARGE`.
fn sized() -> ChannelLimits {
    ChannelLimits {
        chunk_bytes: 1 << 10,
        window_bytes: 16 << 10,
        max_inbox_bytes: 900 << 10,
        ..ChannelLimits::default()
    }
}

const LARGE: usize = 400 << 10;

fn held(end: &Core) -> usize {
    end.peers.iter().flat_map(|peer| peer.inbox.begun.values()).filter(|begun| begun.total > 16 << 10).count()
}

#[test]
fn large_messages_queue_for_a_task_one_behind_the_other_without_a_pause() {
    let mut world = World::new(1, 5, &sized());
    world.wires[0].down = 1 << 10;
    world.run(Duration::from_secs(1));
    let before: u64 = world.wires.iter().map(|wire| wire.bytes_up).sum();
    let began = world.now;
    for from in 1..=4 {
        world.queue(from, &[0], &plain(from as u64, LARGE), false).unwrap();
    }
    let (mut got, mut most) = (Vec::new(), 0);
    while got.len() < 4 {
        world.step(began + Duration::from_mins(1));
        most = most.max(held(&world.ends[0]));
        got.extend((1..=4).filter_map(|from| world.take(0, from)));
        assert!(world.now < began + Duration::from_mins(1), "only {got:?} came");
    }
    assert!(most <= 2, "{most} large messages were assembled at a time");
    let bytes: u64 = world.wires.iter().map(|wire| wire.bytes_up).sum::<u64>() - before;
    let useful = 4 * LARGE as u64;
    assert!(bytes < useful * 115 / 100, "{bytes} bytes were sent for {useful} and a tenth for heads and tags");
    let took = world.now.saturating_sub(began);
    let busy = takes(usize::try_from(bytes).unwrap(), 1 << 10);
    assert!(took < busy + Duration::from_millis(10), "the wire was idle: {took:?} for {busy:?} worth of bytes");
}

#[test]
fn who_finds_no_room_sends_nothing_until_there_is_some_and_then_is_served_in_turn() {
    let mut world = World::new(1, 7, &sized());
    world.run(Duration::from_secs(1));
    for from in 1..=6 {
        world.queue(from, &[0], &plain(from as u64, LARGE), false).unwrap();
        world.run(Duration::from_millis(10));
    }
    world.run(Duration::from_secs(10));
    assert!(world.ends[0].room.bytes <= 900 << 10);
    let before: Vec<u64> = world.wires.iter().map(|wire| wire.bytes_up).collect();
    world.run(Duration::from_mins(1));
    for (wire, before) in world.wires.iter().zip(before) {
        let bytes = wire.bytes_up - before;
        assert!(bytes < 16 << 10, "{bytes} bytes in a minute of waiting");
    }
    // The guest takes what is first, again and again.
    let mut got = Vec::new();
    while got.len() < 6 {
        let now = world.now;
        if let Some((_, inbound)) = world.ends[0].take(now, &[]) {
            got.push(world.let_go(0, inbound));
        }
        world.run(Duration::from_secs(1));
        assert!(world.ends[0].room.bytes <= 900 << 10);
        assert!(world.now < Duration::from_mins(3), "only {got:?} came");
    }
    assert_eq!(got, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_the_guest_holds_keeps_the_next_large_message_away_until_it_lets_go_or_waits() {
    let mut world = World::new(1, 5, &ChannelLimits { max_inbox_bytes: 500 << 10, ..sized() });
    world.run(Duration::from_secs(1));
    for from in 1..=4 {
        world.queue(from, &[0], &plain(from as u64, LARGE), false).unwrap();
    }
    world.run(Duration::from_secs(5));
    let take = |world: &mut World| {
        let now = world.now;
        world.ends[0].take(now, &[]).map(|(_, inbound)| inbound)
    };
    let first = take(&mut world).unwrap();
    world.run(Duration::from_secs(5));
    assert_eq!((held(&world.ends[0]), world.ends[0].room.messages), (0, 0), "the guest works on what it holds");
    world.let_go(0, first);
    world.run(Duration::from_secs(1));
    let second = take(&mut world).unwrap();
    // It needs another one, and keeps this.
    world.run(Duration::from_secs(1));
    let now = world.now;
    assert!(take(&mut world).is_none() && world.ends[0].guest_waits(now));
    world.run(Duration::from_secs(1));
    let third = take(&mut world).unwrap();
    assert_eq!(world.ends[0].room.lent, second.lent + third.lent);
    // It keeps both, and never asks: after a while it is not waited for.
    world.run(Duration::from_secs(5));
    assert_eq!(world.ends[0].room.messages, 0);
    world.run(Duration::from_secs(20));
    assert_eq!(world.ends[0].room.messages, 1);
    let fourth = take(&mut world).unwrap();
    let mut got: Vec<u64> = [second, third, fourth].map(|inbound| world.let_go(0, inbound)).into();
    got.sort_unstable();
    got.dedup();
    assert_eq!((got.len(), world.ends[0].room.lent), (3, 0));
}

#[test]
fn large_messages_that_fit_beside_what_the_guest_holds_come_meanwhile() {
    let mut world = World::new(1, 3, &sized());
    world.run(Duration::from_secs(1));
    for from in 1..=2 {
        world.queue(from, &[0], &plain(from as u64, LARGE), false).unwrap();
    }
    world.run(Duration::from_secs(1));
    let now = world.now;
    let (_, first) = world.ends[0].take(now, &[]).unwrap();
    world.queue(1, &[0], &plain(3, LARGE), false).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(world.ends[0].room.messages, 1, "two fit, not three");
    world.let_go(0, first);
    world.run(Duration::from_secs(1));
    assert_eq!((world.take(0, 2), world.take(0, 1)), (Some(2), Some(3)));
}

#[test]
fn small_messages_pass_the_large_ones_of_others() {
    let mut world = World::new(1, 6, &sized());
    world.wires[0].down = 1 << 10;
    world.run(Duration::from_secs(1));
    for from in 1..=4 {
        world.queue(from, &[0], &plain(from as u64, LARGE), false).unwrap();
    }
    world.run(Duration::from_millis(100));
    // While one comes in …
    world.queue(5, &[0], &plain(50, 100), false).unwrap();
    world.run(Duration::from_millis(100));
    assert_eq!(world.take(0, 5), Some(50));
    // … and while nothing large finds room.
    world.run(Duration::from_secs(20));
    world.queue(5, &[0], &plain(51, 2000), false).unwrap();
    world.run(Duration::from_millis(100));
    assert_eq!(world.take(0, 5), Some(51));
}

#[test]
fn a_sender_with_a_slow_link_does_not_hold_up_the_others() {
    let mut world = World::new(1, 4, &sized());
    // It would take 40 s alone.
    world.wires[1].up = 10;
    world.run(Duration::from_secs(1));
    world.queue(1, &[0], &plain(1, LARGE), false).unwrap();
    world.run(Duration::from_secs(1));
    for n in [2, 3] {
        world.queue(2, &[0], &plain(n, LARGE), false).unwrap();
        world.run(Duration::from_secs(2));
        assert_eq!(world.take(0, 2), Some(n));
    }
    world.run(Duration::from_secs(45));
    assert_eq!(world.take(0, 1), Some(1));
}

#[test]
fn what_an_end_that_went_away_had_begun_gives_up_its_room_and_comes_anew() {
    let mut world = World::new(1, 3, &ChannelLimits { max_inbox_bytes: 500 << 10, ..sized() });
    world.wires[1].up = 1 << 10;
    world.run(Duration::from_secs(1));
    world.queue(1, &[0], &plain(1, LARGE), false).unwrap();
    world.queue(1, &[0], &plain(2, LARGE), false).unwrap();
    world.run(Duration::from_millis(200));
    assert_eq!(held(&world.ends[0]), 1);
    world.set_link(1, false);
    world.queue(2, &[0], &plain(9, LARGE), false).unwrap();
    // Once it is taken for dead the other gets the room.
    world.run(Duration::from_secs(12));
    assert_eq!(world.take(0, 2), Some(9));
    world.set_link(1, true);
    world.run(Duration::from_secs(30));
    assert_eq!(world.take(0, 1), Some(1));
    world.run(Duration::from_secs(30));
    assert_eq!((world.take(0, 1), world.take(0, 1)), (Some(2), None));
    world.run(Duration::from_secs(10));
    assert_eq!((world.ends[0].room.bytes, world.ends[1].outbox_bytes), (0, 0));
}

#[test]
fn a_message_goes_on_where_it_was_when_the_link_is_back() {
    let mut world = World::new(1, 2, &sized());
    world.wires[1].up = 1 << 10;
    world.run(Duration::from_secs(1));
    world.queue(1, &[0], &plain(1, LARGE), false).unwrap();
    world.run(Duration::from_millis(300));
    world.set_link(1, false);
    world.run(Duration::from_secs(15));
    world.set_link(1, true);
    let before = world.wires[1].bytes_up;
    world.run(Duration::from_secs(3));
    assert_eq!(world.take(0, 1), Some(1));
    let again = world.wires[1].bytes_up - before;
    assert!(again < 150 << 10, "{again} bytes were sent for the rest of about 100 KiB");
}

#[test]
fn two_hundred_senders_never_fill_a_brokers_queue() {
    for len in [10, 10 << 10] {
        let mut world = World::new(1, 201, &sized());
        world.wires[0].down = 2 << 10;
        world.run(Duration::from_secs(4));
        for from in 1..=200 {
            for n in 1..=2 {
                world.queue(from, &[0], &plain(n, len), false).unwrap();
            }
        }
        let mut got = vec![Vec::new(); 201];
        while got.iter().map(Vec::len).sum::<usize>() < 400 {
            world.run(Duration::from_millis(20));
            let now = world.now;
            while let Some((sender, inbound)) = world.ends[0].take(now, &[]) {
                let from = (1..=200).find(|from| id(*from) == sender).unwrap();
                got[from].push(world.let_go(0, inbound));
            }
            assert!(world.now < Duration::from_mins(10));
        }
        assert!(got[1..].iter().all(|got| *got == [1, 2]));
        let most = world.wires[0].most_waiting;
        assert!(most < 1000, "{most} packets waited for one client at {len} bytes a message");
        let again: u64 = world.ends.iter().map(|end| end.stats.chunks_resent).sum();
        println!("{len} bytes: at most {most} packets wait, {again} chunks were sent again, {:?}", world.now);
    }
}

#[test]
fn a_guest_that_waits_for_some_ends_gets_one_of_their_messages_through_a_full_queue() {
    let mut world = World::new(1, 4, &ChannelLimits { max_inbox_bytes: 500 << 10, ..sized() });
    world.run(Duration::from_secs(1));
    for from in [1, 2, 3] {
        world.queue(from, &[0], &plain(from as u64, LARGE), false).unwrap();
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.ends[0].room.messages, 1);
    let wanted: Vec<usize> = [2, 3].iter().map(|n| world.ends[0].index_of(&id(*n)).unwrap()).collect();
    let now = world.now;
    let wait = world.ends[0].want(now, &wanted);
    world.run(Duration::from_secs(3));
    // One of them, and not all: the room of the queue is exceeded by no more than the guest waits for.
    assert_eq!((world.take(0, 2), world.take(0, 3)), (Some(2), None));
    world.ends[0].unwant(wait);
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
    world.ends[0].want(now, &[index]);
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
    assert_eq!(world.ends[1].room.bytes, 0);
}
