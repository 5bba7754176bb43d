//! What agents are told, and what is kept of what happened, by the numbers of their conformance cases.

use flame_api::notifier::{EventType, State};
use flame_api::{JobEvent, JobEventKind, JobState};
use futures::StreamExt;

use super::agent::Agent;
use super::world::{World, within};

#[tokio::test]
async fn evt_01_a_start_waits_for_the_agent() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let (_, users) = world.tasks(&job).await;
    world.client.start(&job).await.unwrap();
    let _launch = world.launch().await;
    let mut late = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    assert_eq!(late.event().await.unwrap().r#type(), EventType::Start);
}

#[tokio::test]
async fn evt_02_a_stop_takes_the_place_of_a_start_that_nobody_read() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let (_, users) = world.tasks(&job).await;
    world.client.start(&job).await.unwrap();
    let _launch = world.launch().await;
    world.client.stop(&job).await.unwrap();
    world.until(&job, JobState::Terminated).await;
    let mut late = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    assert_eq!(late.expect_stop().await.reason, "stopped by a user");
}

#[tokio::test]
async fn evt_09_what_was_not_read_is_told_again_after_a_restart() {
    let mut world = World::start().await;
    let mut crew = world.crew(1, "").await;
    assert_eq!(crew.trainers[0].event().await.unwrap().r#type(), EventType::Start);
    let world = world.restart().await;
    let mut again = Agent::connect(&world, &crew.users[0].agent, "key 0").await.unwrap();
    assert_eq!(again.event().await.unwrap().r#type(), EventType::Start);
}

fn shown(event: &JobEvent) -> String {
    match &event.kind {
        JobEventKind::Expanded { tasks } => format!("expanded {tasks}"),
        JobEventKind::Job { state } => format!("job {state}"),
        JobEventKind::Task { role, state, .. } => format!("{role} {state}"),
        JobEventKind::Restarted { role, .. } => format!("{role} restarted"),
        JobEventKind::Rejoined { role, attempt, .. } => format!("{role} rejoined {attempt}"),
    }
}

#[tokio::test]
async fn everything_that_happened_to_a_job_is_kept_in_order_and_told_as_it_happens() {
    let mut world = World::start().await;
    let job = world.job(1, "").await;
    let mut follow = world.client.follow_events(&job, 0).await.unwrap();
    let mut crew = world.start_job(job).await;
    crew.run().await;
    let mut again = Agent::connect(&world, &crew.users[0].agent, "key 0").await.unwrap();
    again.run().await;
    again.say(2, State::Completed, "").await;
    crew.aggregator.say(1, State::Failed, "out of memory").await;
    let expected = [
        "expanded 2",
        "job starting",
        "job deploying",
        "aggregator running",
        "job running",
        "trainer running",
        "trainer rejoined 2",
        "trainer completed",
        "aggregator failed",
        "job failed",
    ];
    let mut told = Vec::new();
    while let Some(event) = within(follow.next()).await {
        told.push(event.unwrap());
    }
    assert_eq!(told.iter().map(shown).collect::<Vec<_>>(), expected);
    assert_eq!(told[8].reason, "out of memory");
    let numbers: Vec<_> = told.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert_eq!(world.client.job_events(&crew.job).await.unwrap(), told, "and kept");

    let world = world.restart().await;
    let mut rest = world.client.follow_events(&crew.job, 8).await.unwrap();
    assert_eq!(within(rest.next()).await.unwrap().unwrap(), told[8], "goes on after the last that is known");
}
