//! Each limit ends a real component, or refuses what it asks for, with the limit, the need and the knob; and the sandbox
//! runs the next one as if nothing had been.

mod stage;

use std::time::Duration;

use flame_sandbox::{Limits, Outcome, Times};
use stage::{Said, Stage, Terms, constant, ends};

const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(300);
const ANY: Times = Times { call: LONG, round: LONG, task: LONG };

async fn fails(stage: &Stage, what: &str, limits: Limits) -> String {
    let hyper = format!("{what:?}");
    let (_, task) = stage.trains(&[("do", hyper.as_str())], Terms { limits, ..Terms::default() });
    let Outcome::Failed(reason) = ends(task).await else { panic!("{what} fails") };
    eprintln!("{what}: {reason}");
    reason
}

async fn still_runs(stage: &Stage) {
    let (_, task) = stage.trains(&[("do", "\"nothing\"")], Terms::default());
    assert_eq!(ends(task).await, Outcome::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_a_guest_by_whichever_bound_comes_first() {
    let stage = Stage::new();
    let cpu = |cpu| Limits { cpu, ..Limits::default() };
    let wall = |wall| Limits { wall, ..Limits::default() };
    let (call, round, task) =
        (Times { call: SHORT, ..ANY }, Times { round: SHORT, ..ANY }, Times { task: SHORT, ..ANY });
    for (what, limits, key) in [
        ("spin", cpu(call), "limits.cpu.call"),
        ("spin", cpu(round), "limits.cpu.round"),
        ("spin-calling", cpu(task), "limits.cpu.task"),
        ("spin", wall(call), "limits.wall.call"),
        ("wait", wall(round), "limits.wall.round"),
        ("wait", wall(task), "limits.wall.task"),
    ] {
        let reason = fails(&stage, what, limits).await;
        assert!(reason.contains(key) && reason.contains("0.30 s"), "{what}: {reason}");
    }
    still_runs(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn space_ends_a_guest_that_asks_for_too_much() {
    let stage = Stage::new();
    let limits = Limits {
        memory: 64 << 20,
        tensor_bytes: 8 << 20,
        handles: 500,
        call_bytes: 1 << 19,
        artifact_bytes: 1 << 19,
        ..Limits::default()
    };
    for (what, key, has) in [
        ("memory", "limits.memory", "64 MiB"),
        ("tensors", "limits.tensor-bytes", "8388608"),
        ("handles", "limits.handles", "500"),
        ("models", "limits.handles", "500"),
        ("carry", "limits.call-bytes", "524288"),
        ("publish", "limits.artifact-bytes", "524288"),
    ] {
        // What is not under test is not in the way.
        let mut limits = limits.clone();
        if what == "tensors" || what == "publish" {
            limits.call_bytes = 1 << 20;
        }
        let reason = fails(&stage, what, limits).await;
        assert!(reason.contains(key) && reason.contains(has), "{what}: {reason}");
    }
    still_runs(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_refused_or_dropped() {
    let stage = Stage::new();
    let limits = Limits { metrics_per_second: 2, log_lines_per_second: 2, queued_messages: 3, ..Limits::default() };
    let reason = fails(&stage, "record", limits.clone()).await;
    assert!(reason.contains("limits.metrics"), "{reason}");

    let aggregator = stage.aggregator().await;
    let reason = fails(&stage, "queue", limits.clone()).await;
    assert!(reason.contains("limits.queued-messages") && reason.contains('3'), "{reason}");
    drop(aggregator);

    let (said, task) = stage.trains(&[("do", "\"log\"")], Terms { limits, ..Terms::default() });
    assert_eq!(ends(task).await, Outcome::Completed);
    let lines = said.lines.lock().unwrap().iter().filter(|line| line.starts_with("line ")).count();
    assert!((20..500).contains(&lines), "{lines}");
    assert!(said.usage.lock().unwrap().log_lines_dropped > 4_000);
    still_runs(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_begins_with_a_base_and_usage_is_told() {
    let stage = Stage::new();
    let aggregator = stage.aggregator().await;
    let hyper = [("do", "\"attempts\""), ("try", "\"full\"")];
    let (said, task) = stage.trains(&hyper, Terms { audited: true, ..Terms::default() });
    for round in 1..=2 {
        aggregator.round(round, &constant(0.0, 1_000)).await;
    }
    aggregator.end().await;
    assert_eq!(ends(task).await, Outcome::Completed);
    let usage = said.usage.lock().unwrap().clone();
    assert_eq!(usage.rounds, 2);
    assert!(usage.memory > 0 && usage.handles > 2 && usage.tensor_bytes >= 4_000, "{usage:?}");
    assert!(usage.wall >= usage.cpu && !usage.cpu.is_zero(), "{usage:?}");
    assert!(usage.weights_out >= 8_000, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_host_ends_that_task_alone() {
    let stage = Stage::new();
    let said = Said { panics: true, ..Said::default() };
    let (_, task) = stage.trains(&[("do", "\"progress\"")], Terms { said, ..Terms::default() });
    let Outcome::Failed(reason) = ends(task).await else { panic!("it fails") };
    assert!(reason.contains("the sink is broken in round 1"), "{reason}");
    still_runs(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deterministic_task_says_the_same_twice_and_an_ordinary_one_has_coarse_clocks() {
    let stage = Stage::new();
    let mut said = Vec::new();
    for deterministic in [true, true, false] {
        let (heard, task) = stage.trains(&[("do", "\"look\"")], Terms { deterministic, ..Terms::default() });
        assert_eq!(ends(task).await, Outcome::Completed);
        let lines = heard.lines.lock().unwrap().clone();
        said.push(lines.into_iter().filter(|line| !line.starts_with("the task used")).collect::<Vec<_>>());
    }
    assert_eq!(said[0], said[1]);
    assert!(said[0].contains(&"nans 7fc00000 7fc00000 7fc00000".to_owned()), "{:?}", said[0]);
    assert!(said[0].contains(&"wall 946684800s".to_owned()), "{:?}", said[0]);
    assert!(said[2].contains(&"sub-millisecond 0".to_owned()), "{:?}", said[2]);
    assert_ne!(said[0], said[2]);
}
