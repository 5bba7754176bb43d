//! Who learns where whom is reached, and which backends a job may ask for.

use flame_api::notifier::State;
use flame_api::{AgentId, Backend, Client, CreateDesign, Task, TaskKind};

use super::agent::Agent;
use super::world::{World, component, within};

/// Trainers talk to the aggregator of their group peer to peer, and to the coordinator over MQTT.
const HYBRID: &str = r#"{
    "name": "hybrid", "description": "",
    "roles": [
        {"name": "trainer", "isDataConsumer": true, "groupAssociation": [
            {"param": "eu", "control": "default"}, {"param": "us", "control": "default"}]},
        {"name": "aggregator", "groupAssociation": [{"param": "eu"}, {"param": "us"}]},
        {"name": "coordinator"}],
    "channels": [
        {"name": "param", "pair": ["trainer", "aggregator"], "groupBy": {"type": "tag", "value": ["eu", "us"]},
         "backend": "p2p", "funcTags": {"trainer": ["fetch"], "aggregator": ["distribute"]}},
        {"name": "control", "pair": ["trainer", "coordinator"], "funcTags": {"trainer": ["obey"], "coordinator": ["lead"]}}]
}"#;

async fn design(client: &Client, name: &str, schema: &str) {
    let design = CreateDesign { id: name.parse().unwrap(), description: String::new() };
    client.create_design(&design).await.unwrap();
    client.create_schema(&design.id, "schema.json", schema.to_owned()).await.unwrap();
    client.create_code(&design.id, component(&["trainer", "aggregator", "coordinator"])).await.unwrap();
}

fn of<'a>(tasks: &'a [Task], role: &str, group: &str) -> &'a AgentId {
    let found = tasks.iter().find(|task| {
        task.role == role && task.group_association.get("param").is_some_and(|associated| associated == group)
    });
    &found.unwrap().agent
}

#[tokio::test]
async fn an_agent_learns_of_the_ends_that_it_talks_to_peer_to_peer_and_of_no_others() {
    let mut world = World::start().await;
    design(&world.client, "hybrid", HYBRID).await;
    let job = r#"{"designId": "hybrid", "backend": "mqtt", "dataSpec": {"fromUser": {"eu": 2, "us": 1}}}"#;
    let job = world.client.create_job("job.json", job.to_owned()).await.unwrap().id;
    let tasks = world.client.tasks(&job).await.unwrap();
    world.client.start(&job).await.unwrap();
    let systems = tasks.iter().filter(|task| task.kind == TaskKind::System).count();
    let mut launches = Vec::new();
    for _ in 0..systems {
        launches.push(world.launch().await);
    }
    let aggregator = of(&tasks, "aggregator", "eu").clone();
    let launch = launches.iter().find(|launch| launch.agent == aggregator).unwrap();
    assert!(launch.p2p_listen.ip().is_loopback() && launch.p2p_listen.port() == 0);

    let mut eu_aggregator = Agent::connect(&world, &aggregator, launch.key.expose()).await.unwrap();
    let grant = eu_aggregator.run().await;
    assert_eq!(grant.channels.iter().map(|channel| channel.backend).collect::<Vec<_>>(), [Backend::P2p]);
    eu_aggregator.announce("127.0.0.1:7000").await;
    assert_eq!(eu_aggregator.peers().await, (true, vec![]));

    let us = of(&tasks, "trainer", "us");
    let mut us_trainer = Agent::connect(&world, us, "key").await.unwrap();
    let grant = us_trainer.run().await;
    let backends: Vec<_> = grant.channels.iter().map(|channel| (channel.name.as_str(), channel.backend)).collect();
    assert_eq!(backends, [("param", Backend::P2p), ("control", Backend::Mqtt)]);
    us_trainer.announce("127.0.0.1:7100").await;
    assert_eq!(us_trainer.peers().await, (true, vec![]), "the other group's aggregator is not its business");

    let eu: Vec<_> = tasks.iter().filter(|task| task.role == "trainer" && task.agent != *us).collect();
    let mut first = Agent::connect(&world, &eu[0].agent, "key").await.unwrap();
    first.announce("").await;
    let reached = vec![(aggregator.to_string(), true, "127.0.0.1:7000".to_owned())];
    assert_eq!(first.peers().await, (true, reached.clone()));
    let hidden = |end: &AgentId| vec![(end.to_string(), true, String::new())];
    assert_eq!(eu_aggregator.peers().await, (false, hidden(&eu[0].agent)));
    let mut second = Agent::connect(&world, &eu[1].agent, "key").await.unwrap();
    second.announce("0.0.0.0:7300").await;
    assert_eq!(second.peers().await, (true, reached), "not the other trainer, to whom it does not talk");
    let second_end = eu[1].agent.to_string();
    assert_eq!(eu_aggregator.peers().await, (false, vec![(second_end.clone(), true, "0.0.0.0:7300".into())]));

    // It moves, and it goes.
    second.announce("10.0.0.7:7300").await;
    assert_eq!(eu_aggregator.peers().await, (false, vec![(second_end.clone(), true, "10.0.0.7:7300".into())]));
    drop(second);
    assert_eq!(eu_aggregator.peers().await, (false, vec![(second_end, false, String::new())]));
    eu_aggregator.say(1, State::Completed, "").await;
}

#[tokio::test]
async fn an_address_that_is_none_ends_the_session_with_the_flag() {
    let world = World::start().await;
    let job = world.job(1, r#", "backend": "p2p""#).await;
    let (_, users) = world.tasks(&job).await;
    let mut agent = Agent::connect(&world, &users[0].agent, "key").await.unwrap();
    agent.announce("http://10.0.0.7/").await;
    let refused = within(agent.event()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("--p2p-advertise HOST:PORT"), "{}", refused.message());
}

#[tokio::test]
async fn a_channel_within_one_process_is_refused_where_that_cannot_be_known() {
    let world = World::start().await;
    world.job(1, "").await;
    let job = r#"{"designId": "mnist", "backend": "inproc", "dataSpec": {"fromUser": {"default": 1}}}"#;
    let refused = world.client.create_job("job.json", job.to_owned()).await.unwrap_err();
    let problem = refused.problem().unwrap();
    let [only] = problem.problems.as_slice() else { panic!("{problem:?}") };
    for part in ["channel param-channel", "`inproc`", "aggregator, trainer", "`fake`", "use p2p or mqtt"] {
        assert!(only.contains(part), "{only}");
    }
}
