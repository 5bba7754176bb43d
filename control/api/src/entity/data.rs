//! Where data is and who may work on it: data sets, computes, agents.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AgentId, ComputeId, DatasetId, JobId, Secret, TaskKind, UserName};

/// Body of `POST /v1/datasets`: data that the platform can reach, for jobs that name it in `fromSystem`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateDataset {
    /// For people, and for the task that works on it where it can name a data set; may be empty.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub name: String,
    /// For people; may be empty.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    pub description: String,
    /// Where it is: `file:///PATH` on the machines of its compute.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 2048))]
    pub url: String,
    /// What it is, such as `idx` or `safetensors`; may be empty, since a flamelet tells by the files.
    #[serde(default, alias = "format")]
    #[cfg_attr(feature = "openapi", schema(max_length = 64))]
    pub data_format: String,
    /// Where it may be worked on: a region, which begins with `default`, or the id of a compute.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256))]
    pub realm: String,
    /// Whether it may be worked on where its region has no compute of its own.
    #[serde(default, alias = "public")]
    pub is_public: bool,
}

/// Body of `PUT /v1/datasets/{id}`: the fields to change. A data set stays in its realm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateDataset {
    /// See [`CreateDataset::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub name: Option<String>,
    /// See [`CreateDataset::description`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    pub description: Option<String>,
    /// See [`CreateDataset::url`]. Jobs that there are keep the one that they were created with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 2048))]
    pub url: Option<String>,
    /// See [`CreateDataset::data_format`].
    #[serde(default, alias = "format", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 64))]
    pub data_format: Option<String>,
    /// See [`CreateDataset::is_public`].
    #[serde(default, alias = "public", skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
}

/// A data set. Where it is, is told to whoever may list data sets; what is in it never leaves its compute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// Chosen by the server.
    pub id: DatasetId,
    /// Whose it is. Others may use it if it is public, and not change it.
    #[serde(default)]
    pub owner: UserName,
    /// For people; may be empty.
    pub name: String,
    /// For people; may be empty.
    pub description: String,
    /// Where it is.
    pub url: String,
    /// What it is; may be empty.
    pub data_format: String,
    /// Where it may be worked on: a region, or a region and a compute of it (`default/us/west/c1`).
    pub realm: String,
    /// The compute that works on it; `default`: where the platform places what is bound to no compute.
    pub compute_id: ComputeId,
    /// Whether it may be worked on where its region has no compute of its own.
    pub is_public: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Body of `POST /v1/computes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisterCompute {
    /// Its name.
    #[serde(alias = "computeId")]
    pub id: ComputeId,
    /// The region that it is in, such as `default/us/west`.
    #[serde(alias = "region")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256))]
    pub realm: String,
    /// Proves later that a registration is of the same compute. Only a hash is kept.
    #[serde(alias = "apiKey")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 1024))]
    pub key: Secret,
    /// What places tasks there; absent: the server's deployer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployer: Option<String>,
}

/// A place for system tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// Its name.
    pub id: ComputeId,
    /// The region that it is in.
    pub realm: String,
    /// What places tasks there: `process`, `in-process`, `kubernetes`.
    pub deployer: String,
    /// When it was first registered.
    pub registered_at: Timestamp,
}

/// An agent: what serves a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its id, which is the task's.
    pub id: AgentId,
    /// The task's job.
    pub job: JobId,
    /// Who brings the compute.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Whether a key is bound to it: a participant has joined, or the platform has placed it.
    pub bound: bool,
    /// Whether it has a session now.
    pub connected: bool,
    /// When its newest session opened or ended; absent where it has had none.
    pub last_seen: Option<Timestamp>,
    /// The flamelet's version, as it says; empty where it has had no session.
    pub version: String,
    /// Name of its machine, as it says.
    pub hostname: String,
}
