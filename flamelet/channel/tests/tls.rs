//! TLS and logins against a real broker: what is right connects, and what is wrong says so at once.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::authority::{Authority, add_login, tls_broker};
use common::{LONG, Mosquitto, body, config, id, job};
use flame_channel::mqtt::{MqttSettings, MqttTransport, TlsIdentity, TlsSettings};
use flame_channel::{Channel, ChannelError};

fn settings(url: String, authority: &Authority, identity: Option<TlsIdentity>) -> MqttSettings {
    let tls = TlsSettings { ca: Some(authority.pem.clone().into()), identity };
    MqttSettings { url, client_id: job(), tls, ..MqttSettings::default() }
}

async fn connect(settings: &MqttSettings) -> Result<MqttTransport, ChannelError> {
    MqttTransport::connect(settings, "job", &id(1)).await
}

/// Why the broker, or we, did not want the connection. Whatever may pass by itself is retried and ends as `Unavailable`.
async fn refusal(settings: &MqttSettings) -> String {
    match connect(settings).await {
        Err(ChannelError::NotPermitted(why)) => why,
        Err(error) => panic!("it tried on: {error}"),
        Ok(_) => panic!("it connected"),
    }
}

/// Whether a message goes through between two ends that connect like this.
async fn carries_a_message(settings: &MqttSettings) {
    let job = job();
    let mut ends = Vec::new();
    for n in 0..2 {
        let settings = MqttSettings { client_id: format!("{job}-{n}"), ..settings.clone() };
        let transport = MqttTransport::connect(&settings, &job, &id(n)).await.unwrap();
        ends.push(Channel::join(config(&job, n, 2), Arc::new(transport)).await.unwrap());
    }
    ends[0].await_ends(1, LONG).await.unwrap();
    ends[0].broadcast(body("weights", 1 << 20)).await.unwrap();
    let got = ends[1].recv(&id(0), LONG).await.unwrap();
    assert!(got.message == body("weights", 1 << 20), "the message differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_through_a_broker_whose_authority_is_trusted() {
    let authority = Authority::new("ours");
    let Some(broker) = tls_broker(&authority, "allow_anonymous true") else { return };
    carries_a_message(&settings(broker.tls_url(), &authority, None)).await;
}

#[tokio::test]
async fn a_broker_of_another_authority_is_refused() {
    let Some(broker) = tls_broker(&Authority::new("theirs"), "allow_anonymous true") else { return };
    let why = refusal(&settings(broker.tls_url(), &Authority::new("ours"), None)).await;
    assert!(why.contains("localhost") && why.contains("not vouched for by the CA"), "{why}");
    // Whom this machine trusts has not signed it either.
    let machine = MqttSettings { url: broker.tls_url(), client_id: job(), ..MqttSettings::default() };
    match connect(&machine).await {
        Err(ChannelError::NotPermitted(why)) => assert!(why.contains("not vouched for"), "{why}"),
        Err(ChannelError::InvalidArgument(why)) => assert!(why.contains("no list of trusted authorities"), "{why}"),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_broker_under_another_name_than_its_certificates_is_refused() {
    let authority = Authority::new("ours");
    let Some(broker) = tls_broker(&authority, "allow_anonymous true") else { return };
    let by_address = broker.tls_url().replace("localhost", "127.0.0.1");
    let why = refusal(&settings(by_address, &authority, None)).await;
    assert!(why.contains("for another host") && why.contains("localhost"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_wants_a_client_certificate_takes_only_one_that_its_authority_signed() {
    let authority = Authority::new("ours");
    let Some(broker) = tls_broker(&authority, "require_certificate true\nallow_anonymous true") else { return };
    let with = |identity| settings(broker.tls_url(), &authority, identity);
    let why = refusal(&with(None)).await;
    assert!(why.contains("client certificate"), "{why}");
    let why = refusal(&with(Some(Authority::new("theirs").sign("me", &[])))).await;
    assert!(why.contains("does not accept the client certificate"), "{why}");
    carries_a_message(&with(Some(authority.sign("me", &[])))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_at_once_and_never_repeated() {
    let authority = Authority::new("ours");
    let logins = "allow_anonymous false\npassword_file DIR/logins";
    let Some(broker) = tls_broker_with_login(&authority, logins) else { return };
    let with = |password: &str| MqttSettings {
        username: Some("ann".into()),
        password: Some(password.into()),
        ..settings(broker.tls_url(), &authority, None)
    };
    let why = refusal(&with("wrong-secret")).await;
    assert!(why.contains("refuses the login") && why.contains("password"), "{why}");
    assert!(!why.contains("wrong-secret"), "{why}");
    let in_the_url = broker.tls_url().replace("://", "://ann:wrong-secret@");
    let why = refusal(&settings(in_the_url, &authority, None)).await;
    assert!(why.contains("refuses the login") && !why.contains("wrong-secret"), "{why}");
    let why = refusal(&settings(broker.tls_url(), &authority, None)).await;
    assert!(why.contains("refuses the login"), "{why}");
    carries_a_message(&with("right-secret")).await;
}

fn tls_broker_with_login(authority: &Authority, settings: &str) -> Option<Mosquitto> {
    let port = common::free_port();
    Mosquitto::start_with(port, |dir| {
        add_login(&dir.join("logins"), "ann", "right-secret");
        authority.equip(dir, &["localhost"]);
        common::authority::tls_conf(port, dir, settings)
    })
}

#[tokio::test]
async fn certificates_that_cannot_be_read_or_would_not_be_used_are_refused_before_connecting() {
    let authority = Authority::new("ours");
    let mine = authority.sign("me", &[]);
    let tls = |tls: TlsSettings| MqttSettings {
        url: "mqtts://localhost:1".into(),
        client_id: job(),
        tls,
        ..MqttSettings::default()
    };
    let other_key = authority.sign("other", &[]).key;
    let mut bad = vec![
        (tls(TlsSettings { ca: Some(b"nothing".to_vec()), identity: None }), "holds no certificate"),
        (
            settings("mqtts://localhost:1".into(), &authority, Some(TlsIdentity { key: Vec::new(), ..mine.clone() })),
            "key",
        ),
        (
            settings("mqtts://localhost:1".into(), &authority, Some(TlsIdentity { key: other_key, ..mine.clone() })),
            "together",
        ),
    ];
    bad.push((settings("mqtt://localhost:1".into(), &authority, None), "write mqtts://"));
    for (settings, says) in bad {
        let Err(ChannelError::InvalidArgument(why)) = connect(&settings).await else { panic!("{says}: it went on") };
        assert!(why.contains(says), "{says}: {why}");
    }
}

#[test]
fn settings_show_neither_login_nor_key() {
    let authority = Authority::new("ours");
    let identity = authority.sign("me", &[]);
    let key = String::from_utf8(identity.key.clone()).unwrap();
    let url = "mqtts://ann:hidden-in-url@localhost".to_owned();
    let mut settings = settings(url, &authority, Some(identity.clone()));
    settings.password = Some("hidden-too".into());
    let shown = format!("{settings:?} {:?} {identity:?}", settings.tls);
    let secret = key.lines().nth(1).unwrap();
    assert!(!shown.contains("hidden") && !shown.contains(secret), "{shown}");
}
