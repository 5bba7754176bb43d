//! Two hundred senders and one slow receiver, through a broker with its default queues. The senders live in a process of
//! their own, so that each side's memory can be told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::processes::{Process, argument, own_peak};
use common::{LONG, Mosquitto, Net, body, id, job, join};
use flame_model::Message;

const SENDERS: u32 = 200;
const EACH: u64 = 5;
/// Four chunks and a little.
const BYTES: usize = 1 << 20;

fn message(number: u64) -> Message {
    Message { round: number, ..body("update", BYTES) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of the test below"]
async fn the_crowd() {
    let (Some(url), Some(job)) = (argument("URL"), argument("JOB")) else { return };
    // One body for all: what they have queued is shared, as the tensors of a model are.
    let messages: Vec<Message> = (1..=EACH).map(|number| Message { round: number, ..message(1) }).collect();
    let senders: Vec<_> = (1..=SENDERS)
        .map(|n| {
            let (url, job, messages) = (url.clone(), job.clone(), messages.clone());
            tokio::spawn(async move {
                let channel = join(&Net::Broker(url), &job, n, SENDERS + 1).await;
                channel.await_ends(1, LONG).await.unwrap();
                let mut last = None;
                for message in messages {
                    last = Some(channel.broadcast(message).await.unwrap());
                }
                last.unwrap().wait(LONG * 3).await.unwrap();
                channel.leave().await.unwrap();
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_senders_to_a_slow_receiver_lose_nothing_and_take_bounded_memory() {
    let Some(broker) = Mosquitto::start() else { return };
    let job = job();
    let hub = join(&broker.net(), &job, 0, SENDERS + 1).await;
    let before = own_peak();
    let mut crowd = Process::start("the_crowd", &[("URL", &broker.url()), ("JOB", &job)]);
    let began = std::time::Instant::now();
    hub.await_ends(SENDERS, LONG).await.unwrap();
    println!("{SENDERS} ends are here after {:?}", began.elapsed());
    let mut others = None;
    let mut taken = vec![0; usize::try_from(SENDERS).unwrap() + 1];
    let ids: Vec<_> = (0..=SENDERS).map(id).collect();
    let expected = body("update", BYTES).body;
    for _ in 0..u64::from(SENDERS) * EACH {
        let got = hub.recv_fifo(&[], LONG).await.unwrap();
        let from = ids.iter().position(|id| *id == got.sender).unwrap();
        taken[from] += 1;
        assert_eq!(got.message.round, taken[from], "of sender {from}");
        assert!(got.message.body == expected, "a message of sender {from} differs");
        others = crowd.peak().or(others);
        // The guest is slower than the network.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(taken[1..].iter().all(|taken| *taken == EACH));
    let own = own_peak();
    println!(
        "{:?}; receiver {before:?} and then {own:?} MiB, senders {others:?} MiB; {:?}",
        began.elapsed(),
        hub.stats()
    );
    assert!(crowd.succeeded(), "a sender failed");
    assert_eq!(broker.dropped_for(), [""; 0], "the broker's queue overflowed");
    // Its queue (128 MiB), what is on its way and what the allocator keeps; a thousand MiB were sent.
    let grown = own.zip(before).map_or(0, |(after, before)| after - before);
    assert!(grown < 512, "the receiver took {grown} MiB");
    assert!(others.is_none_or(|others| others < 400), "the senders took {others:?} MiB");
}
