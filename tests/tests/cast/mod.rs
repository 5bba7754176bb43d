//! Guests that meet over the in-process transport on the real sandbox. Where a role needs a partner that is no guest, the test plays
//! it on a channel of its own.

#![allow(dead_code, reason = "each test needs some of it")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use flame_channel::inproc::InprocHub;
use flame_channel::{Channel, ChannelConfig, ChannelEncoding, ChannelKeys, ChannelLimits, Peer, Transport};
use flame_model::{EndId, Metric, Model, Tensor, safetensors};
use flame_sandbox::{
    ChannelSpec, Egress, Level, Limits, OptimizerSpec, Outcome, Sandbox, SandboxConfig, SinkError, TaskSink, TaskSpec,
};
use flame_tests::DEADLINE;
use tokio_util::sync::CancellationToken;

/// What a task said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) metrics: Mutex<Vec<(u64, BTreeMap<String, f64>)>>,
    pub(crate) models: Mutex<BTreeMap<String, Bytes>>,
    /// Nobody stores what it is told.
    unheard: bool,
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

    fn unstored_metrics(&self) -> Vec<(u64, Vec<Metric>)> {
        let rows = self.metrics.lock().unwrap();
        let row = |(round, values): &(u64, BTreeMap<String, f64>)| {
            (*round, values.iter().map(|(name, value)| Metric::new(name, *value)).collect())
        };
        rows.iter().filter(|_| self.unheard).map(row).collect()
    }

    async fn publish(&self, name: &str, file: Bytes) -> Result<(), SinkError> {
        self.models.lock().unwrap().insert(name.to_owned(), file);
        Ok(())
    }
}

impl Said {
    /// The published model.
    pub(crate) fn model(&self) -> Model {
        let models = self.models.lock().unwrap();
        safetensors::from_bytes(models.get("model").expect("a model was published")).unwrap().0
    }

    /// The recorded values of `name`, in the order of their rounds.
    pub(crate) fn values(&self, name: &str) -> Vec<f64> {
        let mut rounds = self.metrics.lock().unwrap().clone();
        rounds.sort_by_key(|(round, _)| *round);
        rounds.iter().filter_map(|(_, values)| values.get(name).copied()).collect()
    }
}

/// A channel of the stage: its name, its two roles, and each role's function tag.
pub(crate) struct Link(pub(crate) &'static str, pub(crate) [&'static str; 2], pub(crate) [&'static str; 2]);

/// Who takes part and how they are linked.
pub(crate) struct Stage {
    pub(crate) cast: Vec<Peer>,
    links: Vec<Link>,
    hub: Arc<InprocHub>,
    sandbox: Arc<Sandbox>,
    /// What the job says of aggregation.
    pub(crate) optimizer: OptimizerSpec,
    pub(crate) selector: Option<String>,
    pub(crate) deterministic: bool,
    /// Where tasks keep their checkpoints.
    pub(crate) state_dir: Option<PathBuf>,
    /// Of the next run of a task.
    pub(crate) attempt: u32,
    /// The control plane is away: nothing that is recorded is stored.
    pub(crate) unheard: bool,
}

impl Stage {
    pub(crate) fn new(roles: &[(&str, u32)], links: Vec<Link>) -> Self {
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
            optimizer: OptimizerSpec::default(),
            selector: None,
            deterministic: false,
            state_dir: None,
            attempt: 1,
            unheard: false,
        }
    }

    pub(crate) fn of_role(&self, role: &str) -> Vec<Peer> {
        self.cast.iter().filter(|peer| peer.role == role).cloned().collect()
    }

    fn config(&self, link: &Link, me: &Peer) -> ChannelConfig {
        let roster: Vec<Peer> = self.cast.iter().filter(|peer| link.1.contains(&peer.role.as_str())).cloned().collect();
        ChannelConfig {
            job: "job".into(),
            name: link.0.into(),
            group: "default".into(),
            me: me.id.clone(),
            incarnation: self.attempt,
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
    pub(crate) async fn play(&self, me: &Peer) -> Channel {
        Channel::join(self.config(&self.links[0], me), self.transport()).await.unwrap()
    }

    /// A guest plays `me`.
    pub(crate) fn run(
        &self,
        guest: &std::path::Path,
        me: &Peer,
        hyper: &[(&str, &str)],
    ) -> (Arc<Said>, tokio::task::JoinHandle<Outcome>) {
        let said = Arc::new(Said { unheard: self.unheard, ..Said::default() });
        let component = std::fs::read(guest).unwrap();
        let prepared = self.sandbox.prepare_as(&component, &me.role, self.deterministic).unwrap();
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
            attempt: self.attempt,
            seed: 1,
            hyperparameters: hyper.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            channels: channels.collect(),
            datasets: Vec::new(),
            evaluation_data: None,
            optimizer: self.optimizer.clone(),
            selector: self.selector.clone(),
            state_dir: self.state_dir.clone(),
            limits: Limits::default(),
            egress: Egress::default(),
            auditor: None,
            deterministic: self.deterministic,
            sink: said.clone(),
            stop: CancellationToken::new(),
        };
        let sandbox = Arc::clone(&self.sandbox);
        (said, tokio::spawn(async move { sandbox.run(prepared, spec).await }))
    }
}

pub(crate) async fn completes(task: tokio::task::JoinHandle<Outcome>) {
    let outcome = tokio::time::timeout(DEADLINE, task).await.expect("it ends in time").unwrap();
    assert_eq!(outcome, Outcome::Completed);
}

pub(crate) fn constant(value: f32, len: usize) -> Model {
    let mut model = Model::new();
    model.insert("w", Tensor::from_f32(&[len as u64], &vec![value; len]).unwrap());
    model
}

pub(crate) fn first_value(model: &Model) -> f32 {
    model.get("w").unwrap().read_f32(0, 1).unwrap()[0]
}
