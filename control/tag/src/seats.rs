//! Where a role's tasks may sit: which group of a data spec, or which entry of the schema, puts a task into which groups.

use std::collections::BTreeMap;

use crate::DEFAULT_GROUP;
use crate::schema::{Channel, Role, Schema};

/// The places of one role in the graph, looked up by group.
pub(crate) struct Seats<'s> {
    pub(crate) role: &'s Role,
    /// The channels of the role, in the schema's order.
    pub(crate) channels: Vec<&'s Channel>,
    /// Of a role with associations: the first that has the group. Of one without: on how many channels the group is.
    by_group: BTreeMap<&'s str, usize>,
}

/// Why a role has no place in a group.
pub(crate) enum NoSeat<'s> {
    /// It has no such group.
    Absent,
    /// Some of its channels have the group, the named one has not.
    Disagree(&'s str),
}

impl<'s> Seats<'s> {
    pub(crate) fn of(schema: &'s Schema, role: &'s Role) -> Self {
        let channels = schema.channels_of(&role.name);
        let mut by_group = BTreeMap::new();
        if role.group_association.is_empty() {
            for group in channels.iter().flat_map(|channel| channel.groups()) {
                *by_group.entry(group).or_insert(0) += 1;
            }
        } else {
            for (i, association) in role.group_association.iter().enumerate() {
                for group in association.values() {
                    by_group.entry(group.as_str()).or_insert(i);
                }
            }
        }
        Self { role, channels, by_group }
    }

    /// The groups in which the role has a place, or would have one if its channels agreed. Sorted.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &'s str> + Clone + '_ {
        self.by_group.keys().copied()
    }

    pub(crate) fn has(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    /// Every place: the role's own associations, or one for each group of its channels, in the schema's order.
    pub(crate) fn all(&self) -> Vec<BTreeMap<String, String>> {
        if self.role.group_association.is_empty() {
            let Some(first) = self.channels.first() else { return Vec::new() };
            return first.groups().into_iter().map(|group| self.everywhere(group)).collect();
        }
        self.role.group_association.iter().map(|association| self.completed(association)).collect()
    }

    /// The place of a data role's task in a group of the data spec: its first association that has the group on any
    /// channel; without associations, that group on every channel.
    pub(crate) fn find(&self, group: &str) -> Result<BTreeMap<String, String>, NoSeat<'s>> {
        let found = *self.by_group.get(group).ok_or(NoSeat::Absent)?;
        if let Some(association) = self.role.group_association.get(found) {
            return Ok(self.completed(association));
        }
        if found >= self.channels.len() {
            return Ok(self.everywhere(group));
        }
        match self.channels.iter().find(|channel| !channel.groups().contains(&group)) {
            Some(lacking) => Err(NoSeat::Disagree(&lacking.name)),
            None => Ok(self.everywhere(group)),
        }
    }

    fn everywhere(&self, group: &str) -> BTreeMap<String, String> {
        self.channels.iter().map(|channel| (channel.name.clone(), group.to_owned())).collect()
    }

    /// An association with the one group of channels that are not divided, which it need not name.
    fn completed(&self, association: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut association = association.clone();
        for channel in self.channels.iter().filter(|channel| channel.group_by.is_none()) {
            association.entry(channel.name.clone()).or_insert_with(|| DEFAULT_GROUP.to_owned());
        }
        association
    }
}
