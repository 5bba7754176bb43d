//! What passes between the control plane and an agent over REST.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AgentId, ChannelEncoding, JobId, Secret, SecretKey, TaskKind};

/// Answer to `POST /v1/agent/grant`: everything that a flamelet needs to run its task under one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskGrant {
    /// The job.
    pub job: JobId,
    /// The job's name; may be empty.
    pub job_name: String,
    /// The task, and its end on channels.
    pub task: AgentId,
    /// Role in the schema.
    pub role: String,
    /// Position within the role, from 0.
    pub index: u32,
    /// Who brings the compute.
    pub kind: TaskKind,
    /// Raised by every grant, from 1. Everything that the agent sends names it.
    pub attempt: u32,
    /// The worker's seed: a hash of the job's seed, role, group and index.
    pub seed: u64,
    /// The job's hyperparameters as the job file gives them.
    pub hyperparameters: serde_json::Map<String, serde_json::Value>,
    /// Channels of this role.
    pub channels: Vec<ChannelGrant>,
    /// The component to run.
    pub code: CodeRef,
    /// The job's aggregation rule, where it names one.
    pub optimizer: Option<OptimizerChoice>,
    /// How an aggregator selects ends, where the job says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<OptimizerChoice>,
    /// The data set that the job names for evaluation.
    pub evaluation_data: Option<String>,
    /// What the job asks for this role.
    pub resources: TaskResources,
    /// Same component, data and messages must give the same bytes.
    #[serde(default)]
    pub deterministic: bool,
}

/// One channel of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelGrant {
    /// Name in the schema.
    pub name: String,
    /// The group that this task is in.
    pub group: String,
    /// What carries its messages.
    pub backend: Backend,
    /// Function tags of this role on the channel.
    pub func_tags: Vec<String>,
    /// Whom the job expects in this group, this task included, by role and index.
    pub roster: Vec<RosterEntry>,
    /// The key of the channel and group: hides what is broadcast from everybody outside.
    pub key: SecretKey,
    /// Where messages go when the backend is `mqtt`.
    pub broker: BrokerAccess,
    /// How they travel.
    #[serde(default)]
    pub encoding: ChannelEncoding,
    /// Ends that a round needs; absent: all of the other role's.
    pub min_participants: Option<u32>,
    /// Seconds to wait for ends that are away.
    pub join_timeout: u64,
}

/// What carries a channel's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// An MQTT broker.
    #[default]
    Mqtt,
    /// Streams from flamelet to flamelet.
    P2p,
    /// The memory of one process.
    Inproc,
}

/// A worker that the job expects on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RosterEntry {
    /// Its end.
    pub end: AgentId,
    /// Its role.
    pub role: String,
    /// Its position within the role.
    pub index: u32,
    /// The key of the pair of this task and that end: no other member of the group has it. In the task's own entry a key of its own.
    pub key: SecretKey,
}

/// How to reach the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerAccess {
    /// `mqtt://host:port` or, over TLS, `mqtts://host:port`. A host of `0.0.0.0` or none means: the host of the apiserver
    /// that the agent was given.
    pub url: String,
    /// Login, where the broker wants one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Certificates (PEM) of who vouches for a broker over TLS; absent: whom the agent's machine trusts.
    pub ca: Option<String>,
}

/// The bytes of a component, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CodeRef {
    /// SHA-256 of the component, hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Who vouches for it. Whether they do is for the reader to check; records of before there were any have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<CodeSignature>,
}

/// A detached ed25519 signature over a component's digest, in the text forms of `flame-bundle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CodeSignature {
    /// The signer's public key, `flame-ed25519:<base64>`.
    pub signer: String,
    /// The signature's 64 bytes in base64.
    pub signature: String,
}

/// An aggregation rule (`modelSpec.optimizer`) or a selector (`modelSpec.selector`) and its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OptimizerChoice {
    /// Its name.
    pub sort: String,
    /// Its options.
    #[serde(default)]
    pub kwargs: serde_json::Map<String, serde_json::Value>,
}

/// What a job asks for a role. Absent: the agent's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskResources {
    /// Guest memory in bytes, summed over its memories.
    pub memory: Option<u64>,
    /// Bytes of tensors on the host.
    pub tensor_bytes: Option<u64>,
    /// Seconds of CPU time for the whole task.
    #[serde(default)]
    pub cpu: Option<u64>,
    /// Seconds of wall time for the whole task.
    pub wall_time: Option<u64>,
    /// Bytes of models that may leave in one round.
    #[serde(default)]
    pub egress: Option<u64>,
}

/// Body of `POST /v1/agent/report`: logs, metrics and progress since the last report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentReport {
    /// The attempt that the grant named.
    pub attempt: u32,
    /// Counts up from 1 within an attempt; a report that was stored already is acknowledged and not stored again.
    pub serial: u64,
    /// Lines since the last report, oldest first.
    pub logs: Vec<LogLine>,
    /// Rounds recorded since the last report.
    pub metrics: Vec<MetricRow>,
    /// The newest progress.
    pub progress: Option<Progress>,
}

/// A line that the guest, or the host about it, logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLine {
    /// When.
    pub timestamp: Timestamp,
    /// How grave.
    pub level: LogLevel,
    /// The text, with control characters escaped.
    pub text: String,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the usual five")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A round's measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricRow {
    /// The round, from 1.
    pub round: u64,
    /// Name to value; finite values only.
    pub values: BTreeMap<String, f64>,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    /// Rounds done.
    pub round: u64,
    /// Rounds in all.
    pub rounds: u64,
}
