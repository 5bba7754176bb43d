//! Events to agents: a durable, numbered log for each, sent again until it is read. Named after the conformance cases.

use flame_api::notifier::{EventType, State};
use flame_api::{JobState, TaskState};

use super::agent::Agent;
use super::world::World;

#[tokio::test]
async fn evt_01_an_event_that_came_before_its_agent_is_delivered() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    world.client.start(&job).await.unwrap();
    let mut late = Agent::connect(&world, &agent, "key").await.unwrap();
    let event = late.event().await.unwrap();
    assert_eq!((event.r#type(), event.number, event.job.as_str()), (EventType::Start, 1, job.as_str()));
}

#[tokio::test]
async fn evt_01_an_event_survives_a_restart_and_comes_again_until_it_is_read() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    world.client.start(&job).await.unwrap();
    let mut first = Agent::connect(&world, &agent, "key").await.unwrap();
    assert_eq!(first.event().await.unwrap().number, 1);
    drop(first);
    let mut again = Agent::connect(&world, &agent, "key").await.unwrap();
    assert_eq!(again.event().await.unwrap().number, 1, "nobody said that it was read");
    drop(again);
    let world = world.restart().await;
    let mut again = Agent::connect(&world, &agent, "key").await.unwrap();
    assert_eq!(again.event().await.unwrap().number, 1);
    again.read(1).await;
    again.until_heard().await;
    drop(again);

    // The same process comes back: it has read it. The next that it hears is the stop.
    let mut back = Agent::reconnect(&world, &agent, "key", 1).await.unwrap();
    world.client.stop(&job).await.unwrap();
    let stop = back.event().await.unwrap();
    assert_eq!((stop.r#type(), stop.number), (EventType::Stop, 2));
}

#[tokio::test]
async fn evt_02_a_second_event_waits_behind_the_first_and_a_stop_takes_the_place_of_an_unread_start() {
    let world = World::start().await;
    let job = world.job(2, "").await;
    let users = world.tasks(&job).await.1;
    world.client.start(&job).await.unwrap();
    // One reads its start and runs, the other is away.
    let mut here = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    here.run().await;
    world.client.stop(&job).await.unwrap();
    let stop = here.expect_stop().await;
    assert_eq!(stop.number, 2, "in the order of their numbers");
    let mut away = Agent::connect(&world, &users[1].agent, "key").await.unwrap();
    let first = away.event().await.unwrap();
    assert_eq!((first.r#type(), first.number), (EventType::Stop, 2), "the start that it never read is left out");
}

#[tokio::test]
async fn evt_03_what_nobody_knows_is_an_error() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    world.client.start(&job).await.unwrap();
    let mut odd = Agent::connect(&world, &agent, "key").await.unwrap();
    odd.event().await.unwrap();
    odd.say_nothing_known().await;
    let ended = odd.event().await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::InvalidArgument, "{ended}");
}

#[tokio::test]
async fn evt_04_what_cannot_be_placed_is_told_with_its_task() {
    let world = World::refusing_to_deploy("no room").await;
    let job = world.job(1, "").await;
    world.client.start(&job).await.unwrap();
    world.until(&job, JobState::Failed).await;
    let (system, _) = world.tasks(&job).await;
    assert_eq!(system.state, TaskState::Failed);
    assert!(system.reason.contains("no room"), "{}", system.reason);
}

#[tokio::test]
async fn evt_06_and_07_a_session_that_is_gone_is_no_peer_and_heartbeats_need_a_session() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    let here = Agent::connect(&world, &agent, "key").await.unwrap();
    assert!(world.tasks(&job).await.1[0].connected);
    drop(here);
    world.until_away(&job, 0).await;
    let unknown = Agent::beat_without_hello(&world).await;
    assert_eq!(unknown.code(), tonic::Code::InvalidArgument, "{unknown}");
}

#[tokio::test]
async fn evt_08_the_same_end_that_comes_again_and_keeps_beating_stays_listed() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    let first = Agent::connect(&world, &agent, "key").await.unwrap();
    let mut second = Agent::connect(&world, &agent, "key").await.unwrap();
    drop(first);
    second.beat().await;
    world.client.start(&job).await.unwrap();
    assert_eq!(second.event().await.unwrap().r#type(), EventType::Start, "its session is the one that is served");
    assert!(world.tasks(&job).await.1[0].connected);
}

#[tokio::test]
async fn evt_09_events_nobody_reads_take_bounded_room() {
    let world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    world.client.start(&job).await.unwrap();
    for _ in 0..5 {
        let mut agent = Agent::connect(&world, &agent, "key").await.unwrap();
        assert_eq!(agent.event().await.unwrap().number, 1);
    }
    world.client.stop(&job).await.unwrap();
    let mailboxes = world.store.scan(flame_control::store::Tree::Mailboxes, job.as_str().as_bytes()).unwrap();
    assert_eq!(mailboxes.len(), 2, "one for each agent");
    assert!(mailboxes.iter().all(|(_, value)| value.len() < 500), "{mailboxes:?}");
}

#[tokio::test]
async fn an_agent_that_had_the_last_word_is_told_nothing_more_and_a_late_one_that_it_is_over() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let agent = world.tasks(&job).await.1[0].agent.clone();
    world.client.start(&job).await.unwrap();
    let launch = world.launch().await;
    let mut aggregator = Agent::connect(&world, &launch.agent, launch.key.expose()).await.unwrap();
    aggregator.run().await;
    let mut trainer = Agent::connect(&world, &agent, "key").await.unwrap();
    trainer.run().await;
    trainer.say(1, State::Completed, "").await;
    let mut late = Agent::connect(&world, &agent, "key").await.unwrap();
    let over = late.expect_stop().await;
    assert_eq!(over.reason, "the task is completed");
    let ended = trainer.event().await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Aborted, "superseded, and not told to stop: {ended}");
}
