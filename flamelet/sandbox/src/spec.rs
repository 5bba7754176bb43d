//! What the host knows of a task before it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flame_aggregate::OptionValue;
use flame_channel::{ChannelConfig, Transport};
use flame_model::EndId;
use tokio_util::sync::CancellationToken;

use crate::{Auditor, Dataset, Egress, Limits, TaskSink};

/// A task: what the job says to it and what the participant grants to it.
#[derive(Clone)]
pub struct TaskSpec {
    /// The task, and its end on channels.
    pub task: EndId,
    /// Its role in the schema.
    pub role: String,
    /// From 1; higher after a restart.
    pub attempt: u32,
    /// The worker's seed.
    pub seed: u64,
    /// Key to JSON text.
    pub hyperparameters: Vec<(String, String)>,
    /// Channels of the role.
    pub channels: Vec<ChannelSpec>,
    /// Data sets that the participant grants.
    pub datasets: Vec<Arc<Dataset>>,
    /// The data set that the job names for evaluation; the guest hears of it only where it is granted.
    pub evaluation_data: Option<String>,
    /// The aggregation rule that the job names.
    pub optimizer: OptimizerSpec,
    /// The selector that the job names, as JSON text with the fields `sort` and `kwargs`.
    pub selector: Option<String>,
    /// Upper bounds.
    pub limits: Limits,
    /// What may leave.
    pub egress: Egress,
    /// Keeps a record of what leaves.
    pub auditor: Option<Arc<dyn Auditor>>,
    /// Folder for the task's checkpoint; none: it keeps none.
    pub state_dir: Option<PathBuf>,
    /// Same component, data and messages give the same bytes: the job's wish.
    pub deterministic: bool,
    /// Takes logs, metrics and models.
    pub sink: Arc<dyn TaskSink>,
    /// Cancelled when the job wants the task to end.
    pub stop: CancellationToken,
}

/// A channel that the task may join.
#[derive(Clone)]
pub struct ChannelSpec {
    /// Name, group, roster, key and limits.
    pub config: ChannelConfig,
    /// Function tags of this role on the channel.
    pub func_tags: Vec<String>,
    /// Ends that a round needs; none: all of the other role's.
    pub min_participants: Option<u32>,
    /// How long to wait for ends that are away.
    pub join_timeout: Duration,
    /// What carries its packets.
    pub transport: Arc<dyn Transport>,
}

/// An aggregation rule by name, with options by their names in the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerSpec {
    /// Name of the rule.
    pub rule: String,
    /// Its options.
    pub options: Vec<(String, OptionValue)>,
}

impl OptimizerSpec {
    /// The rule and its options as JSON text, with the job file's words: `{"sort": …, "kwargs": {…}}`.
    pub(crate) fn to_json(&self) -> String {
        let value = |value: &OptionValue| match value {
            OptionValue::Number(number) => serde_json::json!(number),
            OptionValue::Text(text) => serde_json::json!(text),
            OptionValue::Flag(flag) => serde_json::json!(flag),
        };
        let kwargs: serde_json::Map<String, serde_json::Value> =
            self.options.iter().map(|(name, option)| (name.clone(), value(option))).collect();
        serde_json::json!({"sort": self.rule, "kwargs": kwargs}).to_string()
    }
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        Self { rule: "fedavg".into(), options: Vec::new() }
    }
}
