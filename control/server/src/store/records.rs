//! The types of what is stored, and the one function per kind of key.
//!
//! Fields are added with a default; a change that an older record cannot satisfy raises the version of all records.

use std::collections::BTreeMap;

use flame_api::{
    AgentId, Backend, ChannelEncoding, CodeRef, DesignId, Job, JobId, JobState, MetricRecord, OptimizerChoice,
    Progress, Secret, SecretKey, Task, TaskKind, TaskResources, TaskState, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Key of a revision of a design's schema or code. Zero-padded, so that key order is version order.
pub fn revision_key(design: &DesignId, version: u32) -> String {
    format!("{design}/{version:010}")
}

/// Prefix of the keys of everything that belongs to `owner`.
pub fn prefix(owner: &dyn std::fmt::Display) -> String {
    format!("{owner}/")
}

/// Key of a task. Zero-padded, so that key order is expansion order.
pub fn task_key(job: &JobId, position: u32) -> String {
    format!("{job}/{position:010}")
}

/// Key of a published model.
pub fn model_key(job: &JobId, name: &str) -> String {
    format!("{job}/{name}")
}

/// Key of a metric row: the same agent's repeat of a round replaces.
pub fn metric_key(job: &JobId, round: u64, agent: &AgentId) -> String {
    format!("{job}/{round:020}/{agent}")
}

/// Key of a log line.
pub fn log_key(job: &JobId, number: u64) -> String {
    format!("{job}/{number:020}")
}

/// Key of the server's identity in [`super::Tree::Server`].
pub const IDENTITY: &str = "identity";

/// What a server keeps about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// SHA-256 of the admin token, hex. The token itself is not kept here.
    pub admin_token: String,
    /// The embedded broker's login. Kept, because tasks that outlive a restart use it.
    pub broker_password: Secret,
}

/// A schema revision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SchemaRecord {
    /// Counts up from 1.
    pub version: u32,
    /// The file's name, for messages.
    pub file: String,
    /// The text as it was uploaded.
    pub text: String,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// A code revision. The bytes are in [`crate::artifacts`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CodeRecord {
    /// Counts up from 1.
    pub version: u32,
    /// SHA-256 of the uploaded file, hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Role to the component that serves it.
    pub components: BTreeMap<String, CodeRef>,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// A job: what changes while it lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What users see.
    pub job: Job,
    /// Completed tasks that a role needs, where not 1.
    pub min_completed: BTreeMap<String, u32>,
    /// Seconds that it may run.
    pub max_run_time: Option<u64>,
    /// When its run time is over; set at its start.
    pub run_until: Option<Timestamp>,
    /// The job has ended, every task has, and what was deployed for it is gone: nothing is left to do.
    pub settled: bool,
}

/// A job: what was settled at its creation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Seed that all workers' seeds were made of.
    pub seed: u64,
    /// As the job file gives them.
    pub hyperparameters: serde_json::Map<String, serde_json::Value>,
    /// The aggregation rule.
    pub optimizer: Option<OptimizerChoice>,
    /// How aggregators select ends.
    #[serde(default)]
    pub selector: Option<OptimizerChoice>,
    /// Data set for evaluation.
    pub evaluation_data: Option<String>,
    /// Role to what the job asks for it.
    pub resources: BTreeMap<String, TaskResources>,
    /// Role to its component.
    pub components: BTreeMap<String, CodeRef>,
    /// Channel and group, as [`channel_key`] writes them, to the key that seals its messages.
    pub keys: BTreeMap<String, SecretKey>,
    /// Ends that a round needs.
    pub min_participants: Option<u32>,
    /// Seconds to wait for ends that are away.
    pub join_timeout: u64,
    /// How messages travel.
    #[serde(default)]
    pub encoding: ChannelEncoding,
    /// Same component, data and messages must give the same bytes.
    #[serde(default)]
    pub deterministic: bool,
}

/// The name under which a plan keeps a channel group's key.
pub fn channel_key(channel: &str, group: &str) -> String {
    format!("{channel}/{group}")
}

/// A channel of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskChannel {
    /// Name in the schema.
    pub name: String,
    /// The group that the task is in.
    pub group: String,
    /// The role's function tags on it.
    pub func_tags: Vec<String>,
    /// What carries it.
    #[serde(default)]
    pub backend: Backend,
}

/// An order to a running task to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    /// Why, for people.
    pub reason: String,
    /// When the task counts as terminated, whether its agent says so or not.
    pub until: Timestamp,
    /// Seconds from order to `until`.
    pub grace_seconds: u32,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The job.
    pub job: JobId,
    /// Place in expansion order, from 0.
    pub position: u32,
    /// The agent that serves it.
    pub agent: AgentId,
    /// Role in the schema.
    pub role: String,
    /// Place within the role, from 0.
    pub index: u32,
    /// The worker's seed.
    pub seed: u64,
    /// Channel to group.
    pub group_association: BTreeMap<String, String>,
    /// Its channels in schema order.
    pub channels: Vec<TaskChannel>,
    /// Who brings the compute.
    pub kind: TaskKind,
    /// Where it stands.
    pub state: TaskState,
    /// Times that it was granted.
    pub attempt: u32,
    /// Why it failed or was terminated.
    pub reason: String,
    /// Last change of state.
    pub timestamp: Timestamp,
    /// Set when it is to end.
    pub stop: Option<StopOrder>,
    /// It differs from what is stored.
    #[serde(skip)]
    pub changed: bool,
}

impl TaskRecord {
    /// What users see of it. `code` is the digest of its component, which the job's plan settles.
    pub fn view(&self, code: String, connected: bool) -> Task {
        Task {
            job: self.job.clone(),
            agent: self.agent.clone(),
            role: self.role.clone(),
            index: self.index,
            group_association: self.group_association.clone(),
            kind: self.kind,
            state: self.state,
            attempt: self.attempt,
            reason: self.reason.clone(),
            code,
            connected,
            timestamp: self.timestamp,
        }
    }
}

/// Which task an agent serves, and what proves that it is the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The task's job.
    pub job: JobId,
    /// The task's place in it.
    pub position: u32,
    /// Who brings the compute.
    pub kind: TaskKind,
    /// Hash of its key, once there is one.
    pub key: Option<KeyHash>,
}

/// A hash of an agent's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyHash {
    /// Of a key that a person chose: argon2id, in PHC form.
    Argon2(String),
    /// Of a random 256-bit key that we made: SHA-256, hex.
    Sha256(String),
}

/// The last report of an agent that was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportCursor {
    /// The attempt that it was sent under.
    pub attempt: u32,
    /// Its number within the attempt.
    pub serial: u64,
}

/// What a job's reports have added up to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Number of the oldest log line that is kept.
    pub first_log: u64,
    /// Number of the next log line.
    pub next_log: u64,
    /// The furthest progress.
    pub progress: Option<Progress>,
    /// The newest round's metrics.
    pub latest: Option<MetricRecord>,
    /// Whether `latest` is of a system task: those know the whole, so a participant's never replace them.
    pub latest_is_system: bool,
}

impl JobRecord {
    /// Where the job stands.
    pub fn state(&self) -> JobState {
        self.job.state
    }
}
