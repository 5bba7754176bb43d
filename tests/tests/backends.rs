//! Jobs whose channels are carried by different backends, with real flamelets.

use std::path::{Path, PathBuf};

use flame_tests::{Agent, Flame, FlameBuilder, guest, mnist, root};
use serde_json::json;

/// What a flamelet logs once two ends are linked.
const LINKED: &str = "a peer-to-peer stream stands";

fn data() -> PathBuf {
    root().join("examples/mnist-wasm/data/train")
}

/// A job of the guest's component under this schema, with its participants.
fn job(flame: &Flame, name: &str, component: &Path, schema: &serde_json::Value, edit: &serde_json::Value) -> String {
    std::fs::write(flame.example().join("schema.json"), schema.to_string()).unwrap();
    flame.create_job(name, component, |job| {
        job["hyperparameters"] = json!({"rounds": 2});
        for (field, value) in edit.as_object().unwrap() {
            job[field] = value.clone();
        }
    })
}

fn join(flame: &Flame, job: &str, args: &[&str]) -> Vec<Agent> {
    let agents = flame.participants(job);
    agents.iter().map(|agent| flame.participant_with(agent, "key", &data(), args)).collect()
}

/// A coordinator that talks to middle aggregators over one backend and to participants peer to peer.
fn coordinated(mid: &str) -> serde_json::Value {
    let channel = |name: &str, other: &str, tag: &str, backend: &str| {
        json!({"name": name, "pair": ["coordinator", other], "backend": backend,
               "funcTags": {"coordinator": [tag], other: ["coordinate"]}})
    };
    json!({
        "name": "coordinated",
        "roles": [
            {"name": "coordinator"},
            {"name": "middle-aggregator", "replica": 2},
            {"name": "trainer", "isDataConsumer": true}
        ],
        "channels": [
            channel("mid", "middle-aggregator", "coordinateWithMidAgg", mid),
            channel("train", "trainer", "coordinateWithTrainer", "p2p")
        ]
    })
}

/// Runs it with three participants; what each participant's flamelet said.
fn coordinate(flame: &Flame, mid: &str) -> Vec<String> {
    let job = job(
        flame,
        "coordinated",
        &guest("coordinator"),
        &coordinated(mid),
        // Without the minimum the job has all that it needs once one trainer has ended.
        &json!({"dataSpec": {"fromUser": {"default": 3}}, "minCompleted": {"trainer": 3, "middle-aggregator": 2}}),
    );
    let participants = join(flame, &job, &[]);
    flame.does(&format!("flamectl start job {job}"));
    assert_eq!(flame.ends(&job), "completed", "{:?}", flame.tasks(&job));
    let partners: f64 = flame.rounds(&job).iter().filter_map(|row| row["values"]["partners"].as_f64()).sum();
    // In each of two rounds three trainers have one partner each, and the two middle aggregators three in all.
    assert!((partners - 12.0).abs() < 1e-9, "{partners}");
    let said = |mut agent: Agent| {
        assert!(agent.0.wait().success());
        agent.0.output()
    };
    participants.into_iter().map(said).collect()
}

#[test]
fn a_job_mixes_a_broker_and_streams_from_flamelet_to_flamelet() {
    let flame = FlameBuilder::control().start();
    for said in coordinate(&flame, "mqtt") {
        assert!(said.contains(LINKED), "{said}");
    }
    // Of the placed ones, only the coordinator is on a peer-to-peer channel.
    let logs = std::fs::read_dir(flame.home().join("control/agents")).unwrap();
    let logs = logs.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "log"));
    let linked: Vec<bool> = logs.map(|log| std::fs::read_to_string(log).unwrap().contains(LINKED)).collect();
    assert_eq!((linked.len(), linked.iter().filter(|linked| **linked).count()), (3, 1));
}

#[test]
fn a_job_mixes_the_memory_of_one_process_and_streams() {
    let flame = FlameBuilder::fiab().start();
    for said in coordinate(&flame, "inproc") {
        assert!(said.contains(LINKED), "{said}");
    }
}

fn ring(flame: &Flame, args: &[&str]) -> (String, Vec<Agent>) {
    let schema = json!({
        "name": "ring",
        "roles": [{"name": "trainer", "isDataConsumer": true}],
        "channels": [{"name": "ring", "pair": ["trainer", "trainer"], "funcTags": {"trainer": ["ring_allreduce"]}}]
    });
    let edit = json!({"backend": "p2p", "dataSpec": {"fromUser": {"default": 3}}});
    let job = job(flame, "ring", &guest("ring-member"), &schema, &edit);
    let members = join(flame, &job, args);
    flame.does(&format!("flamectl start job {job}"));
    (job, members)
}

#[test]
fn a_ring_of_participants_needs_no_broker() {
    let flame = FlameBuilder::control().start();
    let (job, _members) = ring(&flame, &[]);
    assert_eq!(flame.ends(&job), "completed", "{:?}", flame.tasks(&job));
    let rows = flame.rounds(&job);
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row["values"]["first"] == 2.0 && row["values"]["last"] == 2.0), "{rows:?}");
}

#[test]
fn participants_of_whom_none_listens_hear_how_to_mend_it() {
    let flame = FlameBuilder::control().start();
    let (job, _members) = ring(&flame, &["--p2p-listen", "none"]);
    assert_eq!(flame.ends(&job), "failed");
    let failed = flame.tasks(&job).into_iter().find(|task| task.state == "failed").unwrap();
    assert!(failed.reason.contains("--p2p-listen HOST:PORT") && failed.reason.contains(&failed.agent), "{failed:?}");
    let logs = flame.does(&format!("flamectl get logs {job}"));
    assert!(logs.contains("--p2p-listen HOST:PORT"), "{logs}");
}

#[test]
fn a_participant_that_dies_and_rejoins_over_streams_leaves_the_same_model_as_over_a_broker() {
    let flame = FlameBuilder::control().start();
    let rounds = |job: &mut serde_json::Value| job["hyperparameters"]["rounds"] = 6.into();
    let brokered = flame.create_job("brokered", &mnist(), rounds);
    let _participant = flame.participant(&flame.participants(&brokered)[0], "key", &data());
    flame.does(&format!("flamectl start job {brokered}"));
    assert_eq!(flame.ends(&brokered), "completed");

    let direct = flame.create_job("direct", &mnist(), |job| {
        rounds(job);
        job["backend"] = "p2p".into();
    });
    let agent = flame.participants(&direct).remove(0);
    let mut participant = flame.participant(&agent, "key", &data());
    flame.does(&format!("flamectl start job {direct}"));
    flame.until("two rounds are recorded", |flame| flame.rounds(&direct).len() >= 2);
    participant.0.kill();
    assert!(flame.rounds(&direct).len() < 6, "the job ended before its participant was killed");
    let mut again = flame.participant(&agent, "key", &data());
    assert_eq!(flame.ends(&direct), "completed", "{:?}", flame.tasks(&direct));
    assert!(again.0.wait().success());
    assert!(again.0.output().contains(LINKED));
    assert_eq!(flame.model_sha256(&direct), flame.model_sha256(&brokered));
}
