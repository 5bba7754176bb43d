//! Expansion: a schema and a job's data spec become tasks. The same input gives the same tasks in the same order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::demand::{Batch, Demand, Source, demand};
use crate::job::JobSpec;
use crate::names::suggest;
use crate::problem::{Problem, Problems, is_full};
use crate::schema::{Backend, Channel, Role, Schema};

/// Most tasks of one job. A count in a job file is checked against it before anything is allocated.
pub const MAX_TASKS: u64 = 100_000;
/// Where the platform places what is bound to no data set.
pub const DEFAULT_COMPUTE: &str = "default";

/// What expansion needs to know of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatasetInfo {
    /// Where the platform finds it.
    pub url: String,
    /// The region that it belongs to.
    pub realm: String,
    /// The compute that may work on it; empty: [`DEFAULT_COMPUTE`].
    pub compute_id: String,
}

/// All tasks of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expansion {
    /// Roles in alphabetical order; within a role by replica and association, or by group and data set.
    pub tasks: Vec<TaskPlan>,
}

/// Who brings the compute for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// A participant, with their own data.
    User,
    /// The platform.
    System,
}

/// One task to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskPlan {
    /// Role in the schema.
    pub role: String,
    /// Who brings the compute.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Position within the role in expansion order, from 0.
    pub index: u32,
    /// Position among the tasks of the role that have the same group association, from 0.
    pub group_index: u32,
    /// Channel to group, for every channel of the role.
    pub group_association: BTreeMap<String, String>,
    /// Id of the data set; absent for participants, who bring theirs, and for roles without data.
    pub dataset: Option<String>,
    /// Where the platform finds that data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_url: Option<String>,
    /// Where a system task may be placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<String>,
    /// The role's channels, in the schema's order.
    pub channels: Vec<ChannelPlan>,
}

/// One channel of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelPlan {
    /// Name in the schema.
    pub name: String,
    /// The task's group on it.
    pub group: String,
    /// The transport.
    pub backend: Backend,
    /// The two roles.
    pub pair: [String; 2],
    /// Function tags of the task's own role.
    pub func_tags: Vec<String>,
    /// Whether it joins the workers of one role.
    pub self_loop: bool,
    /// A broker of its own, where the schema names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_host: Option<String>,
}

impl Expansion {
    /// Everybody who shares a channel and group with `task`, itself included, by role and index. Empty where the task has
    /// no such channel.
    pub fn roster(&self, task: &TaskPlan, channel: &str) -> Vec<&TaskPlan> {
        let Some(group) = task.group_association.get(channel) else { return Vec::new() };
        // Tasks are in that order already.
        self.tasks.iter().filter(|other| other.group_association.get(channel) == Some(group)).collect()
    }

    /// All rosters at once: positions in `tasks` by channel and group.
    pub fn rosters(&self) -> BTreeMap<(&str, &str), Vec<usize>> {
        let mut rosters: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (i, task) in self.tasks.iter().enumerate() {
            for (channel, group) in &task.group_association {
                rosters.entry((channel.as_str(), group.as_str())).or_default().push(i);
            }
        }
        rosters
    }

    /// The roles that have tasks, in alphabetical order.
    pub fn roles(&self) -> BTreeSet<&str> {
        self.tasks.iter().map(|task| task.role.as_str()).collect()
    }
}

/// Makes the tasks of a job, or names everything that is wrong with the schema and the job together.
///
/// `datasets` has what is known of the data sets that the job names, by id; `code_roles` are the roles that the code serves.
pub fn expand(
    schema: &Schema,
    job: &JobSpec,
    datasets: &BTreeMap<String, DatasetInfo>,
    code_roles: &[String],
) -> Result<Expansion, Problems> {
    let mut problems = schema.check();
    let sound = problems.is_empty();
    check_against_schema(schema, job, code_roles, &mut problems);
    let demand = demand(schema, job, datasets, &mut problems);
    check_counts(schema, job, &demand, sound, &mut problems);
    // With mistakes in it, the rest would only echo them.
    let demand = Problems::check(problems, demand)?;

    let mut tasks: Vec<TaskPlan> = Vec::new();
    // Batches are in the order of the roles, and of each role all together.
    for of_role in demand.batches.chunk_by(|one, other| one.role == other.role) {
        let Some(role) = of_role.first().and_then(|batch| schema.role(&batch.role)) else { continue };
        let channels = schema.channels_of(&role.name);
        let mut by_group: BTreeMap<&BTreeMap<String, String>, u32> = BTreeMap::new();
        let mut index = 0;
        for batch in of_role {
            let plans = channel_plans(&channels, job, role, batch);
            let group_index = by_group.entry(&batch.association).or_default();
            for n in 0..batch.count() {
                tasks.push(plan(role, batch, n, index, *group_index, plans.clone(), datasets));
                *group_index += 1;
                index += 1;
            }
        }
    }
    let expansion = Expansion { tasks };
    Problems::check(check_participants(job, &expansion), expansion)
}

pub(crate) fn sorted_roles(schema: &Schema) -> Vec<&Role> {
    let mut roles: Vec<&Role> = schema.roles.iter().collect();
    roles.sort_by(|a, b| a.name.cmp(&b.name));
    roles
}

fn plan(
    role: &Role,
    batch: &Batch,
    n: u64,
    index: u32,
    group_index: u32,
    channels: Vec<ChannelPlan>,
    datasets: &BTreeMap<String, DatasetInfo>,
) -> TaskPlan {
    let dataset = match &batch.source {
        Source::Datasets(ids) => usize::try_from(n).ok().and_then(|n| ids.get(n)).cloned(),
        Source::Participants(_) | Source::Replica => None,
    };
    let info = dataset.as_ref().and_then(|id| datasets.get(id));
    let compute = match &batch.source {
        Source::Participants(_) => None,
        _ => Some(
            info.map(|info| info.compute_id.as_str()).filter(|id| !id.is_empty()).unwrap_or(DEFAULT_COMPUTE).to_owned(),
        ),
    };
    TaskPlan {
        role: role.name.clone(),
        kind: if matches!(batch.source, Source::Participants(_)) { TaskKind::User } else { TaskKind::System },
        index,
        group_index,
        group_association: batch.association.clone(),
        dataset_url: info.map(|info| info.url.clone()).filter(|url| !url.is_empty()),
        dataset,
        compute,
        channels,
    }
}

fn channel_plans(channels: &[&Channel], job: &JobSpec, role: &Role, batch: &Batch) -> Vec<ChannelPlan> {
    let plan = |channel: &&Channel| {
        let [one, other] = channel.pair.as_slice() else { return None };
        Some(ChannelPlan {
            name: channel.name.clone(),
            group: batch.association.get(&channel.name)?.clone(),
            backend: channel.backend.unwrap_or(job.backend),
            pair: [one.clone(), other.clone()],
            func_tags: channel.func_tags.get(&role.name).cloned().unwrap_or_default(),
            self_loop: channel.is_self_loop(),
            broker_host: channel.broker_host.clone(),
        })
    };
    channels.iter().filter_map(plan).collect()
}

fn check_against_schema(schema: &Schema, job: &JobSpec, code_roles: &[String], problems: &mut Vec<Problem>) {
    for (i, role) in schema.roles.iter().enumerate() {
        if !code_roles.contains(&role.name) {
            problems.push(schema.places.problem(
                &format!("roles[{i}].name"),
                format!("no code found for role {}", role.name),
                if code_roles.is_empty() {
                    "the code names no role; export the worker with the SDK's macro".to_owned()
                } else {
                    format!("the code serves {}; name the role so in one of them", code_roles.join(", "))
                },
            ));
        }
    }
    let names = schema.roles.iter().map(|role| role.name.as_str());
    let keyed =
        [("minCompleted", job.min_completed.keys().collect::<Vec<_>>()), ("resources", job.resources.keys().collect())];
    for (field, roles) in keyed {
        for role in roles {
            if schema.role(role).is_none() && !is_full(problems) {
                problems.push(job.places.problem(
                    &format!("{field}.{role}"),
                    format!("role {role:.64} not found in the schema"),
                    suggest(role, names.clone()),
                ));
            }
        }
    }
}

/// `sound`: the schema has no mistake that would explain a role without tasks.
fn check_counts(schema: &Schema, job: &JobSpec, demand: &Demand, sound: bool, problems: &mut Vec<Problem>) {
    let batches = &demand.batches;
    let total: u64 = batches.iter().map(Batch::count).fold(0, u64::saturating_add);
    if total > MAX_TASKS {
        let message = format!("the job would have {total} tasks, more than {MAX_TASKS}");
        problems.push(job.places.problem("dataSpec", message, "ask for fewer participants or replicas"));
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for batch in batches {
        let count = counts.entry(&batch.role).or_default();
        *count = count.saturating_add(batch.count());
    }
    for (i, role) in schema.roles.iter().enumerate() {
        let of_role = counts.get(role.name.as_str()).copied().unwrap_or(0);
        let wanted = job.min_completed.get(&role.name).copied().map_or(0, u64::from);
        let explained = !sound || demand.explained.contains(&role.name);
        if wanted > of_role && !explained {
            problems.push(job.places.problem(
                &format!("minCompleted.{}", role.name),
                format!("{wanted} completed tasks of role {} are asked for and it has {of_role}", role.name),
                format!("ask for {of_role} at most"),
            ));
        }
        if of_role == 0 && !explained {
            let message = if role.is_data_consumer {
                format!("no dataset group specified for trainer role {}: it would have no task", role.name)
            } else {
                format!("role {} would have no task", role.name)
            };
            let problem = if role.is_data_consumer {
                let hint = "name one of its groups in fromUser or fromSystem: \"fromUser\": {\"default\": 1}";
                job.places.problem("dataSpec", message, hint)
            } else {
                schema.places.problem(&format!("roles[{i}]"), message, "write its groupAssociation")
            };
            problems.push(problem);
        }
    }
}

/// A round that needs more ends than any group has would wait for ever.
fn check_participants(job: &JobSpec, expansion: &Expansion) -> Vec<Problem> {
    let Some(wanted) = job.min_participants else { return Vec::new() };
    let mut sizes: BTreeMap<(&str, &str, &str), u32> = BTreeMap::new();
    for task in &expansion.tasks {
        for channel in &task.channels {
            *sizes.entry((&channel.name, &channel.group, &task.role)).or_default() += 1;
        }
    }
    let self_loops: BTreeSet<&str> =
        expansion.tasks.iter().flat_map(|t| &t.channels).filter(|c| c.self_loop).map(|c| c.name.as_str()).collect();
    let most = sizes.iter().map(|((channel, ..), n)| n - u32::from(self_loops.contains(channel))).max().unwrap_or(0);
    if wanted <= most {
        return Vec::new();
    }
    let message = format!("a round needs {wanted} participants and no group of any channel has more than {most}");
    vec![job.places.problem("minParticipants", message, format!("ask for {most} at most"))]
}
