//! Roles that are nothing like federated averaging, on the real sandbox: the WIT package fits them.
//!
//! The guests under `tests/guests` meet over the in-process transport. Where a role needs a partner that is no guest, the
//! test plays it on a channel of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flame_channel::inproc::InprocHub;
use flame_channel::{Channel, ChannelConfig, ChannelEncoding, ChannelKeys, ChannelLimits, Peer, Transport};
use flame_model::{EndId, Form, Message, Metric, Model, Tensor, safetensors};
use flame_sandbox::{
    ChannelSpec, Egress, Level, Limits, OptimizerSpec, Outcome, Sandbox, SandboxConfig, SinkError, TaskSink, TaskSpec,
};
use flame_tests::{DEADLINE, guest};
use tokio_util::sync::CancellationToken;

/// What a task said.
#[derive(Debug, Default)]
struct Said {
    metrics: Mutex<Vec<(u64, BTreeMap<String, f64>)>>,
    models: Mutex<BTreeMap<String, Bytes>>,
}

#[async_trait]
impl TaskSink for Said {
    fn log(&self, level: Level, text: String) {
        eprintln!("{level:?} {text}");
    }

    fn progress(&self, _: u64, _: u64) {}

    async fn metrics(&self, round: u64, values: Vec<Metric>) -> Result<(), SinkError> {
        let values = values.into_iter().map(|metric| (metric.name, metric.value)).collect();
        self.metrics.lock().unwrap().push((round, values));
        Ok(())
    }

    async fn publish(&self, name: &str, file: Bytes) -> Result<(), SinkError> {
        self.models.lock().unwrap().insert(name.to_owned(), file);
        Ok(())
    }
}

impl Said {
    /// The recorded values of `name`, in the order of their rounds.
    fn values(&self, name: &str) -> Vec<f64> {
        let mut rounds = self.metrics.lock().unwrap().clone();
        rounds.sort_by_key(|(round, _)| *round);
        rounds.iter().filter_map(|(_, values)| values.get(name).copied()).collect()
    }
}

/// A channel of the stage: its name, its two roles, and each role's function tag.
struct Link(&'static str, [&'static str; 2], [&'static str; 2]);

/// Who takes part and how they are linked.
struct Stage {
    cast: Vec<Peer>,
    links: Vec<Link>,
    hub: Arc<InprocHub>,
    sandbox: Arc<Sandbox>,
}

impl Stage {
    fn new(roles: &[(&str, u32)], links: Vec<Link>) -> Self {
        let members = roles.iter().flat_map(|(role, count)| (0..*count).map(move |index| (*role, index)));
        let peer = |(at, (role, index)): (u32, (&str, u32))| Peer {
            id: EndId::new(&format!("{at:02x}{:038x}", 0)).unwrap(),
            role: role.to_owned(),
            index,
        };
        let sandbox = Sandbox::new(&SandboxConfig::default()).unwrap();
        Self {
            cast: (1..).zip(members).map(peer).collect(),
            links,
            hub: InprocHub::new().into(),
            sandbox: sandbox.into(),
        }
    }

    fn of_role(&self, role: &str) -> Vec<Peer> {
        self.cast.iter().filter(|peer| peer.role == role).cloned().collect()
    }

    fn config(&self, link: &Link, me: &Peer) -> ChannelConfig {
        let roster: Vec<Peer> = self.cast.iter().filter(|peer| link.1.contains(&peer.role.as_str())).cloned().collect();
        ChannelConfig {
            job: "job".into(),
            name: link.0.into(),
            group: "default".into(),
            me: me.id.clone(),
            incarnation: 1,
            keys: ChannelKeys::of_secret(&[7; 32], &me.id, &roster),
            roster,
            encoding: ChannelEncoding::default(),
            limits: ChannelLimits::default(),
        }
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.hub.clone()
    }

    /// The test itself plays `me` on the only channel.
    async fn play(&self, me: &Peer) -> Channel {
        Channel::join(self.config(&self.links[0], me), self.transport()).await.unwrap()
    }

    /// A guest plays `me`.
    fn run(
        &self,
        guest: &std::path::Path,
        me: &Peer,
        hyper: &[(&str, &str)],
    ) -> (Arc<Said>, tokio::task::JoinHandle<Outcome>) {
        let said = Arc::new(Said::default());
        let component = std::fs::read(guest).unwrap();
        let prepared = self.sandbox.prepare(&component, &me.role).unwrap();
        let mine = self.links.iter().filter(|link| link.1.contains(&me.role.as_str()));
        let channels = mine.map(|link| ChannelSpec {
            config: self.config(link, me),
            func_tags: link
                .1
                .iter()
                .zip(link.2)
                .filter(|(role, _)| **role == me.role)
                .map(|(_, tag)| tag.into())
                .collect(),
            min_participants: None,
            join_timeout: DEADLINE,
            transport: self.transport(),
        });
        let spec = TaskSpec {
            task: me.id.clone(),
            role: me.role.clone(),
            attempt: 1,
            seed: 1,
            hyperparameters: hyper.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            channels: channels.collect(),
            datasets: Vec::new(),
            evaluation_data: None,
            optimizer: OptimizerSpec::default(),
            limits: Limits::default(),
            egress: Egress::default(),
            auditor: None,
            deterministic: false,
            sink: said.clone(),
            stop: CancellationToken::new(),
        };
        let sandbox = Arc::clone(&self.sandbox);
        (said, tokio::spawn(async move { sandbox.run(prepared, spec).await }))
    }
}

async fn completes(task: tokio::task::JoinHandle<Outcome>) {
    let outcome = tokio::time::timeout(DEADLINE, task).await.expect("it ends in time").unwrap();
    assert_eq!(outcome, Outcome::Completed);
}

fn constant(value: f32, len: usize) -> Model {
    let mut model = Model::new();
    model.insert("w", Tensor::from_f32(&[len as u64], &vec![value; len]).unwrap());
    model
}

fn first_value(model: &Model) -> f32 {
    model.get("w").unwrap().read_f32(0, 1).unwrap()[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_reduces_without_an_aggregator() {
    let ring = guest("ring-member");
    let stage = Stage::new(&[("trainer", 3)], vec![Link("ring", ["trainer", "trainer"], ["ring_allreduce"; 2])]);
    let members: Vec<_> = stage.of_role("trainer").iter().map(|me| stage.run(&ring, me, &[("rounds", "2")])).collect();
    for (said, task) in members {
        completes(task).await;
        // The mean of 1, 2 and 3, and of three times that.
        assert_eq!(said.values("first"), [2.0, 2.0]);
        assert_eq!(said.values("last"), [2.0, 2.0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_pairs_trainers_with_middle_aggregators() {
    let component = guest("coordinator");
    let links = vec![
        Link("mid", ["coordinator", "middle-aggregator"], ["coordinateWithMidAgg", "coordinate"]),
        Link("train", ["coordinator", "trainer"], ["coordinateWithTrainer", "coordinate"]),
    ];
    let stage = Stage::new(&[("coordinator", 1), ("middle-aggregator", 2), ("trainer", 3)], links);
    let tasks: Vec<_> =
        stage.cast.iter().map(|me| (me.role.clone(), stage.run(&component, me, &[("rounds", "2")]))).collect();
    let mut partners_of_mids = 0.0;
    for (role, (said, task)) in tasks {
        completes(task).await;
        match role.as_str() {
            "coordinator" => assert_eq!((said.values("trainers"), said.values("mids")), (vec![3.0; 2], vec![2.0; 2])),
            "trainer" => assert_eq!(said.values("partners"), [1.0, 1.0]),
            _ => partners_of_mids += said.values("partners").iter().sum::<f64>(),
        }
    }
    // Three trainers in each of two rounds.
    assert!((partners_of_mids - 6.0).abs() < 1e-9, "{partners_of_mids}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_aggregator_folds_what_comes() {
    let stage = Stage::new(
        &[("aggregator", 1), ("trainer", 2)],
        vec![Link("param", ["aggregator", "trainer"], ["distribute", "fetch"])],
    );
    let aggregator = stage.of_role("aggregator").remove(0);
    let mut trainers = Vec::new();
    for me in stage.of_role("trainer") {
        let channel = stage.play(&me).await;
        let aggregator = aggregator.id.clone();
        trainers.push(tokio::spawn(async move {
            loop {
                let received = channel.recv(&aggregator, DEADLINE).await.unwrap();
                if received.message.kind == "end-of-training" {
                    return channel.leave().await.unwrap();
                }
                let base = flame_model::BaseRef {
                    sender: received.sender.clone(),
                    message: received.id,
                    round: received.message.round,
                };
                let update = Message {
                    kind: "update".into(),
                    round: received.message.round,
                    form: Form::Delta,
                    base: Some(base),
                    samples: 5,
                    models: vec![("model".into(), constant(1.0, 4))],
                    ..Message::default()
                };
                channel.send(&[received.sender], update).await.unwrap();
            }
        }));
    }
    let (said, task) = stage.run(&guest("fedbuff-aggregator"), &aggregator, &[("rounds", "3"), ("goal", "2")]);
    completes(task).await;
    for trainer in trainers {
        tokio::time::timeout(DEADLINE, trainer).await.unwrap().unwrap();
    }
    assert_eq!(said.values("folded"), [2.0; 3]);
    let file = said.models.lock().unwrap().get("model").cloned().unwrap();
    let (model, _) = safetensors::from_bytes(&file).unwrap();
    // Each version adds the mean of two deltas of one, a stale one by less.
    let value = first_value(&model);
    assert!((2.0..=3.0).contains(&value), "{value}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaffold_trainer_sends_weights_and_control() {
    let stage = Stage::new(
        &[("aggregator", 1), ("trainer", 1)],
        vec![Link("param", ["aggregator", "trainer"], ["distribute", "fetch"])],
    );
    let channel = stage.play(&stage.of_role("aggregator")[0]).await;
    let (_, task) = stage.run(&guest("scaffold-trainer"), &stage.of_role("trainer")[0], &[]);
    let ends = channel.await_ends(1, DEADLINE).await.unwrap();
    let weights = Message {
        kind: "weights".into(),
        round: 1,
        models: vec![("model".into(), constant(0.0, 3)), ("control".into(), constant(0.0, 3))],
        ..Message::default()
    };
    let sent = channel.send(&ends, weights).await.unwrap();
    let update = channel.recv(&ends[0], DEADLINE).await.unwrap().message;
    assert_eq!((update.form, update.samples), (Form::Delta, 1));
    assert_eq!(update.base.as_ref().map(|base| (base.message, base.round)), Some((sent.id(), 1)));
    // Two steps of rate 1/2 towards 1: 1/2, then 3/4. The control moves by −(3/4)/(2·1/2).
    assert!((first_value(update.model("model").unwrap()) - 0.75).abs() < 1e-6);
    assert!((first_value(update.model("control").unwrap()) + 0.75).abs() < 1e-6);
    let end = Message { kind: "end-of-training".into(), round: 1, ..Message::default() };
    channel.broadcast(end).await.unwrap().wait(Duration::from_secs(30)).await.unwrap();
    completes(task).await;
}

#[test]
fn the_agents_own_admission_refuses_sockets_by_name() {
    let sandbox = Sandbox::new(&SandboxConfig::default()).unwrap();
    let component = std::fs::read(guest("sockets")).unwrap();
    let refused = sandbox.prepare(&component, "trainer").unwrap_err().to_string();
    assert!(refused.contains("wasi:sockets/"), "{refused}");
}
