//! TLS of both ports with a certificate that the server made.

use std::path::Path;
use std::sync::Arc;

use flame_api::notifier::notifier_client::NotifierClient;
use flame_api::notifier::{FromAgent, Hello, from_agent};
use flame_api::{Client, ClientError, Trust};
use flame_control::{BrokerChoice, ProcessDeployer, Rates, Server, ServerConfig, Tls};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::world::{any_port, within};

async fn server(home: &Path) -> Server {
    let config = ServerConfig {
        home: home.to_owned(),
        api: any_port(),
        notifier: any_port(),
        tls: Tls::Made { names: vec!["flame.example".into()] },
        rates: Rates::default(),
        broker: BrokerChoice::Embedded { listen: any_port() },
        deployer: Arc::new(ProcessDeployer::new(None, home)),
        system_data: Vec::new(),
        advertise_host: None,
        skip_admission: false,
    };
    within(Server::start(config)).await.unwrap()
}

#[tokio::test]
async fn who_names_the_ca_gets_in_over_tls_and_others_do_not() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path()).await;
    let endpoint = server.endpoint();
    assert!(endpoint.starts_with("https://127.0.0.1:"), "{endpoint}");
    let trust = Trust::load(server.ca()).unwrap();
    let client = Client::trusting(&endpoint, Some(server.token().clone()), &trust).unwrap();
    assert!(client.jobs().await.unwrap().is_empty());

    let stranger = Client::new(&endpoint, Some(server.token().clone())).unwrap();
    let refused = stranger.jobs().await.unwrap_err();
    assert!(matches!(refused, ClientError::Unreachable { .. }), "{refused}");
    let plain = Client::new(&endpoint.replace("https", "http"), Some(server.token().clone())).unwrap();
    assert!(plain.jobs().await.is_err());

    // The notifier likewise.
    let notifier = server.notifier_addr().to_string();
    let hello = || {
        let (outgoing, stream) = mpsc::channel(1);
        let hello = Hello { agent_id: "0".repeat(40), key: "key".into(), ..Hello::default() };
        outgoing.try_send(FromAgent { body: Some(from_agent::Body::Hello(hello)) }).unwrap();
        ReceiverStream::new(stream)
    };
    let channel = within(trust.endpoint(&notifier, &endpoint).unwrap().connect()).await.unwrap();
    let unknown = within(NotifierClient::new(channel).session(hello())).await.err().unwrap();
    assert_eq!(unknown.code(), tonic::Code::NotFound, "it was heard: {unknown}");
    let stranger = within(Trust::System.endpoint(&notifier, &endpoint).unwrap().connect()).await;
    assert!(stranger.is_err());
    within(server.shutdown()).await;
}

#[tokio::test]
async fn a_backup_is_taken_through_the_server_that_runs() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path()).await;
    let file = home.path().join("backup.jsonl");
    let mut out = Vec::new();
    let backup = flame_control::db::DbCommand::Backup { file: file.clone() };
    within(backup.run(home.path(), &mut out)).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.contains("\"sha256\""), "{last}");
    within(server.shutdown()).await;

    let other = tempfile::tempdir().unwrap();
    let import = flame_control::db::DbCommand::Import { file };
    within(import.run(other.path(), &mut out)).await.unwrap();
    std::fs::copy(home.path().join("token"), other.path().join("token")).unwrap();
    let again = super::secure::server(other.path()).await;
    assert_eq!(again.token().expose(), std::fs::read_to_string(home.path().join("token")).unwrap().trim());
    within(again.shutdown()).await;
}

#[test]
fn a_ca_file_that_is_none_is_named_with_the_flag() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), Path::new("/no/such/ca.pem")] {
        let error = Trust::load(Some(path)).unwrap_err().to_string();
        assert!(error.contains("--ca") && error.contains("FLAME_CA"), "{error}");
    }
}
