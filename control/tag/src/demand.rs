//! Which tasks a job asks for, role by role and group by group, before they are made.

use std::collections::{BTreeMap, BTreeSet};

use crate::expand::{DatasetInfo, MAX_TASKS, sorted_roles};
use crate::job::{JobSpec, SystemData};
use crate::names::{listed, suggest};
use crate::problem::{Problem, is_full};
use crate::schema::Schema;
use crate::seats::{NoSeat, Seats};

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

/// What a job asks for.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// In expansion order.
    pub(crate) batches: Vec<Batch>,
    /// Data roles that may lack tasks because of a mistake that is named already.
    pub(crate) explained: BTreeSet<String>,
}

/// A group that the data spec names.
struct Named<'j> {
    /// Its path in the job.
    path: String,
    /// The role that it is for; absent: every data role that has the group.
    role: Option<&'j str>,
    /// Absent: the one group that there is.
    group: Option<&'j str>,
    data: Data<'j>,
}

#[derive(Clone, Copy)]
enum Data<'j> {
    Participants(u32),
    Datasets(&'j [String]),
}

/// Walks through the data spec; what is wrong with it goes to `problems`.
pub(crate) fn demand(
    schema: &Schema,
    job: &JobSpec,
    datasets: &BTreeMap<String, DatasetInfo>,
    problems: &mut Vec<Problem>,
) -> Demand {
    let named = named(job);
    let roles: Vec<Seats<'_>> = sorted_roles(schema).into_iter().map(|role| Seats::of(schema, role)).collect();
    let mut asked = Asked { job, demand: Demand::default(), problems };
    asked.check_roles(schema);
    asked.check_datasets(&named, datasets);
    let consumers: Vec<&Seats<'_>> = roles.iter().filter(|seats| seats.role.is_data_consumer).collect();
    asked.check_groups(&named, &consumers);
    for seats in &roles {
        if seats.role.is_data_consumer {
            asked.data_tasks(seats, &named);
        } else {
            asked.replicas(seats);
        }
    }
    asked.demand
}

/// All groups that the data spec names: participants first, then data sets, each by group.
fn named(job: &JobSpec) -> Vec<Named<'_>> {
    let mut named = Vec::new();
    for (group, count) in &job.data_spec.from_user {
        let (path, data) = (format!("dataSpec.fromUser.{group}"), Data::Participants(*count));
        named.push(Named { path, role: None, group: Some(group), data });
    }
    match &job.data_spec.from_system {
        SystemData::Groups(groups) => {
            for (group, ids) in groups {
                let path = format!("dataSpec.fromSystem.{group}");
                named.push(Named { path, role: None, group: Some(group), data: Data::Datasets(ids) });
            }
        }
        SystemData::Roles(entries) => {
            for (i, entry) in entries.iter().enumerate() {
                for (group, ids) in &entry.dataset_groups {
                    let path = format!("dataSpec.fromSystem[{i}].datasetGroups.{group}");
                    let role = Some(entry.role.as_str());
                    named.push(Named { path, role, group: Some(group), data: Data::Datasets(ids) });
                }
            }
        }
        SystemData::Ids(ids) => {
            named.push(Named {
                path: "dataSpec.fromSystem".to_owned(),
                role: None,
                group: None,
                data: Data::Datasets(ids),
            });
        }
    }
    named
}

struct Asked<'a> {
    job: &'a JobSpec,
    demand: Demand,
    problems: &'a mut Vec<Problem>,
}

impl Asked<'_> {
    fn problem(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(self.job.places.problem(path, message, hint));
    }

    fn explain(&mut self, role: &str) {
        self.demand.explained.insert(role.to_owned());
    }

    /// A role without data: each of its places, as often as it has replicas.
    fn replicas(&mut self, seats: &Seats<'_>) {
        let places = seats.all();
        let wanted = u64::from(seats.role.replicas());
        for _ in 0..wanted {
            for association in &places {
                let (role, association) = (seats.role.name.clone(), association.clone());
                self.demand.batches.push(Batch { role, association, source: Source::Replica });
            }
            // Replicas beyond the limit are refused by their number, not made.
            if places.is_empty() || self.demand.batches.len() as u64 > MAX_TASKS {
                return;
            }
        }
    }

    /// A role with data: participants by group, then data sets by group, in the order in which they are listed.
    fn data_tasks(&mut self, seats: &Seats<'_>, named: &[Named<'_>]) {
        for named in named.iter().filter(|named| named.role.is_none_or(|role| role == seats.role.name)) {
            let Some(group) = named.group.or_else(|| only(seats.groups())) else { continue };
            let Ok(association) = seats.find(group) else { continue };
            let source = match named.data {
                Data::Participants(count) => Source::Participants(count),
                Data::Datasets(ids) => Source::Datasets(ids.to_vec()),
            };
            self.demand.batches.push(Batch { role: seats.role.name.clone(), association, source });
        }
    }

    /// Entries of the later generation name roles; they must be data roles of the schema.
    fn check_roles(&mut self, schema: &Schema) {
        let SystemData::Roles(entries) = &self.job.data_spec.from_system else { return };
        let consumers: Vec<&str> =
            schema.roles.iter().filter(|role| role.is_data_consumer).map(|role| role.name.as_str()).collect();
        for (i, entry) in entries.iter().enumerate() {
            if is_full(self.problems) {
                return;
            }
            let path = format!("dataSpec.fromSystem[{i}].role");
            match schema.role(&entry.role) {
                None => {
                    // It may have been meant for any of them.
                    for role in &consumers {
                        self.explain(role);
                    }
                    let hint = suggest(&entry.role, consumers.iter().copied());
                    self.problem(&path, format!("role {:.64} not found in the schema", entry.role), hint);
                }
                Some(role) if !role.is_data_consumer => {
                    let hint =
                        format!("set isDataConsumer on it, or name one of {}", listed(consumers.iter().copied()));
                    self.problem(&path, format!("role {} is no data consumer", entry.role), hint);
                }
                Some(role) if entry.dataset_groups.is_empty() => {
                    self.explain(&role.name);
                    self.problem(
                        &format!("dataSpec.fromSystem[{i}].datasetGroups"),
                        format!("no dataset group specified for trainer role {}", role.name),
                        "write {group: [dataset id, …]}",
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn check_datasets(&mut self, named: &[Named<'_>], datasets: &BTreeMap<String, DatasetInfo>) {
        let mut unknown = BTreeSet::new();
        for named in named {
            let Data::Datasets(ids) = named.data else { continue };
            for (k, id) in ids.iter().enumerate() {
                if !datasets.contains_key(id) && unknown.insert(id) && !is_full(self.problems) {
                    self.problem(
                        &format!("{}[{k}]", named.path),
                        format!("dataset {id:.64} not found"),
                        "flamectl get datasets lists those there are",
                    );
                }
            }
        }
    }

    /// Every group of the data spec has to become tasks of some role.
    fn check_groups(&mut self, named: &[Named<'_>], consumers: &[&Seats<'_>]) {
        for named in named {
            if is_full(self.problems) {
                return;
            }
            let roles: Vec<&Seats<'_>> = consumers
                .iter()
                .copied()
                .filter(|seats| named.role.is_none_or(|role| role == seats.role.name))
                .collect();
            match named.group {
                Some(group) => self.check_group(named, group, &roles),
                None => self.check_only_group(named, &roles),
            }
        }
    }

    fn check_group(&mut self, named: &Named<'_>, group: &str, roles: &[&Seats<'_>]) {
        let having: Vec<&Seats<'_>> = roles.iter().copied().filter(|seats| seats.has(group)).collect();
        if having.is_empty() {
            // Without a data role there is nothing to be placed in: that is a mistake of its own.
            if roles.is_empty() {
                return;
            }
            for seats in roles {
                self.explain(&seats.role.name);
            }
            let these = listed(roles.iter().map(|seats| seats.role.name.as_str()));
            let known: BTreeSet<&str> = roles.iter().flat_map(|seats| seats.groups()).collect();
            let message = format!("group {group:.64} not found: no channel or groupAssociation of role {these} has it");
            self.problem(&named.path, message, suggest(group, known.iter().copied()));
            return;
        }
        for seats in &having {
            if let Err(NoSeat::Disagree(lacking)) = seats.find(group) {
                let role = &seats.role.name;
                self.explain(role);
                self.problem(
                    &named.path,
                    format!("the channels of role {role} disagree on group {group:.64}: {lacking} does not have it"),
                    "write the role's groupAssociation: one {channel: group, …} for each place",
                );
            }
        }
        if matches!(named.data, Data::Datasets([])) {
            for seats in &having {
                self.explain(&seats.role.name);
            }
            let these = listed(having.iter().map(|seats| seats.role.name.as_str()));
            let message = format!("no dataset specified for trainer role {these}, group {group:.64}");
            self.problem(&named.path, message, "list dataset ids, or remove the group");
        }
    }

    /// Bare ids of data sets need a role with one group.
    fn check_only_group(&mut self, named: &Named<'_>, roles: &[&Seats<'_>]) {
        for seats in roles {
            let role = &seats.role.name;
            if let Some(group) = only(seats.groups()) {
                self.check_group(named, group, &[seats]);
            } else {
                self.explain(role);
                let groups = listed(seats.groups());
                let message = format!("the data sets name no group and role {role} has the groups {groups}");
                self.problem(&named.path, message, "write {group: [dataset id, …]}");
            }
        }
    }
}

/// The one item that there is, if there is one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next();
    if items.next().is_some() { None } else { first }
}
