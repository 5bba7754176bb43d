//! Floods of lines, prints, metrics and messages; long lists and long names.

use flame_sandbox::{Limits, Outcome};

use crate::stage::Terms;
use crate::suite::Suite;

pub(crate) async fn attacks(suite: &Suite) {
    let slow = || Limits { metrics_per_second: 2, log_lines_per_second: 2, queued_messages: 3, ..Limits::default() };
    for (name, begins, most) in
        [("log_flood", "line ", 500), ("long_lines", "\\u{1b}", 500), ("stdout_flood", "xxx", 500)]
    {
        let said = suite.completes(name, Terms { limits: slow(), ..Terms::default() }, &[]).await;
        let lines: Vec<String> = said.lines.lock().unwrap().clone();
        let many = lines.iter().filter(|line| line.starts_with(begins)).count();
        suite.expect((1..most).contains(&many), name, format!("{many} lines came through"));
        let plain = |line: &String| line.chars().count() < 5_000 && !line.contains(['\u{1b}', '\u{202e}']);
        suite.expect(lines.iter().all(plain), name, "a line is too long, or moves the terminal");
        let dropped = said.usage.lock().unwrap().log_lines_dropped;
        suite.expect(dropped > 0 || name == "long_lines", name, format!("{dropped} lines were dropped"));
    }
    suite.fails("metric_flood", slow(), &["limits.metrics", "2 a second"]).await;
    suite.completes("progress_flood", Terms { limits: slow(), ..Terms::default() }, &[]).await;
    message_flood(suite).await;

    let terms = || Terms::default();
    let turn = suite.turn("many_metrics", terms(), &[("record", "1000 metrics"), ("send", "metrics|ok")]).await;
    suite.expect(turn.outcome == Outcome::Completed, "many_metrics", format!("{:?}", turn.outcome));
    let expected = [
        ("tensor", "1,024 bytes"),
        ("get", "no tensor"),
        ("join", "no channel"),
        ("tag", "no channel"),
        ("kind", "128 bytes"),
        ("to", "no end"),
        ("from", "no end"),
        ("data", "no data set"),
        ("rule", "rule"),
        ("publish", "64 letters"),
        ("metric", "ok"),
        ("model", "name|bytes"),
    ];
    let turn = suite.turn("long_names", terms(), &expected).await;
    suite.expect(turn.outcome == Outcome::Completed, "long_names", format!("{:?}", turn.outcome));
    let metrics = turn.said.metrics.lock().unwrap().clone();
    suite.expect(
        metrics.iter().flatten().all(|metric| metric.name.chars().count() <= 64),
        "long_names",
        "a metric's name",
    );
}

/// Nobody takes what is sent: the outbox is full, and says so.
async fn message_flood(suite: &Suite) {
    let name = "message_flood";
    let stage = suite.stage();
    let aggregator = stage.aggregator().await;
    let limits = Limits { queued_messages: 3, ..Limits::default() };
    let terms = Terms { limits, ..Terms::default() };
    let (_, task) = stage.runs(suite.prepared(name, false), "trainer", &[], terms);
    suite.has_failed(name, &crate::stage::ends(task).await, &["limits.queued-messages", "3"]);
    drop(aggregator);
    suite.nothing_is_left(name).await;
}
