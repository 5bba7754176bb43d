//! A participant that dies comes back with its key, and nobody comes in with another.

use std::path::PathBuf;

use flame_tests::{Flame, FlameBuilder, mnist, root};

fn data() -> PathBuf {
    root().join("examples/mnist-wasm/data/train")
}

fn job(flame: &Flame, design: &str, rounds: u32) -> (String, String) {
    let job = flame.create_job(design, &mnist(), |job| job["hyperparameters"]["rounds"] = rounds.into());
    let agent = flame.participants(&job).remove(0);
    (job, agent)
}

#[test]
fn a_killed_participant_rejoins_with_its_key_and_the_result_is_the_same() {
    let flame = FlameBuilder::control().start();
    let (undisturbed, agent) = job(&flame, "undisturbed", 6);
    let _participant = flame.participant(&agent, "key", &data());
    flame.does(&format!("flamectl start job {undisturbed}"));
    assert_eq!(flame.ends(&undisturbed), "completed");

    let (disturbed, agent) = job(&flame, "disturbed", 6);
    let mut participant = flame.participant(&agent, "key", &data());
    flame.does(&format!("flamectl start job {disturbed}"));
    flame.until("two rounds are recorded", |flame| flame.rounds(&disturbed).len() >= 2);
    participant.0.kill();
    assert!(flame.rounds(&disturbed).len() < 6, "the job ended before its participant was killed");

    let mut stranger = flame.participant(&agent, "another key", &data());
    assert_eq!(stranger.0.wait().code(), Some(1));
    let said = stranger.0.output();
    assert!(said.contains("key") && said.contains("does not match"), "{said}");

    let mut again = flame.participant(&agent, "key", &data());
    assert_eq!(flame.ends(&disturbed), "completed", "{:?}", flame.tasks(&disturbed));
    assert!(again.0.wait().success());
    assert_eq!(flame.model_sha256(&disturbed), flame.model_sha256(&undisturbed));
}

#[test]
fn an_agent_that_no_job_knows_is_refused_with_the_fix() {
    let flame = FlameBuilder::control().start();
    let mut stranger = flame.participant(&"0".repeat(40), "key", &data());
    assert_eq!(stranger.0.wait().code(), Some(1));
    let said = stranger.0.output();
    assert!(said.contains("flamectl get tasks"), "{said}");
}

#[test]
fn a_stopped_job_ends_its_participants() {
    let flame = FlameBuilder::control().start();
    let (job, agent) = job(&flame, "stopped", 10_000);
    let mut participant = flame.participant(&agent, "key", &data());
    flame.does(&format!("flamectl start job {job}"));
    flame.until("a round is recorded", |flame| !flame.rounds(&job).is_empty());
    flame.does(&format!("flamectl stop job {job}"));
    assert_eq!(flame.ends(&job), "terminated");
    assert_eq!(participant.0.wait().code(), Some(2));
    assert!(flame.tasks(&job).iter().all(|task| task.state == "terminated"), "{:?}", flame.tasks(&job));
    let again = flame.types(&format!("flamectl start job {job}"));
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("terminated"), "{}", again.stderr);
}
