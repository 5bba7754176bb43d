//! What carries a task's channels: one transport per backend that its grant names, shared by all channels on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flame_api::{Backend, ChannelGrant, TaskGrant};
use flame_channel::inproc::InprocHub;
use flame_channel::mqtt::MqttTransport;
use flame_channel::p2p::{LinkSecret, P2pSettings, P2pTransport, no_way};
use flame_channel::{ChannelError, Transport};
use flame_model::EndId;

use crate::AgentConfig;
use crate::grant::{end, mqtt_settings};
use crate::peers::Peers;

/// The transports of one task.
#[derive(Default)]
pub(crate) struct Transports {
    mqtt: Option<Arc<MqttTransport>>,
    p2p: Option<Arc<P2pTransport>>,
    inproc: Option<Arc<InprocHub>>,
    /// Ends that are talked to peer to peer.
    peers: usize,
    me: Option<EndId>,
}

impl Transports {
    /// Connects what the grant's channels need. Errors are for people.
    pub(crate) async fn connect(grant: &TaskGrant, config: &AgentConfig, peers: &Arc<Peers>) -> Result<Self, String> {
        let me = end(grant.task.as_str()).map_err(|error| error.to_string())?;
        let job = grant.job.to_string();
        let mut transports = Self { me: Some(me.clone()), ..Self::default() };
        let on = |backend: Backend| grant.channels.iter().find(move |channel| channel.backend == backend);
        if let Some(channel) = on(Backend::Inproc) {
            let hub = config.inproc.clone().ok_or_else(|| {
                format!(
                    "channel {}: the backend is `inproc`, and this flamelet has its process to itself; use p2p or mqtt",
                    channel.name
                )
            })?;
            transports.inproc = Some(hub);
        }
        if let Some(channel) = on(Backend::Mqtt) {
            let client_id = format!("flame-{}-{}", grant.task, grant.attempt);
            let settings = mqtt_settings(&channel.broker, &config.apiserver, client_id, &config.broker_tls);
            let connected = MqttTransport::connect(&settings, &job, &me).await;
            transports.mqtt = Some(Arc::new(connected.map_err(|error| broker_failed(&error))?));
        }
        if on(Backend::P2p).is_some() {
            let secrets = secrets(grant, &me).map_err(|error| error.to_string())?;
            transports.peers = secrets.len();
            let settings =
                P2pSettings { job, me, incarnation: grant.attempt, listen: config.p2p_listen.clone(), peers: secrets };
            let resolver = Arc::clone(peers);
            let connected = P2pTransport::connect(settings, resolver).await.map_err(|error| error.to_string())?;
            transports.p2p = Some(Arc::new(connected));
        }
        Ok(transports)
    }

    /// What carries channels with this backend.
    pub(crate) fn of(&self, backend: Backend) -> Option<Arc<dyn Transport>> {
        match backend {
            Backend::Mqtt => self.mqtt.clone().map(|transport| transport as Arc<dyn Transport>),
            Backend::P2p => self.p2p.clone().map(|transport| transport as Arc<dyn Transport>),
            Backend::Inproc => self.inproc.clone().map(|transport| transport as Arc<dyn Transport>),
        }
    }

    /// Says goodbye. Leave the channels first.
    pub(crate) async fn shutdown(&self) {
        if let Some(p2p) = &self.p2p {
            p2p.shutdown().await;
        }
        if let Some(mqtt) = &self.mqtt {
            mqtt.shutdown().await;
        }
    }

    /// Tells `say` of every peer that cannot be reached because neither side listens. Resolves, with the reason, when that
    /// is all of them: then nothing can come of the task's peer-to-peer channels.
    pub(crate) async fn cut_off(&self, say: impl Fn(String)) -> String {
        let (Some(p2p), Some(me)) = (&self.p2p, &self.me) else { return std::future::pending().await };
        let mut unreachable = p2p.unreachable();
        let mut told = BTreeSet::new();
        loop {
            let ends = unreachable.borrow_and_update().clone();
            for end in ends.difference(&told) {
                say(no_way(me, end));
            }
            if let Some(end) = ends.first()
                && ends.len() == self.peers
            {
                return no_way(me, end);
            }
            told = ends;
            if unreachable.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// What went wrong with the broker, and where it is set.
fn broker_failed(error: &ChannelError) -> String {
    let fix = match error {
        ChannelError::Unavailable(_) => {
            "fiab's values.yaml or `flame-control --broker` name the broker; it has to be reachable from here"
        }
        _ => {
            "fiab's values.yaml or `flame-control --broker` and `--broker-ca` name the broker, its login and its CA; \
             `flamelet --broker-ca`, `--broker-cert` and `--broker-key` are this agent's own"
        }
    };
    format!("{error}. {fix}")
}

/// Whom the task talks to peer to peer, and what proves each pair to each other: made of the pair's keys on the channels
/// that both are on, which only the two were granted.
fn secrets(grant: &TaskGrant, me: &EndId) -> Result<BTreeMap<EndId, LinkSecret>, crate::grant::GrantError> {
    let mut channels: Vec<&ChannelGrant> =
        grant.channels.iter().filter(|channel| channel.backend == Backend::P2p).collect();
    // Both sides take the keys in this order.
    channels.sort_by(|a, b| (&a.name, &a.group).cmp(&(&b.name, &b.group)));
    let mut shared: BTreeMap<EndId, Vec<&[u8; 32]>> = BTreeMap::new();
    for channel in channels {
        let self_loop = channel.roster.iter().all(|entry| entry.role == grant.role);
        for entry in &channel.roster {
            if entry.end != grant.task && (self_loop || entry.role != grant.role) {
                shared.entry(end(entry.end.as_str())?).or_default().push(entry.key.expose());
            }
        }
    }
    let job = grant.job.to_string();
    let secret = |(peer, keys): (EndId, Vec<&[u8; 32]>)| {
        let secret = LinkSecret::derive(&job, me, &peer, keys);
        (peer, secret)
    };
    Ok(shared.into_iter().map(secret).collect())
}

#[cfg(test)]
mod tests {
    use flame_api::{BrokerAccess, CodeRef, RosterEntry, Secret, SecretKey, TaskKind, TaskResources};
    use flame_channel::p2p::Listen;

    use super::*;

    fn agent(n: u8) -> flame_api::AgentId {
        format!("{n:040x}").parse().unwrap()
    }

    fn channel(me: u8, name: &str, backend: Backend, roster: &[(u8, &str)]) -> ChannelGrant {
        let entry = |(n, role): &(u8, &str)| {
            // As the control plane makes them both sides of a pair get one key, and no two pairs the same.
            let key = SecretKey::new([me ^ n ^ name.as_bytes()[0]; 32]);
            RosterEntry { end: agent(*n), role: (*role).into(), index: 0, key }
        };
        ChannelGrant {
            name: name.into(),
            group: "default".into(),
            backend,
            func_tags: Vec::new(),
            roster: roster.iter().map(entry).collect(),
            key: SecretKey::new([name.as_bytes()[0]; 32]),
            broker: BrokerAccess { url: "mqtt://127.0.0.1:1".into(), username: None, password: None, ca: None },
            encoding: flame_api::ChannelEncoding::default(),
            min_participants: None,
            join_timeout: 1,
        }
    }

    fn grant(task: u8, role: &str, channels: Vec<ChannelGrant>) -> TaskGrant {
        TaskGrant {
            job: "1".repeat(24).parse().unwrap(),
            job_name: String::new(),
            task: agent(task),
            role: role.into(),
            index: 0,
            kind: TaskKind::User,
            attempt: 1,
            seed: 1,
            hyperparameters: serde_json::Map::new(),
            channels,
            code: CodeRef { sha256: String::new(), size: 0, signatures: Vec::new() },
            optimizer: None,
            evaluation_data: None,
            resources: TaskResources::default(),
            deterministic: false,
        }
    }

    fn config(listen: bool) -> AgentConfig {
        AgentConfig {
            id: agent(1),
            key: Secret::new("key"),
            apiserver: "http://127.0.0.1:1".into(),
            notifier: "127.0.0.1:2".into(),
            trust: flame_api::Trust::System,
            datasets: Vec::new(),
            policy: crate::Policy::default(),
            audit: None,
            broker_tls: flame_channel::mqtt::TlsSettings::default(),
            p2p_listen: listen.then(|| Listen { address: "127.0.0.1:0".into(), advertise: None }),
            inproc: None,
        }
    }

    /// A control plane that answers with these peers.
    fn told(peers: Vec<flame_api::notifier::Peer>) -> Arc<Peers> {
        let here = Arc::new(Peers::new("127.0.0.1:2"));
        tokio::spawn({
            let here = Arc::clone(&here);
            async move {
                let announced = here.announcement().wait_for(Option::is_some).await.is_ok();
                if announced {
                    here.hear(&flame_api::notifier::Peers { all: true, peers });
                }
            }
        });
        here
    }

    #[test]
    fn both_sides_of_a_pair_make_the_same_secret_of_the_channels_that_they_share() {
        let (pair, ring) = ([(1, "aggregator"), (2, "trainer"), (3, "trainer")], [(2, "trainer"), (3, "trainer")]);
        let channels = |me: u8, names: &[&str]| -> Vec<ChannelGrant> {
            let roster = |name: &str| if name == "ring" { &ring[..] } else { &pair[..] };
            names.iter().map(|name| channel(me, name, Backend::P2p, roster(name))).collect()
        };
        let of = |n: u8, role: &str, names: &[&str]| {
            let me = end(agent(n).as_str()).unwrap();
            secrets(&grant(n, role, channels(n, names)), &me).unwrap()
        };
        let aggregator = of(1, "aggregator", &["param", "more-param"]);
        let trainer = of(2, "trainer", &["more-param", "ring", "param"]);
        let id = |n: u8| end(agent(n).as_str()).unwrap();
        assert_eq!(aggregator.keys().cloned().collect::<Vec<_>>(), [id(2), id(3)]);
        assert_eq!(trainer.keys().cloned().collect::<Vec<_>>(), [id(1), id(3)]);
        assert!(aggregator[&id(2)] == trainer[&id(1)]);
        assert!(trainer[&id(3)] != trainer[&id(1)]);
    }

    #[tokio::test]
    async fn channels_of_one_backend_share_one_transport_and_a_backend_without_channels_has_none() {
        let roster = [(1, "aggregator"), (2, "trainer")];
        let channels = ["one", "two"].map(|name| channel(1, name, Backend::P2p, &roster)).to_vec();
        let transports =
            Transports::connect(&grant(1, "aggregator", channels), &config(true), &told(Vec::new())).await.unwrap();
        let (one, two) = (transports.of(Backend::P2p).unwrap(), transports.of(Backend::P2p).unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        // No broker was asked for: there is none at the address of the grant.
        assert!(transports.of(Backend::Mqtt).is_none() && transports.of(Backend::Inproc).is_none());
        transports.shutdown().await;

        let channels = vec![channel(1, "memory", Backend::Inproc, &roster)];
        let alone =
            Transports::connect(&grant(1, "aggregator", channels.clone()), &config(true), &told(Vec::new())).await;
        let Err(reason) = alone else { panic!("a process of its own shares no memory") };
        assert!(reason.contains("channel memory") && reason.contains("p2p or mqtt"), "{reason}");
        let hub = Arc::new(InprocHub::new());
        let config = AgentConfig { inproc: Some(hub), ..config(true) };
        let transports =
            Transports::connect(&grant(1, "aggregator", channels), &config, &told(Vec::new())).await.unwrap();
        assert!(transports.of(Backend::Inproc).is_some_and(|hub| hub.shares_memory()));
    }

    #[tokio::test]
    async fn who_can_reach_none_of_its_peers_says_so_with_both_ends_and_the_fix() {
        let hidden = flame_api::notifier::Peer { end: agent(1).to_string(), here: true, address: String::new() };
        let channels = vec![channel(2, "param", Backend::P2p, &[(1, "aggregator"), (2, "trainer")])];
        let transports =
            Transports::connect(&grant(2, "trainer", channels), &config(false), &told(vec![hidden])).await.unwrap();
        let said = std::sync::Mutex::new(Vec::new());
        let reason = transports.cut_off(|text| said.lock().unwrap().push(text)).await;
        assert_eq!(*said.lock().unwrap(), *std::slice::from_ref(&reason));
        for part in [agent(1).as_str(), agent(2).as_str(), "--p2p-listen HOST:PORT"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
}
