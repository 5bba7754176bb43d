//! Behaviour that any implementation of Flame's channels shows, under the numbers that the cases have there.
//!
//! Where ours differs it differs throughout: every wait has a deadline and ends in a typed error where others give an empty
//! result; an end that is not in the roster is `NotFound`; an end is dead after one heartbeat on every transport. CH-16 is in
//! `core/simulation/presence.rs`, where time can be played; CH-18 (which channel carries a function tag) is the sandbox's,
//! that knows the schema.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::processes::{Process, argument};
use common::{LONG, Mosquitto, Net, body, config, connect, embedded, group, id, job, join, join_with, text};
use flame_channel::inproc::InprocHub;
use flame_channel::{Channel, ChannelConfig, ChannelError, ChannelKeys, ChannelLimits, Event, Transport, next};

const SHORT: Duration = Duration::from_millis(200);

/// Within a process, and over a broker: mosquitto where it is installed.
struct Nets(Vec<Net>, #[expect(dead_code, reason = "it runs as long as this")] Option<Mosquitto>);

impl Nets {
    fn start() -> Self {
        let broker = Mosquitto::start();
        let mqtt = broker.as_ref().map_or_else(embedded, Mosquitto::net);
        Self(vec![Net::Inproc(Arc::default()), mqtt], broker)
    }
}

async fn said(end: &Channel, from: u32) -> String {
    end.recv(&id(from), LONG).await.unwrap().message.kind
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_01_a_wait_for_ends_ends_with_its_deadline_or_with_the_end() {
    for net in &Nets::start().0 {
        let job = job();
        let hub = join(net, &job, 0, 2).await;
        assert_eq!(hub.await_ends(1, SHORT).await.unwrap_err(), ChannelError::Timeout);
        let _trainer = join(net, &job, 1, 2).await;
        assert_eq!(hub.await_ends(1, LONG).await.unwrap(), [id(1)]);
        // It is here: no time is needed.
        assert_eq!(hub.await_ends(1, Duration::ZERO).await.unwrap(), [id(1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_02_after_the_last_end_has_left_the_wait_begins_anew() {
    for net in &Nets::start().0 {
        let job = job();
        let hub = join(net, &job, 0, 2).await;
        let trainer = join(net, &job, 1, 2).await;
        hub.await_ends(1, LONG).await.unwrap();
        trainer.leave().await.unwrap();
        assert_eq!(hub.recv(&id(1), LONG).await.unwrap_err(), ChannelError::Closed);
        assert_eq!(hub.await_ends(1, SHORT).await.unwrap_err(), ChannelError::Timeout);
        let again = ChannelConfig { incarnation: 2, ..config(&job, 1, 2) };
        let _again = join_with(net, again, 1).await;
        assert_eq!(hub.await_ends(1, LONG).await.unwrap(), [id(1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_03_a_small_message_does_not_overtake_a_large_one_of_the_same_end() {
    for net in &Nets::start().0 {
        let ends = group(net, 2).await;
        ends[0].send(&[id(1)], body("large", 10 << 20)).await.unwrap();
        ends[0].send(&[id(1)], text("small", 1)).await.unwrap();
        assert_eq!(said(&ends[1], 0).await, "large");
        assert_eq!(said(&ends[1], 0).await, "small");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_04_what_came_first_is_taken_first_and_says_whose_it_is() {
    for net in &Nets::start().0 {
        let ends = group(net, 4).await;
        let order = [3_u32, 1, 2];
        for n in order {
            let end = &ends[usize::try_from(n).unwrap()];
            end.send(&[id(0)], text("update", u64::from(n))).await.unwrap().wait(LONG).await.unwrap();
        }
        for n in order {
            let got = ends[0].recv_fifo(&[id(1), id(2), id(3)], LONG).await.unwrap();
            assert_eq!((got.sender, got.message.round), (id(n), u64::from(n)));
        }
    }
}

/// There is no `first_k`: a guest takes as many as it wants, one call each, and the deadline bounds how long it waits for
/// one that does not come. So no number can be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn ch_06_as_many_messages_are_taken_as_were_sent_however_many_are_asked_for() {
    for net in &Nets::start().0 {
        let ends = group(net, 4).await;
        for end in &ends[1..] {
            end.broadcast(text("update", 1)).await.unwrap().wait(LONG).await.unwrap();
        }
        let mut got = 0;
        let end = loop {
            match ends[0].recv_fifo(&[], SHORT).await {
                Ok(_) => got += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((got, end), (3, ChannelError::Timeout));
    }
}

/// No sources named means any end: with nothing there the call ends with its deadline, where others give one empty result.
#[tokio::test(flavor = "multi_thread")]
async fn ch_07_no_sources_are_all_sources_and_the_call_does_not_block_for_ever() {
    for net in &Nets::start().0 {
        let ends = group(net, 2).await;
        assert_eq!(ends[0].recv_fifo(&[], Duration::ZERO).await.unwrap_err(), ChannelError::Timeout);
        ends[1].broadcast(text("update", 1)).await.unwrap();
        assert_eq!(ends[0].recv_fifo(&[], LONG).await.unwrap().sender, id(1));
    }
}

/// `NotFound`, where others do nothing: a guest that mistakes an end should learn of it.
#[tokio::test(flavor = "multi_thread")]
async fn ch_09_an_unknown_end_is_not_found_and_nothing_happens() {
    for net in &Nets::start().0 {
        let ends = group(net, 2).await;
        let unknown = id(9);
        assert!(matches!(ends[0].send(&[id(1), unknown.clone()], text("x", 1)).await, Err(ChannelError::NotFound(_))));
        assert!(matches!(ends[0].recv(&unknown, SHORT).await, Err(ChannelError::NotFound(_))));
        assert!(matches!(ends[0].recv_fifo(&[id(1), unknown.clone()], SHORT).await, Err(ChannelError::NotFound(_))));
        assert!(matches!(ends[0].peek(&unknown), Err(ChannelError::NotFound(_))));
        // Not to the known one either.
        assert_eq!(ends[1].recv(&id(0), SHORT).await.unwrap_err(), ChannelError::Timeout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_10_a_message_that_was_peeked_at_is_the_next_to_be_taken() {
    for net in &Nets::start().0 {
        let ends = group(net, 2).await;
        assert_eq!(ends[0].peek(&id(1)).unwrap(), None);
        for kind in ["first", "second"] {
            ends[1].broadcast(text(kind, 1)).await.unwrap().wait(LONG).await.unwrap();
        }
        for kind in ["first", "second"] {
            assert_eq!(ends[0].peek(&id(1)).unwrap().as_deref(), Some(kind));
            assert_eq!(said(&ends[0], 1).await, kind);
        }
        assert_eq!(ends[0].peek(&id(1)).unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_11_groups_see_nothing_of_each_other() {
    for net in &Nets::start().0 {
        let job = job();
        let of = |group: &str, n: u32| {
            let mut config = ChannelConfig { group: group.into(), ..config(&job, n, 4) };
            // Each group has an aggregator and one of the trainers.
            let others: &[u32] = if group == "eu" { &[0, 1] } else { &[2, 3] };
            config.roster.retain(|peer| others.iter().any(|n| peer.id == id(*n)));
            config.roster[0].role = "aggregator".into();
            config.keys = ChannelKeys::of_secret(&[3; 32], &config.me, &config.roster);
            config
        };
        let mut ends = Vec::new();
        for (group, n) in [("eu", 0), ("eu", 1), ("na", 2), ("na", 3)] {
            ends.push(join_with(net, of(group, n), n).await);
        }
        for (n, other) in [(0_usize, 1), (1, 0), (2, 3), (3, 2)] {
            assert_eq!(ends[n].await_ends(1, LONG).await.unwrap(), [id(other)]);
        }
        ends[0].broadcast(text("for eu", 1)).await.unwrap().wait(LONG).await.unwrap();
        assert_eq!(said(&ends[1], 0).await, "for eu");
        for end in &ends[2..] {
            assert_eq!(end.recv_fifo(&[], SHORT).await.unwrap_err(), ChannelError::Timeout);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_12_on_a_self_loop_a_broadcast_reaches_the_others_and_not_its_sender() {
    for net in &Nets::start().0 {
        let job = job();
        let mut ends = Vec::new();
        for n in 0..3 {
            let mut config = config(&job, n, 3);
            config.roster.iter_mut().for_each(|peer| peer.role = "trainer".into());
            ends.push(join_with(net, config, n).await);
        }
        for end in &ends {
            end.await_ends(2, LONG).await.unwrap();
        }
        ends[1].broadcast(text("ring", 1)).await.unwrap();
        assert_eq!((said(&ends[0], 1).await, said(&ends[2], 1).await), ("ring".into(), "ring".into()));
        assert_eq!(ends[1].recv_fifo(&[], SHORT).await.unwrap_err(), ChannelError::Timeout);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of the test below"]
async fn the_trainer() {
    let (Some(url), Some(job), Some(attempt)) = (argument("URL"), argument("JOB"), argument("ATTEMPT")) else { return };
    let incarnation = attempt.parse().unwrap();
    let channel = join_with(&Net::Broker(url), ChannelConfig { incarnation, ..config(&job, 1, 2) }, 1).await;
    channel.await_ends(1, LONG).await.unwrap();
    // The first takes one message, the second all.
    for _ in 0..if incarnation == 1 { 1 } else { usize::MAX } {
        let Ok(got) = channel.recv(&id(0), LONG).await else { return };
        channel.broadcast(text(&format!("{attempt} took {}", got.message.kind), 1)).await.unwrap();
    }
    // By now it has been acknowledged that it was taken, and what is sent next leaves behind that.
    tokio::time::sleep(SHORT).await;
    channel.broadcast(text("sure", 1)).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_15_a_process_killed_without_goodbye_is_gone_within_the_heartbeat_and_resumes_its_queue_when_it_is_back() {
    let Some(broker) = Mosquitto::start() else { return };
    let (url, job) = (broker.url(), job());
    let hub = join(&broker.net(), &job, 0, 2).await;
    let run = |attempt: &str| Process::start("the_trainer", &[("URL", &url), ("JOB", &job), ("ATTEMPT", attempt)]);
    let mut first = run("1");
    hub.await_ends(1, LONG).await.unwrap();
    let mut receipts = Vec::new();
    for kind in ["m1", "m2", "m3"] {
        receipts.push(hub.send(&[id(1)], body(kind, 300_000)).await.unwrap());
    }
    for receipt in receipts {
        receipt.wait(LONG).await.unwrap();
    }
    assert_eq!(said(&hub, 1).await, "1 took m1");
    assert_eq!(said(&hub, 1).await, "sure");
    first.kill();
    let within = ChannelLimits::default().dead_after;
    assert_eq!(hub.recv(&id(1), within).await.unwrap_err(), ChannelError::Closed);
    assert!(hub.ends().is_empty());
    // What it had not taken is there for its next attempt, and what it had taken is not.
    hub.send(&[id(1)], text("m4", 1)).await.unwrap();
    let _second = run("2");
    hub.await_ends(1, LONG).await.unwrap();
    for kind in ["m2", "m3", "m4"] {
        assert_eq!(said(&hub, 1).await, format!("2 took {kind}"));
    }
    assert_eq!(hub.recv(&id(1), SHORT).await.unwrap_err(), ChannelError::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn ch_17_one_worker_uses_a_transport_per_channel_and_one_for_several_channels() {
    let job = job();
    let broker = Mosquitto::start();
    let Net::Broker(url) = broker.as_ref().map_or_else(embedded, Mosquitto::net) else { return };
    let hub: Arc<dyn Transport> = Arc::new(InprocHub::new());
    let named = |name: &str, n: u32| ChannelConfig { name: name.into(), ..config(&job, n, 2) };
    let mut workers = Vec::new();
    for n in 0..2 {
        // One connection serves both of its channels; the third goes another way.
        let mqtt: Arc<dyn Transport> = Arc::new(connect(&url, &job, n).await);
        let mut channels = Vec::new();
        for (name, transport) in [("param", &mqtt), ("control", &mqtt), ("ring", &hub)] {
            channels.push(Channel::join(named(name, n), Arc::clone(transport)).await.unwrap());
        }
        workers.push(channels);
    }
    for (at, channel) in workers[0].iter().enumerate() {
        channel.await_ends(1, LONG).await.unwrap();
        channel.broadcast(text(&format!("on {at}"), 1)).await.unwrap();
    }
    let all: Vec<&Channel> = workers[1].iter().collect();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        if let (at, Event::Message(got)) = next(&all, LONG).await.unwrap() {
            assert_eq!(got.message.kind, format!("on {at}"));
            heard.push(at);
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, [0, 1, 2]);
}
