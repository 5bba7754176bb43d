//! One contract, every transport: what a guest may rely on, whatever carries its packets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{LONG, Net, body, config, group, id, job, join, join_with, model, on_every_transport, text};
use flame_channel::{Channel, ChannelError, ChannelLimits, Event, next};

const SHORT: Duration = Duration::from_millis(50);

async fn messages_of_any_size_arrive_whole_and_in_order(net: &Net) {
    let ends = group(net, 2).await;
    let sizes = [0, 1, 262_144, 262_145, 20 << 20, 5];
    for (number, size) in sizes.into_iter().enumerate() {
        ends[0].send(&[id(1)], body(&format!("m{number}"), size)).await.unwrap();
    }
    for (number, size) in sizes.into_iter().enumerate() {
        let got = ends[1].recv(&id(0), LONG).await.unwrap();
        assert_eq!(got.sender, id(0));
        assert!(got.message == body(&format!("m{number}"), size), "message {number} of {size} bytes differs");
        assert!(got.wire_bytes >= size as u64);
    }
    let receipt = ends[1].send(&[id(0)], model(100_000)).await.unwrap();
    receipt.wait(LONG).await.unwrap();
    assert!(receipt.pending().is_empty());
    assert!(ends[0].recv(&id(1), LONG).await.unwrap().message == model(100_000));
    assert_eq!(ends[0].stats().dropped_forged, 0);
}

async fn the_first_to_come_is_served_first_and_the_rest_stays_queued(net: &Net) {
    let ends = group(net, 4).await;
    for n in [2_usize, 3, 1] {
        let receipt = ends[n].broadcast(text(&format!("from{n}"), 1)).await.unwrap();
        receipt.wait(LONG).await.unwrap();
    }
    let hub = &ends[0];
    assert_eq!(hub.peek(&id(1)).unwrap().as_deref(), Some("from1"));
    assert_eq!(hub.recv_fifo(&[id(1), id(3)], LONG).await.unwrap().sender, id(3));
    assert_eq!(hub.recv_fifo(&[], LONG).await.unwrap().sender, id(2));
    assert_eq!(hub.peek(&id(1)).unwrap().as_deref(), Some("from1"));
    assert_eq!(hub.recv(&id(1), LONG).await.unwrap().message.kind, "from1");
    assert_eq!(hub.peek(&id(1)).unwrap(), None);
    assert_eq!(hub.recv_fifo(&[], SHORT).await.unwrap_err(), ChannelError::Timeout);
}

async fn a_broadcast_reaches_everybody_a_late_joiner_included(net: &Net) {
    let job = job();
    let hub = join(net, &job, 0, 4).await;
    let mut trainers = vec![join(net, &job, 1, 4).await, join(net, &job, 2, 4).await];
    hub.await_ends(2, LONG).await.unwrap();
    let receipt = hub.broadcast(model(200_000)).await.unwrap();
    for trainer in &trainers {
        assert!(trainer.recv(&id(0), LONG).await.unwrap().message == model(200_000));
    }
    assert_eq!(receipt.wait(SHORT).await.unwrap_err(), ChannelError::Timeout);
    assert_eq!(receipt.pending(), [id(3)]);
    trainers.push(join(net, &job, 3, 4).await);
    assert!(trainers[2].recv(&id(0), LONG).await.unwrap().message == model(200_000));
    receipt.wait(LONG).await.unwrap();
}

async fn groups_and_keys_keep_apart(net: &Net) {
    let job = job();
    let hub = join(net, &job, 0, 2).await;
    let other_group = flame_channel::ChannelConfig { group: "default/eu".into(), ..config(&job, 1, 2) };
    let other = join_with(net, other_group, 1).await;
    other.broadcast(text("foreign", 1)).await.unwrap();
    assert_eq!(hub.await_ends(1, Duration::from_millis(300)).await.unwrap_err(), ChannelError::Timeout);
    drop(other);

    let right = config(&job, 1, 2);
    let keys = flame_channel::ChannelKeys::of_secret(&[9; 32], &right.me, &right.roster);
    let wrong_key = flame_channel::ChannelConfig { keys, incarnation: 7, ..right };
    let stranger = join_with(net, wrong_key, 1).await;
    stranger.broadcast(text("forged", 1)).await.unwrap();
    assert_eq!(hub.await_ends(1, Duration::from_millis(300)).await.unwrap_err(), ChannelError::Timeout);
    assert!(hub.stats().dropped_forged > 0);
    assert_eq!(hub.recv_fifo(&[], SHORT).await.unwrap_err(), ChannelError::Timeout);
    drop(stranger);

    let right = join(net, &job, 1, 2).await;
    right.broadcast(text("real", 1)).await.unwrap();
    assert_eq!(hub.recv(&id(1), LONG).await.unwrap().message.kind, "real");
}

async fn who_leaves_is_closed_once_its_messages_are_taken(net: &Net) {
    let ends = group(net, 3).await;
    ends[1].broadcast(body("last words", 600_000)).await.unwrap();
    ends[1].leave().await.unwrap();
    assert_eq!(ends[1].recv(&id(0), LONG).await.unwrap_err(), ChannelError::Closed);
    let got = ends[0].recv(&id(1), LONG).await.unwrap();
    assert_eq!(got.message.kind, "last words");
    assert_eq!(ends[0].recv(&id(1), LONG).await.unwrap_err(), ChannelError::Closed);
    assert_eq!(ends[0].peek(&id(1)).unwrap_err(), ChannelError::Closed);
    assert_eq!(ends[0].ends(), [id(2)]);
    // A dropped handle says goodbye, too.
    let mut ends = ends;
    drop(ends.pop());
    assert_eq!(ends[0].recv(&id(2), LONG).await.unwrap_err(), ChannelError::Closed);
}

async fn a_higher_attempt_takes_over_and_gets_what_was_not_taken(net: &Net) {
    let job = job();
    let hub = join(net, &job, 0, 2).await;
    let first = join(net, &job, 1, 2).await;
    hub.await_ends(1, LONG).await.unwrap();
    for n in 1..=3 {
        hub.send(&[id(1)], body(&format!("m{n}"), 300_000)).await.unwrap().wait(LONG).await.unwrap();
    }
    assert_eq!(first.recv(&id(0), LONG).await.unwrap().message.kind, "m1");
    // The acknowledgement of having taken it is on its way within 20 ms; the outbox shows nothing of it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = flame_channel::ChannelConfig { incarnation: 2, ..config(&job, 1, 2) };
    let second = join_with(net, second, 1).await;
    assert_eq!(second.recv(&id(0), LONG).await.unwrap().message.kind, "m2");
    assert_eq!(second.recv(&id(0), LONG).await.unwrap().message.kind, "m3");
    assert_eq!(second.recv(&id(0), SHORT).await.unwrap_err(), ChannelError::Timeout);
    second.send(&[id(0)], text("from the second", 1)).await.unwrap();
    let got = hub.recv(&id(1), LONG).await.unwrap();
    assert_eq!(got.message.kind, "from the second");
    assert!(got.id >> 32 == 2);
    drop(first);
}

async fn stop_wakes_every_waiter_at_once(net: &Net) {
    let ends = group(net, 2).await;
    let channel = ends[0].clone();
    let waiters = [
        tokio::spawn({
            let channel = channel.clone();
            async move { channel.recv(&id(1), LONG).await.map(|_| ()) }
        }),
        tokio::spawn({
            let channel = channel.clone();
            async move { channel.await_ends(9, LONG).await.map(|_| ()) }
        }),
        tokio::spawn({
            let channel = channel.clone();
            async move {
                loop {
                    next(&[&channel], LONG).await?;
                }
            }
        }),
    ];
    tokio::time::sleep(SHORT).await;
    let began = Instant::now();
    channel.stop();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Err(ChannelError::Stopped));
    }
    assert!(began.elapsed() < LONG / 4);
    assert_eq!(channel.send(&[id(1)], text("late", 1)).await.unwrap_err(), ChannelError::Stopped);
    channel.leave().await.unwrap();
    assert_eq!(ends[1].recv(&id(0), LONG).await.unwrap_err(), ChannelError::Closed);
}

async fn next_tells_of_joins_messages_and_leaves_over_several_channels(net: &Net) {
    let job = job();
    let named = |name: &str, n: u32| flame_channel::ChannelConfig { name: name.into(), ..config(&job, n, 2) };
    let (a, b) = (join_with(net, named("a", 0), 0).await, join_with(net, named("b", 0), 10).await);
    let far = join_with(net, named("b", 1), 1).await;
    let seen = |event: Result<(usize, Event), ChannelError>| match event.unwrap() {
        (at, Event::Joined(end)) => format!("{at} joined {}", end == id(1)),
        (at, Event::Left(end)) => format!("{at} left {}", end == id(1)),
        (at, Event::Message(received)) => format!("{at} {}", received.message.kind),
    };
    assert_eq!(seen(next(&[&a, &b], LONG).await), "1 joined true");
    far.broadcast(text("hello", 1)).await.unwrap();
    far.leave().await.unwrap();
    assert_eq!(seen(next(&[&a, &b], LONG).await), "1 hello");
    assert_eq!(seen(next(&[&a, &b], LONG).await), "1 left true");
    assert_eq!(next(&[&a, &b], SHORT).await.unwrap_err(), ChannelError::Timeout);
}

async fn a_self_loop_reaches_the_others_only_and_strangers_are_not_found(net: &Net) {
    let job = job();
    let mut ends = Vec::new();
    for n in 0..3 {
        let mut config = config(&job, n, 3);
        for peer in &mut config.roster {
            peer.role = "worker".into();
        }
        ends.push(join_with(net, config, n).await);
    }
    for end in &ends {
        end.await_ends(2, LONG).await.unwrap();
    }
    ends[1].broadcast(text("ring", 1)).await.unwrap();
    for n in [0, 2] {
        assert_eq!(ends[n].recv(&id(1), LONG).await.unwrap().message.kind, "ring");
    }
    assert_eq!(ends[1].recv_fifo(&[], SHORT).await.unwrap_err(), ChannelError::Timeout);
    for unknown in [id(1), id(77)] {
        assert!(matches!(
            ends[1].send(std::slice::from_ref(&unknown), text("x", 1)).await,
            Err(ChannelError::NotFound(_))
        ));
        assert!(matches!(ends[1].recv(&unknown, SHORT).await, Err(ChannelError::NotFound(_))));
    }
    let presence = ends[1].roster_presence();
    assert_eq!(presence.iter().filter(|(_, here)| *here).count(), 3);
}

async fn a_full_outbox_holds_the_sender_back_and_nothing_is_lost(net: &Net) {
    let job = job();
    let limits = ChannelLimits { max_queued_messages: 4, ..ChannelLimits::default() };
    let tight = |n| flame_channel::ChannelConfig { limits: limits.clone(), ..config(&job, n, 2) };
    let (hub, trainer) = (join_with(net, tight(0), 0).await, join_with(net, tight(1), 1).await);
    hub.await_ends(1, LONG).await.unwrap();
    let sender = tokio::spawn(async move {
        for n in 0..60 {
            hub.send(&[id(1)], body(&format!("{n}"), 10_000)).await.unwrap();
        }
        hub.leave().await.unwrap();
    });
    tokio::time::sleep(SHORT).await;
    assert!(!sender.is_finished(), "sixty messages do not fit into an outbox of four");
    for n in 0..60 {
        assert_eq!(trainer.recv(&id(0), LONG).await.unwrap().message.kind, n.to_string());
    }
    sender.await.unwrap();
}

/// An SDK's aggregator may hold early answers while it waits for the others; and a ring's members hold what they got while
/// they wait for receipts.
async fn who_keeps_large_messages_gets_the_next_ones_all_the_same(net: &Net) {
    let job = job();
    let limits = ChannelLimits { max_inbox_bytes: 3 << 20, window_bytes: 1 << 20, ..ChannelLimits::default() };
    let tight = |n| flame_channel::ChannelConfig { limits: limits.clone(), ..config(&job, n, 4) };
    let mut ends = Vec::new();
    for n in 0..4 {
        ends.push(join_with(net, tight(n), n).await);
    }
    for end in &ends[1..] {
        end.send(&[id(0)], body("update", 2 << 20)).await.unwrap();
    }
    let mut kept = Vec::new();
    for _ in 1..4 {
        kept.push(ends[0].recv_fifo(&[], LONG).await.unwrap());
    }
    // All hold a message, and wait for each other's receipt of the next.
    let mut sent = vec![ends[0].broadcast(body("model", 2 << 20)).await.unwrap()];
    for end in &ends[1..] {
        kept.push(end.recv(&id(0), LONG).await.unwrap());
        sent.push(end.send(&[id(0)], body("update", 2 << 20)).await.unwrap());
    }
    sent.push(ends[0].broadcast(body("model", 2 << 20)).await.unwrap());
    let receipts: Vec<_> = sent.into_iter().map(|receipt| async move { receipt.wait(LONG).await }).collect();
    for end in &ends[1..] {
        kept.push(end.recv(&id(0), LONG).await.unwrap());
    }
    for _ in 1..4 {
        kept.push(ends[0].recv_fifo(&[], LONG).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(kept.len(), 12);
}

/// Twenty rounds of four participants with 400 KB each way: says how long the channel took for it.
async fn rounds(net: &Net) -> Duration {
    let ends = group(net, 5).await;
    let mut ends = ends.into_iter();
    let hub = ends.next().unwrap();
    let trainers: Vec<_> = ends
        .map(|trainer: Channel| {
            tokio::spawn(async move {
                for _ in 0..20 {
                    let got = trainer.recv(&id(0), LONG).await.unwrap();
                    trainer.send(&[id(0)], got.message).await.unwrap();
                }
                trainer.leave().await.unwrap();
            })
        })
        .collect();
    let weights = model(100_000);
    let began = Instant::now();
    for round in 1..=20 {
        hub.broadcast(flame_model::Message { round, ..weights.clone() }).await.unwrap();
        for n in 1..=4 {
            assert_eq!(hub.recv(&id(n), LONG).await.unwrap().message.round, round);
        }
    }
    let took = began.elapsed();
    for trainer in trainers {
        trainer.await.unwrap();
    }
    took
}

async fn small_messages_go_to_and_fro(net: &Net) -> Duration {
    let ends = group(net, 2).await;
    let began = Instant::now();
    for _ in 0..50 {
        ends[0].send(&[id(1)], text("ping", 1)).await.unwrap();
        ends[1].recv(&id(0), LONG).await.unwrap();
        ends[1].send(&[id(0)], text("pong", 1)).await.unwrap();
        ends[0].recv(&id(1), LONG).await.unwrap();
    }
    began.elapsed() / 50
}

async fn rounds_are_quick(net: &Net) {
    let took = rounds(net).await;
    let trip = small_messages_go_to_and_fro(net).await;
    // Printed, not asserted: a machine may be busy.
    println!("20 rounds x 4 x 400 KB both ways: {took:?}; small round trip: {trip:?}");
}

on_every_transport!(
    messages_of_any_size_arrive_whole_and_in_order,
    the_first_to_come_is_served_first_and_the_rest_stays_queued,
    a_broadcast_reaches_everybody_a_late_joiner_included,
    groups_and_keys_keep_apart,
    who_leaves_is_closed_once_its_messages_are_taken,
    a_higher_attempt_takes_over_and_gets_what_was_not_taken,
    stop_wakes_every_waiter_at_once,
    next_tells_of_joins_messages_and_leaves_over_several_channels,
    a_self_loop_reaches_the_others_only_and_strangers_are_not_found,
    a_full_outbox_holds_the_sender_back_and_nothing_is_lost,
    who_keeps_large_messages_gets_the_next_ones_all_the_same,
    rounds_are_quick,
);
