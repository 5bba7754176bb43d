//! What users see of designs, schemas, code, jobs and tasks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AgentId, DesignId, JobId, JobState, LogLevel, Progress, TaskKind, TaskState, UserName};

/// Body of `POST /v1/designs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateDesign {
    /// The design's name.
    pub id: DesignId,
    /// For people; may be empty.
    #[serde(default)]
    pub description: String,
}

/// A design as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Design {
    /// The design's name.
    pub id: DesignId,
    /// Whose it is; names are unique per owner.
    #[serde(default)]
    pub owner: UserName,
    /// For people; may be empty.
    pub description: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A design with its revisions (`GET /v1/designs/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesignDetail {
    /// What the list shows.
    #[serde(flatten)]
    pub design: Design,
    /// Schema revisions, oldest first.
    pub schemas: Vec<SchemaRevision>,
    /// Code revisions, oldest first.
    pub code: Vec<CodeRevision>,
}

/// A revision of a design's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRevision {
    /// Counts up from 1.
    pub version: u32,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// A revision of a design's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeRevision {
    /// Counts up from 1.
    pub version: u32,
    /// SHA-256 of the uploaded file, hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Roles that it serves.
    pub roles: Vec<String>,
    /// What it consists of: one component, or one for each role or several.
    #[serde(default)]
    pub components: Vec<CodeComponent>,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// A component of a code revision: what an agent fetches and checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeComponent {
    /// Roles that run it.
    pub roles: Vec<String>,
    /// SHA-256 of the component, hex. Signatures are over it, and jobs and grants name it.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Public keys of those whose signatures the server found to hold.
    pub signers: Vec<String>,
}

/// Answer to the upload of a schema or of code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The revision that was made.
    pub version: u32,
}

/// Answer to `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobCreated {
    /// The new job.
    pub id: JobId,
    /// `ready`.
    pub state: JobState,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Chosen by the server.
    pub id: JobId,
    /// From the job file; empty where it gives none.
    pub name: String,
    /// Whose it is.
    #[serde(default)]
    pub owner: UserName,
    /// The design that it runs.
    pub design: DesignId,
    /// Revision of the design's schema.
    pub schema_version: u32,
    /// Revision of the design's code.
    pub code_version: u32,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed or was terminated; empty otherwise.
    #[serde(default)]
    pub reason: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A task of a job. Its key is never part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The job.
    pub job: JobId,
    /// The task, and the agent that serves it.
    pub agent: AgentId,
    /// Role in the schema.
    pub role: String,
    /// Position within the role, from 0.
    pub index: u32,
    /// Channel to group.
    pub group_association: BTreeMap<String, String>,
    /// Who brings the compute.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Where it stands.
    pub state: TaskState,
    /// Times that it was granted to an agent.
    pub attempt: u32,
    /// Why it failed or was terminated; empty otherwise.
    #[serde(default)]
    pub reason: String,
    /// SHA-256 of the component that it runs, hex: settled when the job was created.
    #[serde(default)]
    pub code: String,
    /// Whether its agent has a session now.
    pub connected: bool,
    /// Last change of state.
    pub timestamp: Timestamp,
}

/// How many tasks stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "one field per task state")]
pub struct TaskCounts {
    pub ready: u32,
    pub running: u32,
    pub completed: u32,
    pub failed: u32,
    pub terminated: u32,
}

/// One event of `GET /v1/jobs/{id}/watch`: everything that a progress display needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSnapshot {
    /// The job.
    pub job: Job,
    /// Its tasks by state.
    pub tasks: TaskCounts,
    /// The furthest progress that a task reported, if any.
    pub progress: Option<Progress>,
    /// The newest recorded round's metrics, if any.
    pub latest: Option<MetricRecord>,
}

/// A round's measurements as one task recorded them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricRecord {
    /// Who recorded them.
    pub agent: AgentId,
    /// Its role.
    pub role: String,
    /// The round, from 1.
    pub round: u64,
    /// Name to value. A value that is not finite is left out by the agent.
    pub values: BTreeMap<String, f64>,
    /// When the server got them.
    pub timestamp: Timestamp,
}

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRecord {
    /// Whose line it is.
    pub agent: AgentId,
    /// Its role.
    pub role: String,
    /// How grave it is.
    pub level: LogLevel,
    /// The text, control characters escaped by the agent.
    pub text: String,
    /// When the agent saw it.
    pub timestamp: Timestamp,
}

/// A model that a job published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelArtifact {
    /// Its name in the job; the global model is `model`.
    pub name: String,
    /// SHA-256 of the safetensors file, hex.
    pub sha256: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// Who published it.
    pub agent: AgentId,
    /// When.
    pub timestamp: Timestamp,
}
