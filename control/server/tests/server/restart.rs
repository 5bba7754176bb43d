//! A server that ends in the middle and starts again.

use std::sync::Arc;

use flame_api::notifier::State;
use flame_api::{Client, JobState, TaskState};
use flame_control::{BrokerChoice, Deployer, ProcessDeployer, Rates, Server, ServerConfig, StartError, Tls};

use super::agent::Agent;
use super::world::{Crew, World, any_port, within};

#[tokio::test]
async fn a_job_goes_on_where_it_stood() {
    let mut world = World::start().await;
    let Crew { job, users, launch, mut aggregator, mut trainers, .. } = world.crew(1, "").await;
    aggregator.run().await;
    let mut trainer = trainers.remove(0);
    let grant = trainer.run().await;

    let token = world.server.token().clone();
    let mut world = world.restart().await;
    assert_eq!(world.server.token(), &token, "flamectl's token still holds");
    let cut = trainer.event().await.unwrap_err();
    assert_eq!(cut.code(), tonic::Code::Unavailable, "{cut}");

    // The participant runs on under its attempt; the system task is placed anew, with a new key.
    let mut trainer = Agent::connect(&world, &users[0].agent, "key 0").await.unwrap();
    let again = world.launch().await;
    assert_eq!(again.agent, launch.agent);
    let orphan = Agent::connect(&world, &launch.agent, launch.key.expose()).await.err().unwrap();
    assert_eq!(orphan.code(), tonic::Code::Unauthenticated);
    let mut aggregator = Agent::connect(&world, &again.agent, again.key.expose()).await.unwrap();
    assert_eq!(aggregator.run().await.attempt, 2);
    assert!(!trainer.say(grant.attempt, State::Completed, "").await.fenced);
    aggregator.say(2, State::Completed, "").await;
    world.until(&job, JobState::Completed).await;
    let (system, users) = world.tasks(&job).await;
    assert_eq!((system.state, users[0].state), (TaskState::Completed, TaskState::Completed));
    assert_eq!((system.attempt, users[0].attempt), (2, 1));
}

#[tokio::test]
async fn a_stop_that_was_asked_for_is_carried_out_after_a_restart() {
    let mut world = World::start().await;
    let Crew { job, users, launch: _launch, mut trainers, .. } = world.crew(1, "").await;
    trainers[0].run().await;
    world.client.stop(&job).await.unwrap();
    drop(trainers);

    let world = world.restart().await;
    let mut trainer = Agent::connect(&world, &users[0].agent, "key 0").await.unwrap();
    trainer.expect_stop().await;
    trainer.say(1, State::Terminated, "").await;
    world.until(&job, JobState::Terminated).await;
}

fn config(home: &std::path::Path, api: std::net::SocketAddr) -> ServerConfig {
    ServerConfig {
        home: home.to_owned(),
        api,
        notifier: any_port(),
        tls: Tls::Off,
        rates: Rates::default(),
        broker: BrokerChoice::Embedded { listen: any_port() },
        deployer: Arc::new(ProcessDeployer::new(None, home)) as Arc<dyn Deployer>,
        system_data: Vec::new(),
        advertise_host: None,
        skip_admission: false,
    }
}

#[tokio::test]
async fn a_server_on_disk_keeps_its_token_and_its_home_to_itself() {
    let home = tempfile::tempdir().unwrap();
    let first = within(Server::start(config(home.path(), any_port()))).await.unwrap();
    let token = first.token().clone();
    let path = home.path().join("token");
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), token.expose());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let refused = within(Server::start(config(home.path(), any_port()))).await.err().unwrap().to_string();
    assert!(refused.contains("in use by another process") && refused.contains("--home"), "{refused}");

    within(first.shutdown()).await;
    let second = within(Server::start(config(home.path(), any_port()))).await.unwrap();
    let client = Client::new(&format!("http://{}", second.api_addr()), Some(token)).unwrap();
    assert!(client.jobs().await.unwrap().is_empty());
    within(second.shutdown()).await;
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_flag() {
    let home = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(any_port()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = within(Server::start(config(home.path(), address))).await.err().unwrap();
    assert!(matches!(error, StartError::Listen { .. }));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("--api-port"), "{text}");
}
