//! What a job asks for: both generations of Flame's job file and our own options, in one canonical form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::compression::Compression;
use crate::document::Places;
use crate::schema::Backend;

/// A job as a user asks for it. Serialises to canonical JSON, which [`JobSpec::parse`] reads back to the same value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// The design that it runs.
    pub design_id: String,
    /// What people call it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Revision of the schema; absent: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// Revision of the code; absent: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_version: Option<u32>,
    /// Who brings data, and how much.
    pub data_spec: DataSpec,
    /// Flame's field: kept, without meaning, as in Flame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The transport of channels that name none.
    #[serde(default)]
    pub backend: Backend,
    /// Seconds from start to the end that is forced; absent: no limit. A file's 0 means absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_run_time: Option<u64>,
    /// The model to begin with. A file's empty name means absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<BaseModel>,
    /// What the code is told, in the file's order.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub hyperparameters: Map<String, Value>,
    /// Flame's list of Python packages: kept, without meaning, for a component brings what it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    /// The aggregation rule; absent: the code's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Choice>,
    /// How an aggregator selects ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Choice>,
    /// Seed of all workers' seeds; absent: the server draws one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The data set that an aggregator evaluates on, by the name under which its operator grants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_data: Option<String>,
    /// Ends that a round needs; absent: all of the other role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_participants: Option<u32>,
    /// Seconds to wait for ends that are away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_timeout: Option<u64>,
    /// Completed tasks that a role needs for the job to be completed; absent: 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min_completed: BTreeMap<String, u32>,
    /// How messages are made smaller on their way; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// What the tasks of a role ask of their hosts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, Resources>,
    /// Times that a system task is started again after its flamelet was lost; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
    /// Seconds that a participant who runs a task may be away before the task fails; absent: as long as the job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejoin_timeout: Option<u64>,
    /// Whether two runs with one seed must give the same bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic: bool,
    /// Where each field was read from.
    #[serde(skip)]
    pub(crate) places: Places,
}

/// Who brings data to the data roles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataSpec {
    /// Group to number of participants, who bring their own data and compute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub from_user: BTreeMap<String, u32>,
    /// Data sets that the platform works on.
    #[serde(default)]
    pub from_system: SystemData,
}

/// The three ways in which Flame's files name data sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SystemData {
    /// By role and group, as the later generation does.
    Roles(Vec<RoleData>),
    /// By group, for every data role that has the group.
    Groups(BTreeMap<String, Vec<String>>),
    /// Bare ids, where there is but one group.
    Ids(Vec<String>),
}

impl Default for SystemData {
    fn default() -> Self {
        Self::Roles(Vec::new())
    }
}

/// The data sets of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleData {
    /// The role.
    pub role: String,
    /// Group to data set ids, in the order of the tasks.
    pub dataset_groups: BTreeMap<String, Vec<String>>,
}

/// Flame's priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Priority {
    Low,
    Medium,
    High,
}

/// A model of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BaseModel {
    /// Its name.
    pub name: String,
    /// Its version, from 1; 0: the newest.
    #[serde(default)]
    pub version: u32,
}

/// A named algorithm and its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Choice {
    /// Its name.
    pub sort: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub kwargs: Map<String, Value>,
}

/// What the tasks of a role ask of their hosts. Absent: the host's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Guest memory in bytes, summed over its memories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of tensors on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor_bytes: Option<u64>,
    /// Seconds of CPU time for the whole task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
    /// Seconds of wall time for the whole task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_time: Option<u64>,
    /// Bytes that may leave in one round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<u64>,
}

impl JobSpec {
    /// The ids of all data sets that the job names, each once, sorted.
    pub fn dataset_ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = match &self.data_spec.from_system {
            SystemData::Roles(roles) => {
                roles.iter().flat_map(|role| role.dataset_groups.values().flatten()).map(String::as_str).collect()
            }
            SystemData::Groups(groups) => groups.values().flatten().map(String::as_str).collect(),
            SystemData::Ids(ids) => ids.iter().map(String::as_str).collect(),
        };
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
