//! What a broker can do to a transfer: die in the middle, forget everything, and cut connections.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{LONG, Mosquitto, body, config, connect, id, job};
use flame_channel::mqtt::{MqttSettings, MqttTransport};
use flame_channel::{Channel, ChannelError};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_in_mid_transfer_loses_nothing() {
    let Some(mut broker) = Mosquitto::start() else { return };
    let job = job();
    let mut ends = Vec::new();
    for n in 0..3 {
        let transport = Arc::new(connect(&broker.url(), &job, n).await);
        ends.push(Channel::join(config(&job, n, 3), transport).await.unwrap());
    }
    ends[0].await_ends(2, LONG).await.unwrap();
    for n in 1..=4 {
        ends[0].broadcast(body(&format!("m{n}"), 12 << 20)).await.unwrap();
    }
    for _ in 0..2 {
        let before = ends[1].stats().packets_out;
        // An acknowledgement of a receiver: the transfer is under way.
        while ends[1].stats().packets_out < before + 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broker.kill();
        broker.restart();
    }
    for end in &ends[1..] {
        for n in 1..=4 {
            let got = end.recv(&id(0), LONG).await.unwrap();
            assert!(got.message == body(&format!("m{n}"), 12 << 20), "message {n} differs");
        }
        assert_eq!(end.recv(&id(0), Duration::from_millis(100)).await.unwrap_err(), ChannelError::Timeout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_connection_breaks_for_good_is_closed_by_its_will() {
    let Some(broker) = Mosquitto::start() else { return };
    let job = job();
    let hub = Arc::new(connect(&broker.url(), &job, 0).await);
    let hub = Channel::join(config(&job, 0, 2), hub).await.unwrap();
    let transport = Arc::new(connect(&broker.url(), &job, 1).await);
    let trainer = Channel::join(config(&job, 1, 2), transport.clone()).await.unwrap();
    hub.await_ends(1, LONG).await.unwrap();
    // The connection is cut without a goodbye of the channel or to the broker.
    transport.abort();
    let began = tokio::time::Instant::now();
    assert_eq!(hub.recv(&id(1), LONG).await.unwrap_err(), ChannelError::Closed);
    assert!(began.elapsed() < Duration::from_secs(9), "the will is quicker than the heartbeat");
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
