//! Which tasks a job asks for, role by role and group by group, before they are made.

use std::collections::{BTreeMap, BTreeSet};

use crate::expand::{DatasetInfo, sorted_roles};
use crate::job::{JobSpec, SystemData};
use crate::names::{listed, suggest};
use crate::problem::Problem;
use crate::schema::{Channel, Role, Schema};

/// Tasks of one role with one group association.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) role: String,
    pub(crate) association: BTreeMap<String, String>,
    pub(crate) source: Source,
}

/// Where a batch's tasks come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The schema: one task.
    Replica,
    /// So many participants.
    Participants(u32),
    /// A task for each data set.
    Datasets(Vec<String>),
}

impl Batch {
    pub(crate) fn count(&self) -> u64 {
        match &self.source {
            Source::Replica => 1,
            Source::Participants(n) => u64::from(*n),
            Source::Datasets(ids) => ids.len() as u64,
        }
    }
}

/// Why a data role has no place in a group.
enum NoPlace {
    /// It has no such group.
    Absent,
    /// Some of its channels have the group, the named one has not.
    Disagree(String),
}

/// All batches in expansion order; what is wrong goes to `problems`.
pub(crate) fn batches(
    schema: &Schema,
    job: &JobSpec,
    datasets: &BTreeMap<String, DatasetInfo>,
    problems: &mut Vec<Problem>,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut asked = Asked { schema, job, placed: BTreeSet::new(), refused: BTreeSet::new(), problems };
    asked.check_roles();
    asked.check_datasets(datasets);
    for role in sorted_roles(schema) {
        if role.is_data_consumer {
            asked.participants(role, &mut batches);
            asked.datasets(role, &mut batches);
        } else {
            replicas(schema, role, &mut batches);
        }
    }
    asked.check_placed();
    batches
}

/// A role without data: each association, as often as it has replicas.
fn replicas(schema: &Schema, role: &Role, batches: &mut Vec<Batch>) {
    let associations = associations(schema, role);
    // Replicas beyond the limit are counted, not made: the caller refuses them by their number.
    let replicas = u64::from(role.replicas()).min(crate::MAX_TASKS + 1);
    for _ in 0..replicas {
        for association in &associations {
            batches.push(Batch { role: role.name.clone(), association: association.clone(), source: Source::Replica });
        }
        if batches.len() as u64 > crate::MAX_TASKS {
            return;
        }
    }
}

/// A role's places: its own associations, or one for each group of its channels.
fn associations(schema: &Schema, role: &Role) -> Vec<BTreeMap<String, String>> {
    let channels = schema.channels_of(&role.name);
    if role.group_association.is_empty() {
        let Some(first) = channels.first() else { return Vec::new() };
        let entry = |group: &str| channels.iter().map(|c| (c.name.clone(), group.to_owned())).collect();
        return first.groups().into_iter().map(entry).collect();
    }
    role.group_association.iter().map(|association| completed(schema, role, association)).collect()
}

/// An association with the one group of channels that are not divided, which it need not name.
fn completed(schema: &Schema, role: &Role, association: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut association = association.clone();
    for channel in schema.channels_of(&role.name).iter().filter(|channel| channel.group_by.is_none()) {
        association.entry(channel.name.clone()).or_insert_with(|| crate::DEFAULT_GROUP.to_owned());
    }
    association
}

/// The place of a data role's task in a group of the data spec: its first association that has the group on any channel;
/// without associations, that group on every channel.
fn place(schema: &Schema, role: &Role, group: &str) -> Result<BTreeMap<String, String>, NoPlace> {
    if !role.group_association.is_empty() {
        return role
            .group_association
            .iter()
            .find(|association| association.values().any(|name| name == group))
            .map(|association| completed(schema, role, association))
            .ok_or(NoPlace::Absent);
    }
    let channels = schema.channels_of(&role.name);
    let (with, without): (Vec<&Channel>, Vec<&Channel>) =
        channels.into_iter().partition(|channel| channel.groups().contains(&group));
    match (with.is_empty(), without.first()) {
        (true, _) => Err(NoPlace::Absent),
        (false, Some(lacking)) => Err(NoPlace::Disagree(lacking.name.clone())),
        (false, None) => Ok(with.iter().map(|channel| (channel.name.clone(), group.to_owned())).collect()),
    }
}

/// The groups in which a data role has a place.
fn groups_of<'a>(schema: &'a Schema, role: &'a Role) -> BTreeSet<&'a str> {
    if role.group_association.is_empty() {
        schema.channels_of(&role.name).into_iter().flat_map(|channel| channel.groups()).collect()
    } else {
        role.group_association.iter().flat_map(BTreeMap::values).map(String::as_str).collect()
    }
}

/// Walks the data spec and remembers which of its groups found a place in some role.
struct Asked<'a> {
    schema: &'a Schema,
    job: &'a JobSpec,
    /// Paths of the groups that became tasks, and of those that were refused.
    placed: BTreeSet<String>,
    refused: BTreeSet<String>,
    problems: &'a mut Vec<Problem>,
}

impl Asked<'_> {
    fn problem(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(self.job.places.problem(path, message, hint));
    }

    fn push(&mut self, role: &Role, group: &str, path: &str, source: Source, batches: &mut Vec<Batch>) {
        match place(self.schema, role, group) {
            Ok(association) => {
                self.placed.insert(path.to_owned());
                batches.push(Batch { role: role.name.clone(), association, source });
            }
            Err(NoPlace::Absent) => {}
            Err(NoPlace::Disagree(lacking)) => {
                self.refused.insert(path.to_owned());
                let message = format!(
                    "the channels of role {} disagree on group {group:.64}: {lacking} does not have it",
                    role.name
                );
                self.problem(
                    path,
                    message,
                    "write the role's groupAssociation: one {channel: group, …} for each place",
                );
            }
        }
    }

    fn participants(&mut self, role: &Role, batches: &mut Vec<Batch>) {
        for (group, count) in &self.job.data_spec.from_user {
            let path = format!("dataSpec.fromUser.{group}");
            self.push(role, group, &path, Source::Participants(*count), batches);
        }
    }

    fn datasets(&mut self, role: &Role, batches: &mut Vec<Batch>) {
        match &self.job.data_spec.from_system {
            SystemData::Groups(groups) => {
                for (group, ids) in groups {
                    let path = format!("dataSpec.fromSystem.{group}");
                    self.push(role, group, &path, Source::Datasets(ids.clone()), batches);
                }
            }
            SystemData::Roles(entries) => {
                for (i, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.role == role.name) {
                    for (group, ids) in &entry.dataset_groups {
                        let path = format!("dataSpec.fromSystem[{i}].datasetGroups.{group}");
                        self.push(role, group, &path, Source::Datasets(ids.clone()), batches);
                    }
                }
            }
            SystemData::Ids(ids) => {
                let groups = groups_of(self.schema, role);
                let groups: Vec<&str> = groups.into_iter().collect();
                if let [group] = groups.as_slice() {
                    self.push(role, group, "dataSpec.fromSystem", Source::Datasets(ids.clone()), batches);
                } else {
                    self.refused.insert("dataSpec.fromSystem".to_owned());
                    let message = format!("role {} has the groups {}", role.name, listed(groups.iter().copied()));
                    let message = format!("the data sets name no group and {message}");
                    self.problem("dataSpec.fromSystem", message, "write {group: [dataset id, …]}");
                }
            }
        }
    }

    /// Entries of the later generation name roles; they must be data roles of the schema.
    fn check_roles(&mut self) {
        let SystemData::Roles(entries) = &self.job.data_spec.from_system else { return };
        let consumers: Vec<&str> =
            self.schema.roles.iter().filter(|role| role.is_data_consumer).map(|role| role.name.as_str()).collect();
        for (i, entry) in entries.iter().enumerate() {
            let path = format!("dataSpec.fromSystem[{i}].role");
            match self.schema.role(&entry.role) {
                None => {
                    let hint = suggest(&entry.role, consumers.iter().copied());
                    self.problem(&path, format!("role {:.64} not found in the schema", entry.role), hint);
                }
                Some(role) if !role.is_data_consumer => {
                    let hint =
                        format!("set isDataConsumer on it, or name one of {}", listed(consumers.iter().copied()));
                    self.problem(&path, format!("role {} is no data consumer", entry.role), hint);
                }
                Some(_) => {}
            }
        }
    }

    fn check_datasets(&mut self, datasets: &BTreeMap<String, DatasetInfo>) {
        let mut named: Vec<(String, &String)> = Vec::new();
        match &self.job.data_spec.from_system {
            SystemData::Groups(groups) => {
                for (group, ids) in groups {
                    let path = format!("dataSpec.fromSystem.{group}");
                    named.extend(ids.iter().enumerate().map(|(k, id)| (format!("{path}[{k}]"), id)));
                    if ids.is_empty() {
                        let message = format!("no dataset specified for trainer group {group:.64}");
                        self.refused.insert(path.clone());
                        self.problem(&path, message, "list dataset ids, or remove the group");
                    }
                }
            }
            SystemData::Roles(entries) => {
                for (i, entry) in entries.iter().enumerate() {
                    for (group, ids) in &entry.dataset_groups {
                        let path = format!("dataSpec.fromSystem[{i}].datasetGroups.{group}");
                        named.extend(ids.iter().enumerate().map(|(k, id)| (format!("{path}[{k}]"), id)));
                    }
                }
            }
            SystemData::Ids(ids) => {
                named.extend(ids.iter().enumerate().map(|(k, id)| (format!("dataSpec.fromSystem[{k}]"), id)));
            }
        }
        let mut unknown = BTreeSet::new();
        for (path, id) in named {
            if !datasets.contains_key(id) && unknown.insert(id) {
                self.problem(
                    &path,
                    format!("dataset {id:.64} not found"),
                    "flamectl get datasets lists those there are",
                );
            }
        }
    }

    /// Every group of the data spec has to become tasks of some role.
    fn check_placed(&mut self) {
        let data_roles: Vec<&Role> = self.schema.roles.iter().filter(|role| role.is_data_consumer).collect();
        let mut named: Vec<(String, String, Vec<&Role>)> = Vec::new();
        for group in self.job.data_spec.from_user.keys() {
            named.push((format!("dataSpec.fromUser.{group}"), group.clone(), data_roles.clone()));
        }
        match &self.job.data_spec.from_system {
            SystemData::Groups(groups) => {
                for group in groups.keys() {
                    named.push((format!("dataSpec.fromSystem.{group}"), group.clone(), data_roles.clone()));
                }
            }
            SystemData::Roles(entries) => {
                for (i, entry) in entries.iter().enumerate() {
                    let roles: Vec<&Role> = data_roles.iter().copied().filter(|role| role.name == entry.role).collect();
                    for group in entry.dataset_groups.keys() {
                        let path = format!("dataSpec.fromSystem[{i}].datasetGroups.{group}");
                        named.push((path, group.clone(), roles.clone()));
                    }
                }
            }
            SystemData::Ids(_) => {}
        }
        for (path, group, roles) in named {
            // Without a data role there is nothing to be placed in: that is a mistake of its own.
            if roles.is_empty() || self.placed.contains(&path) || self.refused.contains(&path) {
                continue;
            }
            let known: BTreeSet<&str> = roles.iter().flat_map(|role| groups_of(self.schema, role)).collect();
            let these = listed(roles.iter().map(|role| role.name.as_str()));
            let message = format!("group {group:.64} not found: no channel or groupAssociation of role {these} has it");
            let hint = suggest(&group, known.iter().copied());
            self.problem(&path, message, hint);
        }
    }
}
