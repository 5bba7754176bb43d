//! A trainer in the real sandbox, and the test in the aggregator's place, over the in-process transport.

#![allow(dead_code, reason = "each test needs some of it")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use flame_channel::inproc::InprocHub;
use flame_channel::{Channel, ChannelConfig, ChannelEncoding, ChannelKeys, ChannelLimits, Peer, Received};
use flame_model::{EndId, Message, Metric, Model, Tensor};
use flame_sandbox::{
    Auditor, ChannelSpec, Dataset, Departure, Egress, Level, Limits, OptimizerSpec, Outcome, Prepared, Route, Sandbox,
    SandboxConfig, SinkError, TaskSink, TaskSpec, Usage,
};
use flame_tests::{DEADLINE, guest};
use tokio_util::sync::CancellationToken;

/// What a task said and what left it.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) models: Mutex<Vec<(String, Bytes)>>,
    pub(crate) metrics: Mutex<Vec<Vec<Metric>>>,
    pub(crate) usage: Mutex<Usage>,
    pub(crate) departed: Mutex<Vec<Departed>>,
    /// The sink panics at the first progress.
    pub(crate) panics: bool,
    /// The auditor's disk is full.
    pub(crate) unrecorded: bool,
}

/// What the auditor heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Departed {
    pub(crate) route: String,
    pub(crate) form: String,
    pub(crate) samples: u64,
    pub(crate) weights: u64,
    pub(crate) norm: Option<f64>,
    pub(crate) norm_sent: Option<f64>,
    pub(crate) blake3: [u8; 32],
}

#[async_trait]
impl TaskSink for Said {
    fn log(&self, level: Level, text: String) {
        eprintln!("{level:?} {text}");
        self.lines.lock().unwrap().push(text);
    }

    fn progress(&self, round: u64, _: u64) {
        assert!(!self.panics, "the sink is broken in round {round}");
        self.lines.lock().unwrap().push(format!("progress {round}"));
    }

    async fn metrics(&self, _: u64, values: Vec<Metric>) -> Result<(), SinkError> {
        self.metrics.lock().unwrap().push(values);
        Ok(())
    }

    async fn publish(&self, name: &str, file: Bytes) -> Result<(), SinkError> {
        self.models.lock().unwrap().push((name.to_owned(), file));
        Ok(())
    }

    fn usage(&self, usage: &Usage) {
        *self.usage.lock().unwrap() = usage.clone();
    }
}

impl Auditor for Said {
    fn departs(&self, departure: &Departure<'_>) -> Result<(), String> {
        if self.unrecorded {
            return Err("the disk is full".into());
        }
        let route = match departure.route {
            Route::Channel(name, ends) => {
                format!("{name} {}", ends.map_or("all".into(), |ends| ends.len().to_string()))
            }
            Route::Result(name) => format!("result {name}"),
            Route::Metrics => "metrics".into(),
        };
        self.departed.lock().unwrap().push(Departed {
            route,
            form: departure.form.into(),
            samples: departure.samples,
            weights: departure.weights,
            norm: departure.norm,
            norm_sent: departure.norm_sent,
            blake3: departure.blake3,
        });
        Ok(())
    }
}

impl Said {
    /// The first line that begins with `what` and a colon, without them.
    pub(crate) fn of(&self, what: &str) -> String {
        self.all(what).first().cloned().unwrap_or_else(|| panic!("nothing of `{what}` was said"))
    }

    /// All of them.
    pub(crate) fn all(&self, what: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter_map(|line| line.strip_prefix(what)?.strip_prefix(": ").map(ToOwned::to_owned)).collect()
    }

    /// What the auditor heard of models.
    pub(crate) fn models_departed(&self) -> Vec<Departed> {
        self.departed.lock().unwrap().iter().filter(|departed| !departed.form.is_empty()).cloned().collect()
    }
}

/// One sandbox, and channels between an aggregator and a trainer.
pub(crate) struct Stage {
    pub(crate) sandbox: Arc<Sandbox>,
    hub: Arc<InprocHub>,
    aggregator: Peer,
    trainer: Peer,
    component: Vec<u8>,
}

/// How the trainer runs.
#[derive(Default)]
pub(crate) struct Terms {
    pub(crate) egress: Egress,
    pub(crate) limits: Limits,
    pub(crate) deterministic: bool,
    pub(crate) said: Said,
    /// Whether an auditor listens.
    pub(crate) audited: bool,
    /// Cancelled when the job is to end.
    pub(crate) stop: CancellationToken,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let peer = |digit: &str, role: &str| Peer {
            id: EndId::new(&digit.repeat(40)).unwrap(),
            role: role.to_owned(),
            index: 0,
        };
        Self {
            sandbox: Sandbox::new(&SandboxConfig::default()).unwrap().into(),
            hub: InprocHub::new().into(),
            aggregator: peer("a", "aggregator"),
            trainer: peer("b", "trainer"),
            component: std::fs::read::<&Path>(guest("probe").as_ref()).unwrap(),
        }
    }

    /// The same sandbox with channels on which nobody said anything yet.
    pub(crate) fn anew(&self) -> Self {
        Self {
            sandbox: Arc::clone(&self.sandbox),
            hub: InprocHub::new().into(),
            aggregator: self.aggregator.clone(),
            trainer: self.trainer.clone(),
            component: self.component.clone(),
        }
    }

    fn config(&self, name: &str, me: &Peer) -> ChannelConfig {
        let roster = vec![self.aggregator.clone(), self.trainer.clone()];
        // A full outbox is full at once.
        let limits = ChannelLimits { send_wait: std::time::Duration::from_millis(100), ..ChannelLimits::default() };
        ChannelConfig {
            job: "job".into(),
            name: name.into(),
            group: "default".into(),
            me: me.id.clone(),
            incarnation: 1,
            keys: ChannelKeys::of_secret(&[7; 32], &me.id, &roster),
            roster,
            encoding: ChannelEncoding::default(),
            limits,
        }
    }

    /// The aggregator's end of the channel.
    pub(crate) async fn aggregator(&self) -> Aggregator {
        let channel = Channel::join(self.config("param", &self.aggregator), self.hub.clone()).await.unwrap();
        Aggregator { channel, trainer: self.trainer.id.clone() }
    }

    /// Runs the trainer with these hyperparameters.
    pub(crate) fn trains(&self, hyper: &[(&str, &str)], terms: Terms) -> (Arc<Said>, tokio::task::JoinHandle<Outcome>) {
        let prepared = self.sandbox.prepare_as(&self.component, "trainer", terms.deterministic).unwrap();
        self.runs(prepared, "trainer", hyper, terms)
    }

    /// Runs any component in one of the two roles.
    pub(crate) fn runs(
        &self,
        prepared: Prepared,
        role: &str,
        hyper: &[(&str, &str)],
        terms: Terms,
    ) -> (Arc<Said>, tokio::task::JoinHandle<Outcome>) {
        let said = Arc::new(terms.said);
        let me = if role == "trainer" { &self.trainer } else { &self.aggregator };
        let channel = |name: &str| ChannelSpec {
            config: self.config(name, me),
            func_tags: match (name, role) {
                ("param", "trainer") => vec!["fetch".into(), "upload".into()],
                ("param", _) => vec!["distribute".into(), "aggregate".into()],
                _ => Vec::new(),
            },
            min_participants: None,
            join_timeout: DEADLINE,
            transport: self.hub.clone(),
        };
        let rows = Tensor::from_f32(&[5, 1], &[0.0; 5]).unwrap();
        let data = Dataset::new("data".into(), [("rows".to_owned(), rows)].into_iter().collect()).unwrap();
        let auditor: Arc<dyn Auditor> = said.clone();
        let spec = TaskSpec {
            task: me.id.clone(),
            role: role.into(),
            attempt: 1,
            seed: 1,
            hyperparameters: hyper.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            channels: vec![channel("param"), channel("other")],
            datasets: vec![Arc::new(data)],
            evaluation_data: None,
            optimizer: OptimizerSpec::default(),
            selector: None,
            state_dir: None,
            limits: terms.limits,
            egress: terms.egress,
            auditor: terms.audited.then_some(auditor),
            deterministic: terms.deterministic,
            sink: said.clone(),
            stop: terms.stop,
        };
        let sandbox = Arc::clone(&self.sandbox);
        (said, tokio::spawn(async move { sandbox.run(prepared, spec).await }))
    }
}

/// The test's own end.
pub(crate) struct Aggregator {
    channel: Channel,
    trainer: EndId,
}

impl Aggregator {
    /// Sends a base and takes all that comes back for it.
    pub(crate) async fn round(&self, round: u64, base: &Model) -> Vec<Message> {
        self.begin(round, base).await;
        let mut came = Vec::new();
        loop {
            let Received { message, .. } = self.channel.recv(&self.trainer, DEADLINE).await.unwrap();
            if message.kind == "done" {
                return came;
            }
            came.push(message);
        }
    }

    /// The next message, if one is there within a moment.
    pub(crate) async fn next(&self) -> Option<Message> {
        let next = self.channel.recv(&self.trainer, std::time::Duration::from_millis(20)).await;
        next.ok().map(|received| received.message)
    }

    /// Says anything to the trainer, if it is there and has room.
    pub(crate) async fn says(&self, message: Message) {
        let _ = self.channel.send(std::slice::from_ref(&self.trainer), message).await;
    }

    /// Sends a base.
    pub(crate) async fn begin(&self, round: u64, base: &Model) {
        self.channel.await_ends(1, DEADLINE).await.unwrap();
        let weights = Message {
            kind: "weights".into(),
            round,
            models: vec![("model".into(), base.clone())],
            ..Message::default()
        };
        self.channel.send(std::slice::from_ref(&self.trainer), weights).await.unwrap();
    }

    /// Ends the training.
    pub(crate) async fn end(&self) {
        let end = Message { kind: "end-of-training".into(), ..Message::default() };
        self.channel.send(std::slice::from_ref(&self.trainer), end).await.unwrap();
    }
}

/// How the task ends, in time.
pub(crate) async fn ends(task: tokio::task::JoinHandle<Outcome>) -> Outcome {
    tokio::time::timeout(DEADLINE, task).await.expect("it ends in time").unwrap()
}

/// A model of one tensor.
pub(crate) fn constant(value: f32, len: usize) -> Model {
    let mut model = Model::new();
    model.insert("w", Tensor::from_f32(&[len as u64], &vec![value; len]).unwrap());
    model
}
