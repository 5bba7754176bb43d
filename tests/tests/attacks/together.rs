//! Several attacks at a time, and an honest job beside them: tasks of one sandbox neither see nor hold up each other.

use std::time::Duration;

use flame_sandbox::{Limits, Outcome, Times};

use crate::stage::{Terms, ends};
use crate::suite::Suite;

/// A clock that runs while all of them do.
const SHORT: Duration = Duration::from_secs(3);

pub(crate) async fn attacks(suite: &Suite) {
    let mut running = Vec::new();
    for name in
        ["loop_forever", "loop_calling", "sleep_forever", "memory_growth", "leak_names", "log_flood", "long_lines"]
    {
        let any = Limits::default();
        let limits = Limits {
            memory: 64 << 20,
            tensor_bytes: 16 << 20,
            cpu: Times { call: SHORT, task: SHORT, ..any.cpu },
            wall: Times { task: 2 * SHORT, ..any.wall },
            ..any
        };
        let terms = Terms { limits, ..Terms::default() };
        let (_, task) = suite.stage().runs(suite.prepared(name, false), "trainer", &[], terms);
        running.push((name, task));
    }
    // Beside all of them, and before the slow ones are ended.
    suite.honest_job("together").await;
    suite.expect(!running[0].1.is_finished(), "together", "the attacks were over before the honest job");
    for (name, task) in running {
        let outcome = ends(task).await;
        let completes = matches!(name, "log_flood" | "long_lines");
        suite.expect((outcome == Outcome::Completed) == completes, name, format!("together with others: {outcome:?}"));
    }
    suite.nothing_is_left("together").await;
}
