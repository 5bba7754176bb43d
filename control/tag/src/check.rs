//! What a schema must fulfil by itself, whatever the job.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{GROUP_RULE, NAME_RULE, is_group, is_name, listed, nearest, shown, suggest};
use crate::problem::{Problem, is_full};
use crate::schema::{Channel, Role, Schema};

impl Schema {
    /// Every mistake of the schema by itself.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.roles.is_empty() {
            problems.push(self.places.problem("roles", "the schema has no role", "add at least one"));
        }
        if self.channels.is_empty() {
            problems.push(self.places.problem("channels", "the schema has no channel", "join its roles by one"));
        }
        self.check_names(&mut problems);
        for (i, channel) in self.channels.iter().enumerate() {
            self.check_channel(i, channel, &mut problems);
        }
        for (i, role) in self.roles.iter().enumerate() {
            self.check_role(i, role, &mut problems);
        }
        if !self.roles.is_empty() && !self.roles.iter().any(|role| role.is_data_consumer) {
            problems.push(self.places.problem(
                "roles",
                "no data consumer role found",
                "set isDataConsumer: true on the role that works on the data",
            ));
        }
        self.check_connected(&mut problems);
        problems
    }

    fn check_names(&self, problems: &mut Vec<Problem>) {
        let roles = self.roles.iter().map(|role| role.name.as_str());
        let channels = self.channels.iter().map(|channel| channel.name.as_str());
        for (what, list, names) in
            [("role", "roles", roles.collect::<Vec<_>>()), ("channel", "channels", channels.collect())]
        {
            let mut seen = BTreeMap::new();
            for (i, name) in names.into_iter().enumerate() {
                let path = format!("{list}[{i}].name");
                if !is_name(name) {
                    problems.push(self.places.problem(
                        &path,
                        format!("{} cannot name a {what}", shown(name)),
                        NAME_RULE,
                    ));
                }
                if let Some(first) = seen.insert(name, i) {
                    let message = format!("duplicate {what} {name}: {list}[{first}] has that name");
                    problems.push(self.places.problem(&path, message, "give each its own name"));
                }
            }
        }
    }

    fn role_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.roles.iter().map(|role| role.name.as_str())
    }

    fn check_channel(&self, i: usize, channel: &Channel, problems: &mut Vec<Problem>) {
        let name = &channel.name;
        let path = format!("channels[{i}]");
        if channel.pair.len() != 2 {
            problems.push(self.places.problem(
                &format!("{path}.pair"),
                format!("the pair of channel {name} names {} roles, not 2", channel.pair.len()),
                "name two roles; the same one twice joins the workers of one role",
            ));
        }
        for (k, role) in channel.pair.iter().enumerate() {
            if is_full(problems) {
                return;
            }
            if self.role(role).is_none() {
                problems.push(self.places.problem(
                    &format!("{path}.pair[{k}]"),
                    format!("role {role:.64} not found: channel {name} joins it and the schema does not have it"),
                    suggest(role, self.role_names()),
                ));
            }
        }
        for role in channel.func_tags.keys() {
            if !channel.joins(role) && !is_full(problems) {
                problems.push(self.places.problem(
                    &format!("{path}.funcTags.{role}"),
                    format!("role {role:.64} has function tags but is not in the pair of channel {name}"),
                    suggest(role, channel.pair.iter().map(String::as_str)),
                ));
            }
        }
        let Some(group_by) = &channel.group_by else { return };
        let path = format!("{path}.groupBy.value");
        if group_by.value.is_empty() {
            let hint = "name at least one group, or leave groupBy out for the one group default";
            problems.push(self.places.problem(&path, format!("channel {name} has no group"), hint));
        }
        let mut seen = BTreeSet::new();
        for (k, group) in group_by.value.iter().enumerate() {
            if is_full(problems) {
                return;
            }
            let path = format!("{path}[{k}]");
            if !is_group(group) {
                problems.push(self.places.problem(&path, format!("{} cannot name a group", shown(group)), GROUP_RULE));
            }
            if !seen.insert(group) {
                let message = format!("duplicate group {group} in channel {name}");
                problems.push(self.places.problem(&path, message, "name each group once"));
            }
        }
    }

    fn check_role(&self, i: usize, role: &Role, problems: &mut Vec<Problem>) {
        let name = &role.name;
        let path = format!("roles[{i}]");
        let channels = self.channels_of(name);
        if channels.is_empty() && !self.channels.is_empty() {
            // Where a pair misspells the role, that is the mistake.
            let mut unknown =
                self.channels.iter().flat_map(|channel| &channel.pair).filter(|one| self.role(one).is_none());
            if unknown.any(|one| nearest(one, self.role_names()) == Some(name)) {
                return;
            }
            problems.push(self.places.problem(
                &format!("{path}.name"),
                format!("role {name} is in no channel"),
                "name it in the pair of a channel, or remove it",
            ));
            return;
        }
        let groups: BTreeMap<&str, BTreeSet<&str>> =
            channels.iter().map(|channel| (channel.name.as_str(), channel.groups().into_iter().collect())).collect();
        for (k, association) in role.group_association.iter().enumerate() {
            if is_full(problems) {
                return;
            }
            let path = format!("{path}.groupAssociation[{k}]");
            for (channel_name, group) in association {
                let path = format!("{path}.{channel_name}");
                let Some(channel) = self.channel(channel_name) else {
                    let message = format!("channel {channel_name:.64} not found: the schema does not have it");
                    let hint = suggest(channel_name, channels.iter().map(|channel| channel.name.as_str()));
                    problems.push(self.places.problem(&path, message, hint));
                    continue;
                };
                if !channel.joins(name) {
                    problems.push(self.places.problem(
                        &path,
                        format!("role {name} is not in channel {channel_name}"),
                        format!("its channels are {}", listed(channels.iter().map(|channel| channel.name.as_str()))),
                    ));
                } else if !groups.get(channel_name.as_str()).is_some_and(|of_it| of_it.contains(group.as_str())) {
                    problems.push(self.places.problem(
                        &path,
                        format!("group {group:.64} not found in channel {channel_name}"),
                        suggest(group, channel.groups()),
                    ));
                }
            }
            // A channel that is not divided has one group only, so that an entry need not name it.
            for channel in channels.iter().filter(|channel| channel.group_by.is_some()) {
                if !association.contains_key(&channel.name) {
                    problems.push(self.places.problem(
                        &path,
                        format!("the association names no group for channel {} of role {name}", channel.name),
                        format!("add {}: with one of {}", channel.name, listed(channel.groups())),
                    ));
                }
            }
        }
        if role.group_association.is_empty() && !role.is_data_consumer {
            self.check_agreement(i, role, &channels, problems);
        }
    }

    /// A role without associations takes its channels' groups, so they have to be the same.
    fn check_agreement(&self, i: usize, role: &Role, channels: &[&Channel], problems: &mut Vec<Problem>) {
        let groups = |channel: &Channel| channel.groups().iter().map(|g| (*g).to_owned()).collect::<BTreeSet<_>>();
        let mut sets = channels.iter().map(|channel| groups(channel));
        let first = sets.next();
        if sets.any(|set| Some(&set) != first.as_ref()) {
            let said: Vec<String> =
                channels.iter().map(|channel| format!("{} has {}", channel.name, listed(channel.groups()))).collect();
            problems.push(self.places.problem(
                &format!("roles[{i}]"),
                format!(
                    "role {} has no groupAssociation and its channels disagree on groups: {}",
                    role.name,
                    said.join("; ")
                ),
                "write groupAssociation: one {channel: group, …} for each place of the role",
            ));
        }
    }

    /// The roles that are in channels must hang together: parts that cannot talk are separate jobs.
    fn check_connected(&self, problems: &mut Vec<Problem>) {
        let mut parts: Vec<BTreeSet<&str>> = Vec::new();
        for channel in &self.channels {
            let mut part: BTreeSet<&str> =
                channel.pair.iter().map(String::as_str).filter(|name| self.role(name).is_some()).collect();
            if part.is_empty() {
                continue;
            }
            let (touching, apart): (Vec<_>, Vec<_>) =
                parts.into_iter().partition(|other| other.iter().any(|name| part.contains(name)));
            part.extend(touching.into_iter().flatten());
            parts = apart;
            parts.push(part);
        }
        if parts.len() > 1 {
            parts.sort();
            let said: Vec<String> =
                parts.into_iter().map(|part| part.into_iter().collect::<Vec<_>>().join(", ")).collect();
            problems.push(self.places.problem(
                "channels",
                format!("the graph is not connected: no channel leads from one to another of ({})", said.join("), (")),
                "join them by a channel, or make each a schema of its own",
            ));
        }
    }
}
