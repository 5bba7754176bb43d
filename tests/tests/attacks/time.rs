//! Time: what never comes back is ended, by CPU time, by wall time, or with the job.

use std::time::Duration;

use flame_sandbox::{Limits, Outcome, Times};
use flame_tests::DEADLINE;

use crate::stage::{Terms, ends};
use crate::suite::Suite;

const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(200);
const ANY: Times = Times { call: LONG, round: LONG, task: LONG };

pub(crate) async fn attacks(suite: &Suite) {
    let cpu = |cpu| Limits { cpu, ..Limits::default() };
    let wall = |wall| Limits { wall, ..Limits::default() };
    suite.fails("loop_forever", cpu(Times { call: SHORT, ..ANY }), &["CPU time", "limits.cpu.call"]).await;
    suite.fails("loop_calling", cpu(Times { task: SHORT, ..ANY }), &["CPU time", "limits.cpu.task"]).await;
    suite.fails("recursion", Limits::default(), &["trapped"]).await;
    suite.fails("sleep_forever", wall(Times { task: SHORT, ..ANY }), &["wall time", "limits.wall.task"]).await;
    over_after_the_grace(suite, "ignore_stop").await;
    over_after_the_grace(suite, "send_after_stop").await;
    after_leave(suite).await;
}

/// A guest that does not return when the job ends is ended, and nothing that it says afterwards leaves.
async fn over_after_the_grace(suite: &Suite, name: &str) {
    let stage = suite.stage();
    let aggregator = stage.aggregator().await;
    let limits = Limits { stop_grace: SHORT, ..Limits::default() };
    let terms = Terms { limits, ..Terms::default() };
    let stop = terms.stop.clone();
    let (said, task) = stage.runs(suite.prepared(name, false), "trainer", &[], terms);
    let began = std::time::Instant::now();
    while !said.lines.lock().unwrap().iter().any(|line| line == "ready") && began.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    let outcome = ends(task).await;
    suite.expect(outcome == Outcome::Terminated, name, format!("it ended as {outcome:?}"));
    if name == "send_after_stop" {
        suite.said(name, &said, &[("late", "stop"), ("late-broadcast", "stop")]);
        suite.expect(aggregator.next().await.is_none(), name, "a message left after the stop");
    }
    drop(aggregator);
    suite.nothing_is_left(name).await;
}

async fn after_leave(suite: &Suite) {
    let stage = suite.stage();
    let aggregator = stage.aggregator().await;
    let wall = Times { task: Duration::from_secs(2), ..ANY };
    let terms = Terms { limits: Limits { wall, ..Limits::default() }, ..Terms::default() };
    let (said, task) = stage.runs(suite.prepared("after_leave", false), "trainer", &[], terms);
    suite.has_failed("after_leave", &ends(task).await, &["limits.wall.task"]);
    suite.said("after_leave", &said, &[("send", "gone"), ("broadcast", "gone"), ("receive", "gone")]);
    suite.expect(aggregator.next().await.is_none(), "after_leave", "a message left after the goodbye");
    drop(aggregator);
    suite.nothing_is_left("after_leave").await;
}
