//! The lives of jobs.

use std::collections::BTreeMap;

use bytes::Bytes;
use flame_api::notifier::State;
use flame_api::{
    AgentReport, Code, JobState, LogLevel, LogLine, MessageForm, MetricRow, Progress, TaskState, TensorEncoding,
    Timestamp,
};
use sha2::{Digest, Sha256};

use super::agent::Agent;
use super::world::World;

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn report(attempt: u32, serial: u64, round: u64, accuracy: f64) -> AgentReport {
    AgentReport {
        attempt,
        serial,
        logs: vec![LogLine { timestamp: Timestamp::now(), level: LogLevel::Info, text: format!("round {round}") }],
        metrics: vec![MetricRow { round, values: BTreeMap::from([("accuracy".into(), accuracy)]) }],
        progress: Some(Progress { round, rounds: 3 }),
    }
}

#[tokio::test]
async fn a_job_goes_from_ready_to_completed_and_leaves_its_results() {
    let mut world = World::start().await;
    let job = world.job(2, "").await;
    let (system, users) = world.tasks(&job).await;
    let mut first = Agent::connect(&world, &users[0].agent, "key one").await.unwrap();
    assert!(world.tasks(&job).await.1[0].connected);

    let started = world.client.start(&job).await.unwrap();
    assert_eq!(started.state, JobState::Starting);
    let launch = world.launch().await;
    assert_eq!(launch.agent, system.agent);
    let mut aggregator = Agent::connect(&world, &launch.agent, launch.key.expose()).await.unwrap();
    let mut second = Agent::connect(&world, &users[1].agent, "key two").await.unwrap();

    let grant = aggregator.run().await;
    assert_eq!((grant.role.as_str(), grant.attempt, grant.index), ("aggregator", 1, 0));
    assert_eq!(grant.hyperparameters["rounds"], 3);
    let channel = &grant.channels[0];
    assert_eq!((channel.name.as_str(), channel.group.as_str(), channel.join_timeout), ("param-channel", "default", 60));
    let roster: Vec<_> = channel.roster.iter().map(|entry| (entry.role.as_str(), entry.index, &entry.end)).collect();
    let expected = [("aggregator", 0, &system.agent), ("trainer", 0, &users[0].agent), ("trainer", 1, &users[1].agent)];
    assert_eq!(roster, expected);
    let code = aggregator.client.task_code().await.unwrap();
    assert_eq!((digest(&code), code.len() as u64), (grant.code.sha256.clone(), grant.code.size));
    world.until(&job, JobState::Running).await;

    let (one, two) = (first.run().await, second.run().await);
    assert_eq!(one.channels[0].key, channel.key);
    assert_ne!(one.seed, two.seed);

    for (serial, round, accuracy) in [(1, 1, 0.5), (2, 2, 0.75), (2, 2, 0.1)] {
        aggregator.client.report(&report(1, serial, round, accuracy)).await.unwrap();
    }
    first.client.report(&report(1, 1, 3, 0.2)).await.unwrap();
    let metrics = world.client.metrics(&job).await.unwrap();
    let rows: Vec<_> = metrics.iter().map(|row| (row.round, row.role.as_str(), row.values["accuracy"])).collect();
    assert_eq!(rows, [(1, "aggregator", 0.5), (2, "aggregator", 0.75), (3, "trainer", 0.2)], "a repeat is not stored");
    assert_eq!(world.client.logs(&job).await.unwrap().len(), 3);

    for model in [&b"first"[..], b"better"] {
        aggregator.client.put_model(1, "model", &digest(model), Bytes::copy_from_slice(model)).await.unwrap();
    }
    let torn = aggregator.client.put_model(1, "model", &digest(b"x"), Bytes::from_static(b"y")).await.unwrap_err();
    assert_eq!(torn.problem().unwrap().code, Code::InvalidRequest);
    assert_eq!(&world.client.model(&job, "model").await.unwrap()[..], b"better");
    let models = world.client.models(&job).await.unwrap();
    assert_eq!((models.len(), models[0].size), (1, 6));
    let files = std::fs::read_dir(world.home.path().join("models").join(job.as_str())).unwrap();
    assert_eq!(files.count(), 1, "the one that was replaced is gone");

    for agent in [&mut first, &mut second, &mut aggregator] {
        assert!(!agent.say(1, State::Completed, "").await.fenced);
    }
    let ended = world.until(&job, JobState::Completed).await;
    assert!(ended.started_at.is_some() && ended.ended_at >= ended.started_at);
    let (system, users) = world.tasks(&job).await;
    assert!(std::iter::once(&system).chain(&users).all(|task| task.state == TaskState::Completed));
}

#[tokio::test]
async fn how_a_job_compresses_is_in_every_grant() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, r#", "compression": {"tensors": "bf16", "zstd": 3}"#).await;
    for grant in [crew.aggregator.run().await, crew.trainers[0].run().await] {
        let encoding = &grant.channels[0].encoding;
        assert_eq!((encoding.tensors, encoding.zstd), (TensorEncoding::Bf16, Some(3)));
        assert_eq!(encoding.forms, [MessageForm::Full, MessageForm::Delta]);
    }
}

#[tokio::test]
async fn a_stopped_job_stops_its_agents() {
    let mut world = World::start().await;
    let mut crew = world.crew(2, "").await;
    let job = crew.job;
    crew.aggregator.run().await;
    crew.trainers[0].run().await;

    assert_eq!(world.client.stop(&job).await.unwrap().state, JobState::Stopping);
    for agent in [&mut crew.aggregator, &mut crew.trainers[0]] {
        assert_eq!(agent.expect_stop().await.reason, "stopped by a user");
        agent.say(1, State::Terminated, "").await;
    }
    let ended = world.until(&job, JobState::Terminated).await;
    assert_eq!(ended.reason, "stopped by a user");
    let again = world.client.stop(&job).await.unwrap_err();
    assert_eq!(again.problem().unwrap().code, Code::WrongState);
    assert_eq!(world.tasks(&job).await.1[1].state, TaskState::Terminated);
}

#[tokio::test]
async fn a_failure_fails_the_job_with_its_reason_and_stops_the_others() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let (_, users) = world.tasks(&job).await;
    world.client.start(&job).await.unwrap();
    let launch = world.launch().await;
    let mut aggregator = Agent::connect(&world, &launch.agent, launch.key.expose()).await.unwrap();
    let mut trainer = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    aggregator.run().await;
    trainer.run().await;
    trainer.say(1, State::Failed, "panicked at src/lib.rs:7: no data").await;
    let ended = world.until(&job, JobState::Failed).await;
    let prefix = &users[0].agent.as_str()[..8];
    assert_eq!(ended.reason, format!("role `trainer`: task {prefix} failed: panicked at src/lib.rs:7: no data"));
    assert_eq!(aggregator.expect_stop().await.reason, "the job failed");
    aggregator.say(1, State::Terminated, "").await;
    let tasks = world.tasks(&job).await;
    assert_eq!((tasks.0.state, tasks.1[0].state), (TaskState::Terminated, TaskState::Failed));
    world.until_revoked(&launch.agent).await;
}

#[tokio::test]
async fn a_flamelet_that_dies_or_cannot_be_placed_fails_the_job() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    world.client.start(&job).await.unwrap();
    let launch = world.launch().await;
    launch.exited.exited("the flamelet of this task exited with signal 9".into());
    let ended = world.until(&job, JobState::Failed).await;
    assert!(ended.reason.ends_with("failed: the flamelet of this task exited with signal 9"), "{}", ended.reason);

    let world = World::refusing_to_deploy("no flamelet here").await;
    let job = world.job(1, "").await;
    world.client.start(&job).await.unwrap();
    let ended = world.until(&job, JobState::Failed).await;
    assert!(ended.reason.ends_with("the fake deployer could not place it: no flamelet here"), "{}", ended.reason);
}

#[tokio::test]
async fn run_time_that_is_over_ends_a_job() {
    let mut world = World::start().await;
    let job = world.job(1, r#", "maxRunTime": 1"#).await;
    world.client.start(&job).await.unwrap();
    let _launch = world.launch().await;
    let ended = world.until(&job, JobState::Terminated).await;
    assert_eq!(ended.reason, "its maxRunTime of 1 s was over");
}

#[tokio::test]
async fn the_same_key_rejoins_under_a_higher_attempt_and_fences_the_lower() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, "").await;
    let (id, mut old) = (&crew.users[0].agent, crew.trainers.remove(0));
    old.run().await;

    let refused = Agent::connect(&world, id, "another key").await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let expected =
        format!("the key does not match the one that agent {id} was first joined with; use that key to rejoin");
    assert_eq!(refused.message(), expected);

    let mut new = Agent::connect(&world, id, "key 0").await.unwrap();
    let superseded = old.event().await.unwrap_err();
    assert_eq!(superseded.code(), tonic::Code::Aborted);
    assert_eq!(superseded.message(), "superseded by a newer session of this agent");
    let dead = old.client.grant().await.unwrap_err();
    assert_eq!(dead.problem().unwrap().code, Code::Unauthenticated);

    let grant = new.run().await;
    assert_eq!(grant.attempt, 2);
    assert!(new.say(1, State::Completed, "").await.fenced, "what the first attempt says does not count");
    let stale = new.client.report(&report(1, 1, 1, 0.5)).await.unwrap_err();
    assert_eq!(stale.problem().unwrap().code, Code::Fenced);
    let stale = new.client.put_model(1, "model", &digest(b"m"), Bytes::from_static(b"m")).await.unwrap_err();
    assert_eq!(stale.problem().unwrap().code, Code::Fenced);
    assert!(!new.say(2, State::Completed, "").await.fenced);
}

#[tokio::test]
async fn who_comes_when_all_is_over_is_told_so() {
    let mut world = World::start().await;
    let mut crew = world.crew(2, "").await;
    crew.trainers.truncate(1);
    crew.run().await;
    crew.say(State::Completed).await;
    world.until(&crew.job, JobState::Completed).await;
    let mut late = Agent::connect(&world, &crew.users[1].agent, "key 1").await.unwrap();
    assert_eq!(late.expect_stop().await.reason, "never joined");
}
