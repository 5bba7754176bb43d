//! Channels beside the bare client, and in-process hand-over beside memcpy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flame_channel::Channel;
use flame_channel::inproc::InprocHub;

use super::Options;
use super::brokers::Broker;
use super::ours;
use super::peer::{Order, Peers};
use super::report::{Case, median, print, quantile};

const MB: usize = 1_000_000;
const SMALL: u32 = 10_000;
const TRIPS: u32 = 1000;

pub(crate) async fn run(options: &Options) {
    for broker in Broker::mosquitto().into_iter().chain([Broker::embedded()]) {
        over(&broker, options);
    }
    inproc(options).await;
}

fn over(broker: &Broker, options: &Options) {
    let name = broker.name;
    for others in [1, 4, 10] {
        let kind = if others == 1 { "unicast" } else { "broadcast" };
        let sizes = [MB, 100 * MB].map(|bytes| (format!("{name} {kind} {} MB to {others}", bytes / MB), bytes));
        let small = format!("{name} {SMALL} small messages");
        let trips = format!("{name} round trip");
        let wanted = |case: &str| case.contains(&options.only);
        let extra = others == 1 && (wanted(&small) || wanted(&trips));
        if !extra && !sizes.iter().any(|(case, _)| wanted(case)) {
            continue;
        }
        let mut ours = Peers::start("ours", &broker.url, others);
        let mut bare = Peers::start("bare", &broker.url, others);
        let mut both = |order: Order, repeat: usize| {
            let mut times = (Vec::new(), Vec::new());
            for _ in 0..=repeat {
                times.0.push(ours.order(order));
                times.1.push(bare.order(order));
            }
            // The first one warms both up.
            times.0.remove(0);
            times.1.remove(0);
            (times.0.concat(), times.1.concat())
        };
        for (case, bytes) in sizes.iter().filter(|(case, _)| wanted(case)) {
            let (ours, bare) = both(Order::Send(*bytes), options.repeat);
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = |times| (*bytes * others as usize) as f64 / median(times) / 1e6;
            let case = Case { name: case.clone(), value: rate(ours), unit: "MB/s", limit: Some(rate(bare)) };
            print("channel", &case, options);
        }
        if others == 1 && wanted(&small) {
            let (ours, bare) = both(Order::Small(SMALL), options.repeat.div_ceil(2));
            let rate = |times| f64::from(SMALL) / median(times);
            let case = Case { name: small.clone(), value: rate(ours), unit: "1/s", limit: Some(rate(bare)) };
            print("channel", &case, options);
        }
        if others == 1 && wanted(&trips) {
            let (mut ours, mut bare) = both(Order::Trips(TRIPS), 1);
            for (label, q) in [("p50", 0.5), ("p99", 0.99)] {
                let (value, limit) = (quantile(&mut ours, q) * 1e6, quantile(&mut bare, q) * 1e6);
                print(
                    "channel",
                    &Case { name: format!("{trips} {label}"), value, unit: "us", limit: Some(limit) },
                    options,
                );
            }
        }
    }
}

async fn inproc(options: &Options) {
    let name = "inproc 100 MB hand-over";
    if !name.contains(&options.only) {
        return;
    }
    let hub = Arc::new(InprocHub::new());
    let sender = Channel::join(ours::config("inproc", 0, 2), hub.clone()).await.expect("a channel");
    let receiver = Channel::join(ours::config("inproc", 1, 2), hub).await.expect("a channel");
    let long = Duration::from_secs(30);
    sender.await_ends(1, long).await.expect("the receiver");
    receiver.await_ends(1, long).await.expect("the sender");
    let mut times = Vec::new();
    for round in 0..=options.repeat {
        let message = ours::model(100 * MB, u64::try_from(round).expect("a round"));
        let begin = Instant::now();
        sender.broadcast(message).await.expect("room");
        let arrived = receiver.recv_fifo(&[], long).await.expect("the model");
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        drop(arrived);
    }
    times.remove(0);
    let (from, mut to) = (vec![1_u8; 100 * MB], vec![0_u8; 100 * MB]);
    let copies = (0..5).map(|_| {
        let begin = Instant::now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&to);
        begin.elapsed().as_secs_f64() * 1e3
    });
    let limit = Some(median(copies.collect()));
    print("channel", &Case { name: name.to_owned(), value: median(times), unit: "ms", limit }, options);
}
