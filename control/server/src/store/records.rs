//! The types of what is stored, and the one function per kind of key.
//!
//! Fields are added with a default; a change that an older record cannot satisfy raises the version of all records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flame_api::{
    AgentId, Backend, ChannelEncoding, CodeRef, Compute, ComputeId, DatasetId, Design, DesignId, Job, JobId, JobState,
    MetricRecord, OptimizerChoice, Progress, Secret, SecretKey, Task, TaskKind, TaskResources, TaskState, Timestamp,
    Token, UserName,
};
use serde::{Deserialize, Serialize};

/// A design by its whole name: names are unique per owner. Shown, it is the name alone; stored, it has its owner's in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesignName {
    owner: UserName,
    id: DesignId,
    key: String,
}

impl DesignName {
    /// The design that `owner` calls `id`.
    pub fn new(owner: UserName, id: DesignId) -> Self {
        let key = format!("{owner}/{id}");
        Self { owner, id, key }
    }

    /// Whose it is.
    pub fn owner(&self) -> &UserName {
        &self.owner
    }

    /// What its owner calls it.
    pub fn id(&self) -> &DesignId {
        &self.id
    }

    /// Its key.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Prefix of the keys of its revisions.
    pub fn prefix(&self) -> String {
        prefix(&self.key)
    }
}

impl std::fmt::Display for DesignName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.fmt(f)
    }
}

/// Key of a revision of a design's schema or code. Zero-padded, so that key order is version order.
pub fn revision_key(design: &DesignName, version: u32) -> String {
    format!("{}/{version:010}", design.as_str())
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

/// Key of an agent's mailbox.
pub fn mailbox_key(job: &JobId, agent: &AgentId) -> String {
    format!("{job}/{agent}")
}

/// Key of a record of the audit log.
pub fn audit_key(number: u64) -> String {
    format!("{number:020}")
}

/// Key of an event of a job.
pub fn event_key(job: &JobId, number: u64) -> String {
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

/// A bearer token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenRecord {
    /// What lists show.
    pub info: Token,
    /// SHA-256 of the token, hex. The token itself is nowhere here.
    pub sha256: String,
}

/// What an agent is to be told: a numbered log of which only what matters still is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Letters so far; the next one has the number above.
    pub last: u64,
    /// The agent has read up to here.
    pub read: u64,
    /// What it has not read, and the newest order, by number.
    pub letters: Vec<Letter>,
}

/// An order to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Counts up from 1 for each agent.
    pub number: u64,
    /// What it is to do.
    pub order: Order,
}

/// What an agent is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Run the task.
    Start,
    /// End the task.
    Stop {
        /// Why, for people.
        reason: String,
        /// Seconds that it has.
        grace_seconds: u32,
    },
}

/// A design, and which revisions come next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DesignRecord {
    /// What users see.
    #[serde(flatten)]
    pub design: Design,
    /// Schema revisions that there have been; the next one has the number after it.
    #[serde(default)]
    pub schemas: u32,
    /// Code revisions that there have been.
    #[serde(default)]
    pub code: u32,
    /// The design is gone. The record stays, because its numbers are not given again.
    #[serde(default)]
    pub deleted: bool,
}

/// A compute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ComputeRecord {
    /// What users see.
    #[serde(flatten)]
    pub compute: Compute,
    /// Hash of its key.
    pub key: KeyHash,
}

/// The answer to a request that may come again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OnceRecord {
    /// SHA-256 of the request, hex: the key is good for that request alone.
    pub request: String,
    /// What was answered.
    pub answer: serde_json::Value,
    /// When.
    pub at: Timestamp,
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
    /// Times that a system task is started again after its flamelet was lost.
    #[serde(default)]
    pub max_restarts: u32,
    /// Seconds that a participant who runs a task may be away; absent: as long as the job runs.
    #[serde(default)]
    pub rejoin_timeout: Option<u64>,
    /// Events that there have been.
    #[serde(default)]
    pub events: u64,
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

/// Data that the platform hands to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskData {
    /// The name under which the task finds it.
    pub name: String,
    /// The folder or file, on the machines of the task's compute.
    pub path: PathBuf,
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
    /// The server's data set that it works on.
    #[serde(default)]
    pub dataset: Option<DatasetId>,
    /// Where that is: settled when the job was created.
    #[serde(default)]
    pub data: Option<TaskData>,
    /// Where it may be placed.
    #[serde(default)]
    pub compute: Option<ComputeId>,
    /// Times that it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// When it may be started again.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// Since when its agent has had no session, while it runs.
    #[serde(default)]
    pub away_since: Option<Timestamp>,
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
            dataset: self.dataset.clone(),
            compute: self.compute.clone(),
            restarts: self.restarts,
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
    /// When its newest session opened or ended.
    #[serde(default)]
    pub last_seen: Option<Timestamp>,
    /// The flamelet's version, as it says.
    #[serde(default)]
    pub version: String,
    /// Name of its machine, as it says.
    #[serde(default)]
    pub hostname: String,
}

/// A hash of an agent's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyHash {
    /// Of a key that a person chose and sent as it is, such as a compute's: argon2id, in PHC form.
    Argon2(String),
    /// Of a key that a person chose: SHA-256, hex, of what argon2id makes of it ([`flame_api::stretch`]).
    Stretched(String),
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

impl AgentRecord {
    /// An agent that nobody has been yet.
    pub fn new(job: &JobId, position: u32, kind: TaskKind) -> Self {
        let (version, hostname) = Default::default();
        Self { job: job.clone(), position, kind, key: None, last_seen: None, version, hostname }
    }
}

impl JobRecord {
    /// Where the job stands.
    pub fn state(&self) -> JobState {
        self.job.state
    }
}
