//! Hostile components: the task fails with the reason, everything else lives.

use flame_tests::{Flame, FlameBuilder, Task, guest, mnist, root};

/// Runs a guest as the participant's trainer and returns the failed task; then the same flame trains honestly.
fn fails(flame: &Flame, name: &str, edit: impl FnOnce(&mut serde_json::Value)) -> Task {
    let job = flame.create_job(name, &guest(name), |job| {
        job["hyperparameters"]["rounds"] = 2.into();
        edit(job);
    });
    let agent = flame.participants(&job).remove(0);
    let mut participant = flame.participant(&agent, "key", &root().join("examples/mnist-wasm/data/train"));
    flame.does(&format!("flamectl start job {job}"));
    assert_eq!(flame.ends(&job), "failed");
    assert_eq!(participant.0.wait().code(), Some(1), "{}", participant.0.output());
    let task = flame.tasks(&job).into_iter().find(|task| task.agent == agent).unwrap();
    assert_eq!(task.state, "failed");
    // A person reads the reason under the table.
    let table = flame.does(&format!("flamectl get tasks {job}"));
    let start: String = task.reason.chars().take(30).collect();
    assert!(table.contains(&start), "{table}\n{task:?}");
    task
}

#[test]
fn hostile_guests_end_alone_and_with_a_reason() {
    let flame = FlameBuilder::control().start();

    let task = fails(&flame, "panic", |_| {});
    assert!(task.reason.contains("panicked") && task.reason.contains(".rs:"), "{}", task.reason);

    let task = fails(&flame, "memory-bomb", |job| {
        job["resources"] = serde_json::json!({"trainer": {"memory": 64 << 20}});
    });
    assert!(task.reason.contains("memory") && task.reason.contains("64 MiB"), "{}", task.reason);

    let task = fails(&flame, "endless-loop", |job| {
        job["resources"] = serde_json::json!({"trainer": {"wallTime": 3}});
    });
    assert!(task.reason.contains("wall time"), "{}", task.reason);

    let task = fails(&flame, "open-file", |_| {});
    assert!(task.reason.contains("passwd"), "{}", task.reason);

    // The control plane and its folders are as good as new.
    let job = flame.create_job("honest", &mnist(), |job| job["hyperparameters"]["rounds"] = 1.into());
    let agent = flame.participants(&job).remove(0);
    let _participant = flame.participant(&agent, "key", &root().join("examples/mnist-wasm/data/train"));
    flame.does(&format!("flamectl start job {job}"));
    assert_eq!(flame.ends(&job), "completed");
}

#[test]
fn a_component_that_wants_sockets_is_refused_by_name() {
    let flame = FlameBuilder::control().start();
    flame.does("flamectl create design sockets");
    let refused = flame.types(&format!("flamectl create code {} --design sockets", guest("sockets").display()));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("wasi:sockets/"), "{}", refused.stderr);
}
