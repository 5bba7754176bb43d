//! What happened to a job, kept and told.

use flame_api::notifier::State;
use flame_api::{JobEvent, JobEventKind};
use futures::StreamExt;

use super::agent::Agent;
use super::world::{World, within};

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
