//! What a broker and a network can do to a transfer: die in the middle, forget everything, cut, freeze, lose, double and
//! reorder. Brokers have their default configuration.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::links::{Relay, Unreliable};
use common::{LONG, Mosquitto, body, config, connect, expect, id, job};
use flame_channel::mqtt::{MqttSettings, MqttTransport};
use flame_channel::{Channel, ChannelConfig, ChannelError, ChannelLimits};
use flame_model::Message;

/// An aggregator and `count - 1` trainers that see each other.
async fn group_at(url: &str, count: u32) -> Vec<Channel> {
    let job = job();
    let mut ends = Vec::new();
    for n in 0..count {
        let transport = Arc::new(connect(url, &job, n).await);
        ends.push(Channel::join(config(&job, n, count), transport).await.unwrap());
    }
    ends[0].await_ends(count - 1, LONG).await.unwrap();
    ends
}

fn messages(count: usize, bytes: usize) -> Vec<Message> {
    (1..=count).map(|n| body(&format!("m{n}"), bytes)).collect()
}

/// Twelve MiB to two ends and back, during which the broker is killed when `percent` of it has passed.
async fn the_broker_dies_at(percent: u64) {
    let Some(mut broker) = Mosquitto::start() else { return };
    let relay = Relay::start(broker.port(), 0).await;
    let ends = group_at(&relay.url(), 3).await;
    let down = messages(2, 4 << 20);
    let up = messages(1, 2 << 20);
    // Up to the broker once, down from it twice, and each answer both.
    let all = 3 * (8 << 20) + 2 * 2 * (2 << 20);
    let before = relay.carried();
    for message in &down {
        ends[0].broadcast(message.clone()).await.unwrap();
    }
    for end in &ends[1..] {
        end.send(&[id(0)], up[0].clone()).await.unwrap();
    }
    relay.has_carried(before + all * percent / 100).await;
    broker.kill();
    broker.restart();
    for end in &ends[1..] {
        expect(end, 0, &down).await;
    }
    for n in 1..=2 {
        expect(&ends[0], n, &up).await;
    }
}

macro_rules! at {
    ($($name:ident: $percent:literal),* $(,)?) => {
        mod a_broker_killed_in_mid_transfer_loses_nothing {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::the_broker_dies_at($percent).await;
            })*
        }
    };
}

at!(
    at_0_percent: 0,
    at_10_percent: 10,
    at_20_percent: 20,
    at_30_percent: 30,
    at_40_percent: 40,
    at_50_percent: 50,
    at_60_percent: 60,
    at_70_percent: 70,
    at_80_percent: 80,
    at_90_percent: 90,
);

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_ten_times_loses_nothing() {
    let Some(broker) = Mosquitto::start() else { return };
    let relay = Relay::start(broker.port(), 0).await;
    let ends = group_at(&relay.url(), 3).await;
    let down = messages(5, 4 << 20);
    let before = relay.carried();
    for message in &down {
        ends[0].broadcast(message.clone()).await.unwrap();
    }
    for cut in 1..=10 {
        relay.has_carried(before + cut * (5 << 20)).await;
        relay.cut();
    }
    for end in &ends[1..] {
        expect(end, 0, &down).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_lost_doubled_and_out_of_order_make_no_difference() {
    let Some(broker) = Mosquitto::start() else { return };
    let job = job();
    let mut ends = Vec::new();
    for n in 0..3 {
        let transport = Arc::new(connect(&broker.url(), &job, n).await);
        let limits = ChannelLimits { resend_after: Duration::from_millis(300), ..ChannelLimits::default() };
        let config = ChannelConfig { limits, ..config(&job, n, 3) };
        ends.push(Channel::join(config, Arc::new(Unreliable::new(transport, u64::from(n) + 7))).await.unwrap());
    }
    ends[0].await_ends(2, LONG).await.unwrap();
    let down: Vec<Message> = [3 << 20, 10, 6 << 20, 0, 300_000].into_iter().flat_map(|len| messages(2, len)).collect();
    for message in &down {
        ends[0].broadcast(message.clone()).await.unwrap();
        for end in &ends[1..] {
            end.send(&[id(0)], message.clone()).await.unwrap();
        }
    }
    for n in 1..=2 {
        expect(&ends[usize::try_from(n).unwrap()], 0, &down).await;
        expect(&ends[0], n, &down).await;
    }
    assert!(ends[0].stats().chunks_resent > 0 && ends[1].stats().dropped_replayed > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything_and_no_packet_is_dropped() {
    let Some(broker) = Mosquitto::start() else { return };
    let limits = ChannelLimits { max_inbox_bytes: 8 << 20, max_queued_messages: 8, ..ChannelLimits::default() };
    let job = job();
    let mut ends = Vec::new();
    for n in 0..2 {
        let transport = Arc::new(connect(&broker.url(), &job, n).await);
        let config = ChannelConfig { limits: limits.clone(), ..config(&job, n, 2) };
        ends.push(Channel::join(config, transport).await.unwrap());
    }
    ends[0].await_ends(1, LONG).await.unwrap();
    let all: Vec<Message> =
        (0..60).map(|n| body(&format!("m{n}"), if n % 10 == 0 { 9 << 20 } else { 50_000 })).collect();
    let hub = ends.swap_remove(0);
    let to_send = all.clone();
    let sender = tokio::spawn(async move {
        for message in to_send {
            hub.send(&[id(1)], message).await.unwrap();
        }
        hub
    });
    for message in &all {
        // The guest is busy for a while with each.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(ends[0].recv(&id(0), LONG).await.unwrap().message == *message);
    }
    let hub = sender.await.unwrap();
    assert_eq!(broker.dropped_for(), [""; 0]);
    drop(hub);
}

/// Rounds of 2 MiB for two quick ends and one that is treated badly; how long they took is no matter, that they end is.
async fn rounds_go_on_beside(broker: &Mosquitto, bad: &Relay, spoil: impl Fn(&Relay)) -> (Channel, Channel) {
    let job = job();
    let limits = ChannelLimits { max_queued_messages: 6, ..ChannelLimits::default() };
    let mut ends = Vec::new();
    for n in 0..4 {
        let url = if n == 3 { bad.url() } else { broker.url() };
        let config = ChannelConfig { limits: limits.clone(), ..config(&job, n, 4) };
        let transport = Arc::new(connect(&url, &job, n).await);
        ends.push(Channel::join(config, transport).await.unwrap());
    }
    ends[0].await_ends(3, LONG).await.unwrap();
    spoil(bad);
    for round in 1..=20 {
        let message = Message { round, ..body("weights", 2 << 20) };
        ends[0].broadcast(message).await.unwrap();
        for end in &ends[1..3] {
            assert_eq!(end.recv(&id(0), LONG).await.unwrap().message.round, round);
        }
    }
    let bad = ends.swap_remove(3);
    (ends.swap_remove(0), bad)
}

/// Takes until the last round has come; whatever comes grows.
async fn catches_up(end: &Channel) {
    let mut last = 0;
    while last < 20 {
        let round = end.recv(&id(0), LONG).await.unwrap().message.round;
        assert!(round > last, "round {round} came after {last}");
        last = round;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_with_a_slow_link_delays_nobody_but_itself() {
    let Some(broker) = Mosquitto::start() else { return };
    let relay = Relay::start(broker.port(), 8 << 20).await;
    let (hub, slow) = rounds_go_on_beside(&broker, &relay, |_| ()).await;
    catches_up(&slow).await;
    drop(hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_falls_silent_delays_nobody_and_catches_up_when_it_is_back() {
    let Some(broker) = Mosquitto::start() else { return };
    let relay = Relay::start(broker.port(), 0).await;
    let (hub, silent) = rounds_go_on_beside(&broker, &relay, |relay| relay.freeze(true)).await;
    relay.freeze(false);
    catches_up(&silent).await;
    drop(hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_falls_silent_is_gone_after_its_time_and_not_while_bytes_flow() {
    let Some(broker) = Mosquitto::start() else { return };
    let limits = ChannelLimits {
        // No heartbeat of its own within the time: only what it sends shows that it lives.
        heartbeat: LONG,
        // Long beside what a busy machine may let either end wait.
        dead_after: Duration::from_secs(3),
        ..ChannelLimits::default()
    };
    let job = job();
    let relay = Relay::start(broker.port(), 2 << 20).await;
    let mut ends = Vec::new();
    for n in 0..2 {
        let url = if n == 1 { relay.url() } else { broker.url() };
        let transport = Arc::new(connect(&url, &job, n).await);
        let config = ChannelConfig { limits: limits.clone(), ..config(&job, n, 2) };
        ends.push(Channel::join(config, transport).await.unwrap());
    }
    ends[0].await_ends(1, LONG).await.unwrap();
    // Longer on its way than the time after which silence is death.
    let long = body("long", 8 << 20);
    ends[1].send(&[id(0)], long.clone()).await.unwrap();
    assert!(ends[0].recv(&id(1), LONG).await.unwrap().message == long, "it was taken for dead in mid-transfer");
    relay.freeze(true);
    assert_eq!(ends[0].recv(&id(1), LONG).await.unwrap_err(), ChannelError::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_stay_below_what_the_broker_announces() {
    let Some(broker) = Mosquitto::start_saying("max_packet_size 20000") else { return };
    let ends = group_at(&broker.url(), 4).await;
    let down = messages(2, 5 << 20);
    for message in &down {
        ends[0].broadcast(message.clone()).await.unwrap();
        for end in &ends[1..] {
            end.send(&[id(0)], message.clone()).await.unwrap();
        }
    }
    for n in 1..=3 {
        expect(&ends[usize::try_from(n).unwrap()], 0, &down).await;
        expect(&ends[0], n, &down).await;
    }
    assert_eq!(broker.dropped_for(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_connection_breaks_for_good_is_closed_by_its_will() {
    let Some(broker) = Mosquitto::start() else { return };
    let job = job();
    // The heartbeat would not tell within the time that the test waits.
    let limits = ChannelLimits { dead_after: LONG * 10, ..ChannelLimits::default() };
    let hub = Arc::new(connect(&broker.url(), &job, 0).await);
    let hub = Channel::join(ChannelConfig { limits, ..config(&job, 0, 2) }, hub).await.unwrap();
    let transport = Arc::new(connect(&broker.url(), &job, 1).await);
    let trainer = Channel::join(config(&job, 1, 2), transport.clone()).await.unwrap();
    hub.await_ends(1, LONG).await.unwrap();
    // The connection is cut without a goodbye of the channel or to the broker.
    transport.abort();
    assert_eq!(hub.recv(&id(1), LONG).await.unwrap_err(), ChannelError::Closed);
    drop(trainer);
}

#[tokio::test]
async fn a_missing_broker_is_one_message_that_names_place_and_fix() {
    let url = format!("mqtt://127.0.0.1:{}", common::free_port());
    let settings = MqttSettings { url: url.clone(), client_id: "x".into(), ..MqttSettings::default() };
    let connected = tokio::time::timeout(LONG, MqttTransport::connect(&settings, "job", &id(1))).await.unwrap();
    let Err(ChannelError::Unavailable(text)) = connected else { panic!("it connected to nothing") };
    assert!(text.contains("127.0.0.1") && text.contains("check the address"), "{text}");
}
