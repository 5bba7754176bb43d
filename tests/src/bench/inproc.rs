//! Hand-over of a model within one process, beside memcpy of as many bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flame_channel::Channel;
use flame_channel::inproc::InprocHub;

use super::channel::{Args, MB};
use super::ours;
use super::report::{Case, Goal, Report, median};

const LONG: Duration = Duration::from_secs(30);
const BYTES: usize = 100 * MB;

pub(crate) async fn run(args: &Args, report: &Report) {
    let name = "inproc/hand-over-100mb";
    if !args.options.wants(name) {
        return;
    }
    let hub = Arc::new(InprocHub::new());
    let sender = Channel::join(ours::config("inproc", 0, 2), hub.clone()).await.expect("a channel");
    let receiver = Channel::join(ours::config("inproc", 1, 2), hub).await.expect("a channel");
    sender.await_ends(1, LONG).await.expect("the receiver");
    receiver.await_ends(1, LONG).await.expect("the sender");
    let (from, mut to) = (vec![1_u8; BYTES], vec![2_u8; BYTES]);
    let (mut times, mut copies) = (Vec::new(), Vec::new());
    for round in 0..=args.repeat {
        let message = ours::model(BYTES, u64::try_from(round).expect("a round"));
        let begin = Instant::now();
        sender.broadcast(message).await.expect("room");
        let arrived = receiver.recv_fifo(&[], LONG).await.expect("the model");
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        assert_eq!(arrived.message.models.len(), 1);
        let begin = Instant::now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&to);
        copies.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    // The first one warmed up.
    let (value, limit) = (median(&times[1..]), Some(median(&copies[1..])));
    report.case(&Case { name: name.to_owned(), value, unit: "ms", limit, goal: Some(Goal::ValueAtMost(1.0)) });
}
