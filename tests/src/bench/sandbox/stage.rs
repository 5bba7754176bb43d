//! A guest on the real sandbox, with a sink that looks at the clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use flame_channel::inproc::InprocHub;
use flame_channel::{ChannelConfig, ChannelEncoding, ChannelKeys, ChannelLimits, Peer};
use flame_model::{EndId, Metric};
use flame_sandbox::{
    ChannelSpec, Dataset, Egress, Level, Limits, OptimizerSpec, Outcome, Prepared, Sandbox, SinkError, TaskSink,
    TaskSpec, Usage,
};
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_mins(5);

/// When a guest said what, and what it used.
#[derive(Debug, Default)]
pub(super) struct Watch {
    marks: Mutex<Vec<(String, Instant)>>,
    usage: Mutex<Usage>,
}

#[async_trait]
impl TaskSink for Watch {
    fn log(&self, _: Level, text: String) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).push((text, Instant::now()));
    }

    fn progress(&self, _: u64, _: u64) {}

    async fn metrics(&self, _: u64, _: Vec<Metric>) -> Result<(), SinkError> {
        Ok(())
    }

    async fn publish(&self, _: &str, _: Bytes) -> Result<(), SinkError> {
        Ok(())
    }

    fn usage(&self, usage: &Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage.clone();
    }
}

impl Watch {
    /// When the guest said `what` first.
    pub(super) fn first(&self, what: &str) -> Instant {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.iter().find(|(said, _)| said == what).expect("the guest said it").1
    }

    /// Seconds between pairs of lines, by what they say.
    pub(super) fn pairs(&self) -> BTreeMap<String, Vec<f64>> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open: BTreeMap<&str, Instant> = BTreeMap::new();
        let mut pairs: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (what, at) in marks.iter() {
            match open.remove(what.as_str()) {
                Some(began) => pairs.entry(what.clone()).or_default().push((*at - began).as_secs_f64()),
                None => drop(open.insert(what, *at)),
            }
        }
        pairs
    }

    pub(super) fn cpu(&self) -> f64 {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).cpu.as_secs_f64()
    }
}

/// Who is on the stage: one end a role.
pub(super) struct Stage {
    hub: Arc<InprocHub>,
    cast: Vec<Peer>,
}

impl Stage {
    pub(super) fn new(roles: &[&str]) -> Self {
        let peer =
            |(at, role): (u32, &&str)| Peer { id: super::super::ours::id(at), role: (*role).to_owned(), index: 0 };
        Self { hub: Arc::new(InprocHub::new()), cast: (0..).zip(roles).map(peer).collect() }
    }

    /// What the guest in `role` is told.
    pub(super) fn spec(
        &self,
        role: &str,
        hyper: &[(&str, String)],
        data: Vec<Arc<Dataset>>,
        watch: &Arc<Watch>,
    ) -> TaskSpec {
        let me: &EndId = &self.cast.iter().find(|peer| peer.role == role).expect("a role of the stage").id;
        let config = ChannelConfig {
            job: "bench".into(),
            name: "param-channel".into(),
            group: "default".into(),
            me: me.clone(),
            incarnation: 1,
            keys: ChannelKeys::of_secret(&[7; 32], me, &self.cast),
            roster: self.cast.clone(),
            encoding: ChannelEncoding::default(),
            limits: ChannelLimits::default(),
        };
        let channel = ChannelSpec {
            config,
            func_tags: Vec::new(),
            min_participants: None,
            join_timeout: LONG,
            transport: self.hub.clone(),
        };
        TaskSpec {
            task: me.clone(),
            role: role.to_owned(),
            attempt: 1,
            seed: 1,
            hyperparameters: hyper.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            channels: vec![channel],
            datasets: data,
            evaluation_data: None,
            optimizer: OptimizerSpec::default(),
            selector: None,
            state_dir: None,
            limits: Limits { log_lines_per_second: 1_000_000, ..Limits::default() },
            egress: Egress::default(),
            auditor: None,
            deterministic: false,
            sink: watch.clone(),
            stop: CancellationToken::new(),
        }
    }
}

/// Runs a guest to its end, which has to be a good one.
pub(super) async fn run(sandbox: &Arc<Sandbox>, prepared: Prepared, spec: TaskSpec) {
    let outcome = tokio::time::timeout(LONG, sandbox.run(prepared, spec)).await.expect("it ends in time");
    assert_eq!(outcome, Outcome::Completed);
}

/// A component's bytes.
pub(super) fn component(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
