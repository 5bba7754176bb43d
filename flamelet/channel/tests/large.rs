//! Messages of 100 MiB and, in the long run, 1 GiB, over every transport; and the memory that they take.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::processes::{Process, argument, own_peak};
use common::{LONG, Mosquitto, Net, body, embedded, group, id, job, join, model};

const MIB: usize = 1 << 20;

/// A model of `bytes`, there and back.
async fn a_model_goes_there_and_back(net: &Net, bytes: usize) {
    let ends = group(net, 2).await;
    let sent = model(bytes / 4);
    ends[0].send(&[id(1)], sent.clone()).await.unwrap();
    let got = ends[1].recv(&id(0), LONG * 5).await.unwrap();
    assert!(got.message == sent, "it differs");
    let receipt = ends[1].send(&[id(0)], got.message).await.unwrap();
    let back = ends[0].recv(&id(1), LONG * 5).await.unwrap();
    receipt.wait(LONG).await.unwrap();
    assert!(back.message == sent, "it differs when it is back");
}

macro_rules! transports {
    ($($size:ident($bytes:expr) $(#[$attribute:meta])?),* $(,)?) => {
        $(mod $size {
            use std::sync::Arc;

            #[tokio::test(flavor = "multi_thread")]
            $(#[$attribute])?
            async fn in_process() {
                super::a_model_goes_there_and_back(&super::Net::Inproc(Arc::default()), $bytes).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            $(#[$attribute])?
            async fn over_the_embedded_broker() {
                super::a_model_goes_there_and_back(&super::embedded(), $bytes).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            $(#[$attribute])?
            async fn over_mosquitto() {
                if let Some(broker) = super::Mosquitto::start() {
                    super::a_model_goes_there_and_back(&broker.net(), $bytes).await;
                }
            }
        })*
    };
}

transports!(
    a_hundred_mebibytes(100 * super::MIB),
    a_gibibyte(1024 * super::MIB) #[ignore = "takes long and gigabytes: .ci/soak runs it"],
);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other process of the test below"]
async fn the_sender() {
    let (Some(url), Some(job), Some(bytes)) = (argument("URL"), argument("JOB"), argument("BYTES")) else { return };
    let channel = join(&Net::Broker(url), &job, 1, 2).await;
    channel.await_ends(1, LONG).await.unwrap();
    let receipt = channel.send(&[id(0)], body("large", bytes.parse().unwrap())).await.unwrap();
    receipt.wait(LONG * 5).await.unwrap();
    let peak = own_peak();
    assert!(peak.is_none_or(|peak| peak < 1024 + 64), "the sender took {peak:?} MiB");
    channel.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long and gigabytes: .ci/soak runs it alone"]
async fn a_gibibyte_takes_neither_side_much_more_memory_than_itself() {
    let Some(broker) = Mosquitto::start() else { return };
    let job = job();
    let hub = join(&broker.net(), &job, 0, 2).await;
    let arguments = [("URL", broker.url()), ("JOB", job), ("BYTES", (1024 * MIB).to_string())];
    let arguments: Vec<(&str, &str)> = arguments.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut sender = Process::start("the_sender", &arguments);
    let got = hub.recv_fifo(&[], LONG * 5).await.unwrap();
    assert!(got.wire_bytes >= 1024 << 20);
    let peak = own_peak();
    println!("the receiver took {peak:?} MiB, the sender {:?} MiB", sender.peak());
    assert!(sender.succeeded(), "the sender failed, or took too much memory");
    assert!(peak.is_none_or(|peak| peak < 1024 + 64), "the receiver took {peak:?} MiB");
}
