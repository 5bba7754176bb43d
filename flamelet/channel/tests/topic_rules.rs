//! The mosquitto of `docs/brokers.md`, run as it stands there: ends speak as themselves only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::authority::{Authority, add_login};
use common::{LONG, Mosquitto, body, config, free_port, id, job};
use flame_channel::Channel;
use flame_channel::mqtt::{MqttSettings, MqttTransport, TlsIdentity, TlsSettings};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};

const DOCUMENT: &str = include_str!("../../../docs/brokers.md");

/// The code block of that kind in the document.
fn block(kind: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// The documented broker, with logins for three ends; `more` is added to its configuration.
fn documented_broker(authority: &Authority, more: &str) -> Option<Mosquitto> {
    let port = free_port();
    Mosquitto::start_with(port, |dir| {
        authority.equip(dir, &["localhost"]);
        for n in 0..3 {
            add_login(&dir.join("logins"), id(n).as_str(), &format!("password-{n}"));
        }
        std::fs::write(dir.join("acl"), block("acl")).unwrap();
        let conf = block("conf").replace("/etc/mosquitto/flame", &dir.display().to_string());
        assert!(conf.contains("listener 8883\n"));
        conf.replace("listener 8883\n", &format!("listener {port} 127.0.0.1\n")) + more
    })
}

/// A client that is not Flame's: what the broker lets through is seen bare.
struct Bare {
    client: AsyncClient,
    events: EventLoop,
}

impl Bare {
    fn connect(broker: &Mosquitto, authority: &Authority, n: u32, identity: Option<&TlsIdentity>) -> Self {
        let port = broker.tls_url().rsplit_once(':').unwrap().1.parse().unwrap();
        let mut options = MqttOptions::new(format!("bare-{n}"), "localhost", port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
            ca: authority.pem.clone().into(),
            alpn: None,
            client_auth: identity.map(|identity| (identity.certificate.clone(), identity.key.clone())),
        }));
        if identity.is_none() {
            options.set_credentials(id(n).as_str(), format!("password-{n}"));
        }
        let (client, events) = AsyncClient::new(options, 16);
        Self { client, events }
    }

    async fn until<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(LONG, found).await.unwrap()
    }

    async fn subscribe(&mut self, filters: &[String]) {
        let filters = filters.iter().map(|path| Filter::new(path.as_str(), QoS::AtLeastOnce));
        self.client.subscribe_many(filters).await.unwrap();
        self.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// What the broker answers to a publish.
    async fn publish(&mut self, topic: &str, payload: &'static str) -> PubAckReason {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        self.until(|packet| if let Packet::PubAck(ack) = packet { Some(ack.reason) } else { None }).await
    }

    async fn hear(&mut self) -> Publish {
        self.until(|packet| if let Packet::Publish(publish) = packet { Some(publish) } else { None }).await
    }
}

/// End 1 publishes under its own name and under end 2's; end 2 listens to everything.
async fn only_what_is_its_own_passes(mut speaker: Bare, mut listener: Bare) {
    let (me, other) = (id(1), id(2));
    let base = "flame/job/param-channel/default";
    listener.subscribe(&["flame/#".to_owned()]).await;
    let foreign = [
        format!("{base}/all/trainer/{other}"),
        format!("{base}/to/{me}/{other}"),
        format!("{base}/to/{other}/{other}"),
        format!("flame/job/gone/{other}"),
        format!("{base}/all/trainer/{other}/{me}"),
        "elsewhere".to_owned(),
    ];
    for topic in foreign {
        assert_eq!(speaker.publish(&topic, "foreign").await, PubAckReason::NotAuthorized, "{topic}");
    }
    // Not for end 2: it is accepted and not delivered.
    assert_ne!(speaker.publish(&format!("{base}/to/{}/{me}", id(3)), "not for 2").await, PubAckReason::NotAuthorized);
    let own = [format!("{base}/all/trainer/{me}"), format!("{base}/to/{other}/{me}"), format!("flame/job/gone/{me}")];
    for topic in own {
        assert_eq!(speaker.publish(&topic, "own").await, PubAckReason::Success, "{topic}");
        // The broker keeps the order: had anything before it passed, it would come first.
        let heard = listener.hear().await;
        assert_eq!((heard.topic, heard.payload), (topic.into(), "own".into()));
    }
}

#[tokio::test]
async fn a_publish_under_another_ends_name_is_refused() {
    let authority = Authority::new("ours");
    let Some(broker) = documented_broker(&authority, "") else { return };
    let [speaker, listener] = [1, 2].map(|n| Bare::connect(&broker, &authority, n, None));
    only_what_is_its_own_passes(speaker, listener).await;
}

#[tokio::test]
async fn a_certificates_name_is_as_good_as_a_login() {
    let authority = Authority::new("ours");
    let Some(broker) = documented_broker(&authority, block("certificates")) else { return };
    let [speaker, listener] = [1, 2].map(|n| {
        let identity = authority.sign(id(n).as_str(), &[]);
        Bare::connect(&broker, &authority, n, Some(&identity))
    });
    only_what_is_its_own_passes(speaker, listener).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_of_ends_that_log_in_as_themselves_works_under_the_rules() {
    let authority = Authority::new("ours");
    let Some(broker) = documented_broker(&authority, "") else { return };
    let job = job();
    let mut ends = Vec::new();
    for n in [0, 1, 2] {
        let settings = MqttSettings {
            url: broker.tls_url(),
            client_id: format!("{job}-{n}"),
            username: Some(id(n).to_string()),
            password: Some(format!("password-{n}")),
            tls: TlsSettings { ca: Some(authority.pem.clone().into()), identity: None },
        };
        let transport = MqttTransport::connect(&settings, &job, &id(n)).await.unwrap();
        ends.push(Channel::join(config(&job, n, 3), Arc::new(transport)).await.unwrap());
    }
    ends[0].await_ends(2, LONG).await.unwrap();
    let receipt = ends[0].broadcast(body("weights", 1 << 20)).await.unwrap();
    receipt.wait(LONG).await.unwrap();
    for n in [1, 2] {
        let trainer = &ends[usize::try_from(n).unwrap()];
        assert!(trainer.recv(&id(0), LONG).await.unwrap().message == body("weights", 1 << 20));
        trainer.send(&[id(0)], body("update", 1000)).await.unwrap();
    }
    for n in [1, 2] {
        assert!(ends[0].recv(&id(n), LONG).await.unwrap().message == body("update", 1000));
    }
}
