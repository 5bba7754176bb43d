//! The lives of jobs, by the numbers of their conformance cases; the walk from ready to completed is in `jobs`.

use flame_api::notifier::State;
use flame_api::{Code, JobState, Problem, TaskState};
use reqwest::{Method, StatusCode};

use super::agent::Agent;
use super::edges::{ask, send};
use super::world::{World, job_file};

fn refusal<T: std::fmt::Debug>(outcome: Result<T, flame_api::ClientError>) -> Problem {
    outcome.unwrap_err().problem().unwrap().clone()
}

#[tokio::test]
async fn job_01_a_new_job_is_ready_with_all_its_tasks() {
    let world = World::start().await;
    let id = world.job(2, "").await;
    let job = world.client.job(&id).await.unwrap();
    assert_eq!((job.state, job.started_at, job.ended_at), (JobState::Ready, None, None));
    let tasks = world.client.tasks(&id).await.unwrap();
    assert!(tasks.len() == 3 && tasks.iter().all(|task| task.state == TaskState::Ready && task.attempt == 0));
}

#[tokio::test]
async fn job_05_a_role_without_a_completed_task_fails_the_job() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, "").await;
    crew.run().await;
    crew.trainers[0].say(1, State::Failed, "no data").await;
    let job = world.until(&crew.job, JobState::Failed).await;
    assert!(job.reason.contains("role `trainer`") && job.reason.ends_with("no data"), "{}", job.reason);
    assert_eq!(crew.aggregator.expect_stop().await.reason, "the job failed");
}

#[tokio::test]
async fn job_09_nobody_sets_a_state() {
    let world = World::start().await;
    let id = world.job(1, "").await;
    let token = Some(world.server.token().expose());
    for state in ["running", "completed", "failed", "ready", "deploying", "terminated"] {
        let body = format!(r#"{{"state": "{state}"}}"#);
        let (status, _) = ask(&world, Method::PUT, &format!("/v1/jobs/{id}/status"), token, &body).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _) = ask(&world, Method::PUT, &format!("/v1/jobs/{id}"), token, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "a state is no field of a job file");
    }
    assert_eq!(world.client.job(&id).await.unwrap().state, JobState::Ready);
}

#[tokio::test]
async fn job_10_a_job_under_way_is_neither_updated_nor_deleted() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, "").await;
    crew.run().await;
    let before = world.client.tasks(&crew.job).await.unwrap();
    for problem in [
        refusal(world.client.update_job(&crew.job, "job.json", job_file(2, "")).await),
        refusal(world.client.delete_job(&crew.job).await),
    ] {
        assert_eq!(problem.code, Code::WrongState);
        assert!(problem.message.contains("is running") && problem.hint.contains("flamectl stop job"), "{problem}");
    }
    assert_eq!(world.client.tasks(&crew.job).await.unwrap(), before);
}

#[tokio::test]
async fn job_11_a_deleted_job_leaves_nothing() {
    let mut world = World::start().await;
    let kept = world.job(1, "").await;
    let before: Vec<_> = entries(&world);
    let mut crew = world.crew(2, "").await;
    crew.run().await;
    let model = bytes::Bytes::from_static(b"weights");
    let digest = flame_bundle::sha256_hex(&model);
    crew.aggregator.client.put_model(1, "model", &digest, model).await.unwrap();
    crew.trainers[0].client.report(&super::jobs::report(1, 1, 1, 0.5)).await.unwrap();
    crew.say(State::Completed).await;
    world.until(&crew.job, JobState::Completed).await;
    assert!(entries(&world).len() > before.len() + 10);

    world.client.delete_job(&crew.job).await.unwrap();
    assert_eq!(refusal(world.client.job(&crew.job).await).code, Code::NotFound);
    assert_eq!(entries(&world), before, "every record of it is gone");
    assert!(!world.home.path().join("models").join(crew.job.as_str()).exists());
    assert_eq!(world.client.jobs().await.unwrap()[0].id, kept);
    let gone = Agent::connect(&world, &crew.users[0].agent, "key 0").await.err().unwrap();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}

fn entries(world: &World) -> Vec<(flame_control::store::Tree, Vec<u8>)> {
    use flame_control::store::Tree;
    let trees = Tree::ALL.into_iter().filter(|tree| *tree != Tree::Audit).filter(|tree| *tree != Tree::Server);
    trees.flat_map(|tree| world.store.scan(tree, b"").unwrap().into_iter().map(move |(key, _)| (tree, key))).collect()
}

#[tokio::test]
async fn job_12_an_update_makes_the_tasks_anew_and_the_job_ready() {
    let mut world = World::start().await;
    let job = world.job(2, "").await;
    let updated = world.client.update_job(&job, "job.json", job_file(3, "")).await.unwrap();
    assert_eq!((updated.state, world.client.tasks(&job).await.unwrap().len()), (JobState::Ready, 4));

    let mut crew = world.start_job(job).await;
    crew.run().await;
    crew.trainers[0].client.report(&super::jobs::report(1, 1, 1, 0.5)).await.unwrap();
    crew.say(State::Completed).await;
    world.until(&crew.job, JobState::Completed).await;
    let created = world.client.job(&crew.job).await.unwrap().created_at;
    let again = world.client.update_job(&crew.job, "job.json", job_file(1, "")).await.unwrap();
    assert_eq!((again.state, again.started_at, again.ended_at), (JobState::Ready, None, None));
    assert_eq!(again.created_at, created);
    let (_, users) = world.tasks(&crew.job).await;
    assert_eq!((users.len(), users[0].state), (1, TaskState::Ready), "of the new file alone");
    assert!(world.client.metrics(&crew.job).await.unwrap().is_empty());

    let wrong = Agent::connect(&world, &users[0].agent, "another key").await.err().unwrap();
    assert_eq!(wrong.code(), tonic::Code::Unauthenticated, "the participant of before is still the one");
    let stale = crew.trainers.remove(0);
    let mut crew = world.start_job(crew.job).await;
    crew.run().await;
    assert!(crew.trainers[0].attempt > 1, "who ran it before is fenced");
    drop(stale);
    crew.say(State::Completed).await;
    world.until(&crew.job, JobState::Completed).await;
}

#[tokio::test]
async fn job_12_a_failed_and_a_terminated_job_are_updated_too_and_a_wrong_file_changes_nothing() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, "").await;
    crew.run().await;
    crew.trainers[0].say(1, State::Failed, "no data").await;
    crew.aggregator.expect_stop().await;
    crew.aggregator.say(1, State::Terminated, "").await;
    world.until(&crew.job, JobState::Failed).await;
    let wrong = refusal(world.client.update_job(&crew.job, "job.json", job_file(0, "")).await);
    assert_eq!(wrong.code, Code::Refused);
    assert_eq!(world.client.job(&crew.job).await.unwrap().state, JobState::Failed);
    let job = world.client.update_job(&crew.job, "job.json", job_file(1, "")).await.unwrap();
    assert_eq!((job.state, job.reason.as_str()), (JobState::Ready, ""));
    world.client.start(&crew.job).await.unwrap();
    world.client.stop(&crew.job).await.unwrap();
    world.until(&crew.job, JobState::Terminated).await;
    world.client.update_job(&crew.job, "job.json", job_file(2, "")).await.unwrap();
    assert_eq!(world.client.job(&crew.job).await.unwrap().state, JobState::Ready);
}

#[tokio::test]
async fn job_13_a_task_says_nothing_that_is_not_its_to_say() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, "").await;
    crew.run().await;
    let refused = crew.trainers[0].say_only(1, State::Unspecified).await;
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert_eq!(world.tasks(&crew.job).await.1[0].state, TaskState::Running);
}

#[tokio::test]
async fn job_14_a_flamelet_that_cannot_be_placed_is_tried_as_often_as_the_job_says() {
    let world = World::refusing_to_deploy("no room").await;
    let job = world.job(1, r#", "maxRestarts": 1"#).await;
    world.client.start(&job).await.unwrap();
    let ended = world.until(&job, JobState::Failed).await;
    assert!(ended.reason.ends_with("the fake deployer could not place it: no room"), "{}", ended.reason);
    assert_eq!(world.tasks(&job).await.0.restarts, 1);
}

#[tokio::test]
async fn job_17_a_job_is_stopped_wherever_it_stands() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let early = refusal(world.client.stop(&job).await);
    assert!(early.code == Code::WrongState && early.message.contains("is ready"), "{early}");
    world.client.start(&job).await.unwrap();
    let stopped = world.client.stop(&job).await.unwrap();
    assert!(matches!(stopped.state, JobState::Stopping | JobState::Terminated), "{stopped:?}");
    world.until(&job, JobState::Terminated).await;

    let mut crew = world.crew(1, "").await;
    crew.trainers[0].run().await;
    assert_eq!(world.client.stop(&crew.job).await.unwrap().state, JobState::Stopping);
    let twice = refusal(world.client.stop(&crew.job).await);
    assert!(twice.message.contains("already stopping"), "{twice}");
    crew.trainers[0].expect_stop().await;
    crew.trainers[0].say(1, State::Terminated, "").await;
    world.until(&crew.job, JobState::Terminated).await;
    let late = refusal(world.client.start(&crew.job).await);
    assert!(late.message.contains("is terminated") && late.hint.contains("update"), "{late}");
}

#[tokio::test]
async fn job_18_without_a_limit_a_job_waits_for_its_participants() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, r#", "maxRunTime": 0"#).await;
    assert_eq!(world.client.job(&crew.job).await.unwrap().state, JobState::Deploying);
    crew.run().await;
    crew.say(State::Completed).await;
    world.until(&crew.job, JobState::Completed).await;
}

#[tokio::test]
async fn a_lost_system_task_is_started_again_under_a_higher_attempt_and_then_no_more() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, r#", "maxRestarts": 1"#).await;
    crew.run().await;
    crew.launch.exited.exited("the flamelet of this task exited with signal 9".into());
    let again = world.launch().await;
    assert_eq!(again.agent, crew.system.agent);
    let orphan = Agent::connect(&world, &again.agent, crew.launch.key.expose()).await.err().unwrap();
    assert_eq!(orphan.code(), tonic::Code::Unauthenticated);
    assert!(crew.aggregator.say(1, State::Completed, "").await.fenced, "the one of before is fenced");
    let mut aggregator = Agent::connect(&world, &again.agent, again.key.expose()).await.unwrap();
    assert!(aggregator.run().await.attempt > 1);
    let (task, _) = world.tasks(&crew.job).await;
    assert_eq!((task.state, task.restarts), (TaskState::Running, 1));
    again.exited.exited("the flamelet of this task exited with signal 11".into());
    let ended = world.until(&crew.job, JobState::Failed).await;
    assert!(ended.reason.ends_with("exited with signal 11"), "{}", ended.reason);
}

#[tokio::test]
async fn a_participant_who_stays_away_too_long_has_failed_and_one_who_comes_back_has_not() {
    let mut world = World::start().await;
    let mut crew = world.crew(2, r#", "rejoinTimeout": 1, "minCompleted": {"trainer": 2}"#).await;
    crew.run().await;
    let away = crew.trainers.remove(0);
    drop(away);
    let ended = world.until(&crew.job, JobState::Failed).await;
    assert!(ended.reason.contains("its agent had no session for 1 s"), "{}", ended.reason);

    let mut crew = world.crew(1, r#", "rejoinTimeout": 3600"#).await;
    crew.run().await;
    drop(crew.trainers.remove(0));
    let mut back = Agent::connect(&world, &crew.users[0].agent, "key 0").await.unwrap();
    assert_eq!(back.run().await.attempt, 2);
    back.say(2, State::Completed, "").await;
    crew.aggregator.say(1, State::Completed, "").await;
    world.until(&crew.job, JobState::Completed).await;
}

#[tokio::test]
async fn health_says_what_is_not_well() {
    let world = World::start().await;
    let (status, _, text) = send(&world, Method::GET, "/v1/health", &[], "").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let world = World::refusing_to_deploy("no room").await;
    let (status, _, text) = send(&world, Method::GET, "/v1/health", &[], "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("deployer: no room"), "{text}");
}
