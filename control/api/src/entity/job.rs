//! Jobs, their tasks and what they leave.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AgentId, ComputeId, DatasetId, DesignId, JobId, JobState, LogLevel, Progress, TaskKind, TaskState, UserName,
};

/// Answer to `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobCreated {
    /// The new job.
    pub id: JobId,
    /// `ready`.
    pub state: JobState,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// Data set that it works on, where the job names one of the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetId>,
    /// Where it may be placed, for a system task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<ComputeId>,
    /// Times that it was started again after its flamelet had died.
    #[serde(default)]
    pub restarts: u32,
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

/// Something that happened to a job, kept durably (`GET /v1/jobs/{id}/events`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobEvent {
    /// Counts up from 1 within a job; never reused.
    pub number: u64,
    /// When.
    pub timestamp: Timestamp,
    /// What happened, and to whom.
    #[serde(flatten)]
    pub kind: JobEventKind,
    /// Why; empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum JobEventKind {
    /// The job was created, or its tasks were made anew from another file.
    Expanded {
        /// How many tasks it has.
        tasks: u32,
    },
    /// The job's state is another one.
    Job {
        /// The state that it has now.
        state: JobState,
    },
    /// A task's state is another one.
    Task {
        /// Which task.
        agent: AgentId,
        /// Its role.
        role: String,
        /// The state that it has now.
        state: TaskState,
        /// Its attempt.
        attempt: u32,
    },
    /// A task's flamelet was lost, and the task is started again.
    Restarted {
        /// Which task.
        agent: AgentId,
        /// Its role.
        role: String,
        /// How often that has been now.
        restarts: u32,
    },
    /// A running task's agent came under a newer attempt.
    Rejoined {
        /// Which task.
        agent: AgentId,
        /// Its role.
        role: String,
        /// The new attempt.
        attempt: u32,
    },
}

/// How many tasks stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
