//! The schema: roles joined by channels, Flame's topology abstraction graph.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::document::{self, Places};
use crate::problem::{Problem, Problems};
use crate::reader::{At, Reader};

/// A topology abstraction graph as a user draws it.
///
/// [`Schema::parse`] reads and checks one; deserialising trusts what was checked before it was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    /// What it is called.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The vertices, in the file's order.
    pub roles: Vec<Role>,
    /// The edges, in the file's order.
    pub channels: Vec<Channel>,
    /// Flame's connectors: kept, without meaning, as in Flame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connectors: Vec<serde_json::Value>,
    /// Where each field was read from.
    #[serde(skip)]
    pub(crate) places: Places,
}

/// A vertex: what a worker does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// Name, by which the code knows it too.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether each of its tasks works on a data set: then the job's data spec says how many tasks there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_data_consumer: bool,
    /// Tasks per group association; absent, 0 and negative mean 1. Without effect on a data consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<i32>,
    /// Channel to group, one entry per place that the role has in the graph. Empty: one entry per group of its channels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_association: Vec<BTreeMap<String, String>>,
}

impl Role {
    /// Tasks per group association of a role without data.
    pub fn replicas(&self) -> u32 {
        self.replica.and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1)
    }
}

/// An edge: a link between two roles, or among the workers of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// Name, by which code joins it.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The two roles; the same one twice is a self-loop. A checked schema has exactly two.
    pub pair: Vec<String>,
    /// The groups; workers see each other only within one. Absent: the one group `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// Function tags by role, by which code finds the channel that it needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub func_tags: BTreeMap<String, Vec<String>>,
    /// The transport; absent: the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// A broker of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_host: Option<String>,
    /// Flame's field: kept, without meaning, as in Flame.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unidirectional: bool,
}

/// Most roles and most channels of a schema. Known ones have fewer than ten of either, and checks compare them by pairs.
pub const MAX_ROLES: usize = 1000;
/// See [`MAX_ROLES`].
pub const MAX_CHANNELS: usize = 1000;
/// The group of a channel without `groupBy`.
pub const DEFAULT_GROUP: &str = "default";

impl Channel {
    /// The groups that a worker on this channel can be in.
    pub fn groups(&self) -> Vec<&str> {
        match &self.group_by {
            Some(group_by) => group_by.value.iter().map(String::as_str).collect(),
            None => vec![DEFAULT_GROUP],
        }
    }

    /// Whether a role takes part.
    pub fn joins(&self, role: &str) -> bool {
        self.pair.iter().any(|name| name == role)
    }

    /// Whether it joins the workers of one role.
    pub fn is_self_loop(&self) -> bool {
        matches!(self.pair.as_slice(), [one, other] if one == other)
    }
}

/// How a channel's workers are divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupBy {
    /// Always `tag`.
    #[serde(rename = "type")]
    pub kind: GroupKind,
    /// The legal groups.
    pub value: Vec<String>,
}

/// The kinds of grouping. Flame has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// By name.
    Tag,
}

/// A transport for channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Over an MQTT broker. The default.
    #[default]
    Mqtt,
    /// Peer to peer.
    P2p,
    /// Within one process.
    Inproc,
}

impl Backend {
    /// The backends by their names in files.
    pub const ALL: [(&'static str, Self); 3] = [("mqtt", Self::Mqtt), ("p2p", Self::P2p), ("inproc", Self::Inproc)];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mqtt => "mqtt",
            Self::P2p => "p2p",
            Self::Inproc => "inproc",
        })
    }
}

impl Schema {
    /// Reads and checks a schema in JSON or YAML. `file` is what its problems call it.
    pub fn parse(text: &str, file: &str) -> Result<Self, Problems> {
        let (schema, mut problems) = Self::read(text, file);
        match schema {
            Some(schema) => {
                problems.extend(schema.check());
                Problems::check(problems, schema)
            }
            None => Err(Problems::sorted(problems)),
        }
    }

    /// A role by its name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// A channel by its name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// The channels that a role takes part in, in the file's order.
    pub fn channels_of<'a>(&'a self, role: &str) -> Vec<&'a Channel> {
        self.channels.iter().filter(|channel| channel.joins(role)).collect()
    }

    /// The schema as far as it can be read, and what is wrong with its form. `None` where checking it further would only
    /// echo those problems.
    pub(crate) fn read(text: &str, file: &str) -> (Option<Self>, Vec<Problem>) {
        let node = match document::parse(text, file) {
            Ok(node) => node,
            Err(problem) => return (None, vec![problem]),
        };
        let mut reader = Reader::new(file);
        let root = At { node: &node, path: String::new(), mark: node.mark };
        let schema = read_schema(&mut reader, &root);
        let schema = schema.filter(|_| !reader.broken).map(|mut schema| {
            schema.places.record(&node, node.mark, reader.file(), "", "");
            schema
        });
        (schema, reader.problems)
    }
}

fn read_schema(r: &mut Reader, root: &At<'_>) -> Option<Schema> {
    let object = r.object(root, &["name", "description", "roles", "channels", "connectors", "revision"])?;
    let name = r.required(&object, "name", "name the schema").and_then(|at| r.text(&at)).unwrap_or_default();
    let roles = r.required(&object, "roles", "list the roles: [{name: trainer, isDataConsumer: true}, …]");
    let channels = r.required(&object, "channels", "list the channels: [{name: …, pair: [role, role]}, …]");
    let roles = roles.and_then(|at| r.list(&at, "list the roles"));
    let channels = channels.and_then(|at| r.list(&at, "list the channels"));
    let description = r.text_or_empty(&object, "description");
    // A schema that Flame printed carries its revision; ours is counted by the server.
    if let Some(at) = object.get("revision") {
        r.version(&at);
    }
    let connectors = match object.get("connectors").and_then(|at| r.list(&at, "list the connectors")) {
        Some(items) => items.iter().filter_map(|at| read_connector(r, at)).collect(),
        None => Vec::new(),
    };
    for (what, at, most) in [("roles", &roles, MAX_ROLES), ("channels", &channels, MAX_CHANNELS)] {
        if let Some(items) = at
            && let Some(excess) = items.get(most)
        {
            let message = format!("the schema has {} {what}, more than {most}", items.len());
            r.problem(excess, message, "many workers are one role with replicas or groups");
            r.broken = true;
            return None;
        }
    }
    if roles.is_none() || channels.is_none() {
        r.broken = true;
    }
    let roles = roles.unwrap_or_default().iter().filter_map(|at| read_role(r, at)).collect();
    let channels = channels.unwrap_or_default().iter().filter_map(|at| read_channel(r, at)).collect();
    Some(Schema { name, description, roles, channels, connectors, places: Places::default() })
}

/// Flame's connectors name a connection; nothing is known of its form.
fn read_connector(r: &mut Reader, at: &At<'_>) -> Option<serde_json::Value> {
    let object = r.object(at, &["name", "description", "connection"])?;
    r.required(&object, "name", "name the connector").and_then(|at| r.text(&at));
    r.required(&object, "connection", "say what it connects");
    r.json(at)
}

/// A value that others refer to: unreadable, it breaks what follows.
fn needed<T>(r: &mut Reader, value: Option<T>) -> Option<T> {
    r.broken |= value.is_none();
    value
}

fn read_role(r: &mut Reader, at: &At<'_>) -> Option<Role> {
    let object = r.object(at, &["name", "description", "isDataConsumer", "replica", "groupAssociation"]);
    let object = needed(r, object)?;
    let name = r.required(&object, "name", "name the role").and_then(|at| r.text(&at));
    let name = needed(r, name);
    let description = r.text_or_empty(&object, "description");
    let is_data_consumer = object.get("isDataConsumer").and_then(|at| r.boolean(&at)).unwrap_or(false);
    let replica = object.get("replica").and_then(|at| r.integer::<i32>(&at, i128::from(i32::MIN)));
    let mut group_association = Vec::new();
    if let Some(at) = object.get("groupAssociation") {
        let items = r.list(&at, "list the associations: [{channel: group}, …]");
        for item in needed(r, items)? {
            let entries = r.map(&item, "write {channel: group}");
            let mut association = BTreeMap::new();
            for (channel, at) in needed(r, entries)? {
                let group = r.text(&at);
                association.insert(channel, needed(r, group)?);
            }
            group_association.push(association);
        }
    }
    Some(Role { name: name?, description, is_data_consumer, replica, group_association })
}

fn read_channel(r: &mut Reader, at: &At<'_>) -> Option<Channel> {
    const FIELDS: [&str; 8] =
        ["name", "description", "pair", "groupBy", "funcTags", "backend", "brokerHost", "isUnidirectional"];
    let object = r.object(at, &FIELDS);
    let object = needed(r, object)?;
    let name = r.required(&object, "name", "name the channel").and_then(|at| r.text(&at));
    let name = needed(r, name);
    let pair = r.required(&object, "pair", "name the two roles that it joins: [role, role]");
    let pair = pair.and_then(|at| {
        let items = r.list(&at, "name two roles: [role, role]")?;
        let names: Vec<_> = items.iter().map(|item| r.text(item)).collect();
        names.into_iter().collect::<Option<Vec<_>>>()
    });
    let pair = needed(r, pair);
    let description = r.text_or_empty(&object, "description");
    let group_by = match object.get("groupBy") {
        Some(at) => {
            let group_by = read_group_by(r, &at);
            Some(needed(r, group_by)?)
        }
        None => None,
    };
    let mut func_tags = BTreeMap::new();
    if let Some(at) = object.get("funcTags") {
        for (role, at) in r.map(&at, "write {role: [tag, …]}").unwrap_or_default() {
            let tags = r.texts(&at, "list the tags: [fetch, upload]").unwrap_or_default();
            func_tags.insert(role, tags);
        }
    }
    let backend = object.get("backend").and_then(|at| r.word(&at, "backend", &Backend::ALL));
    let broker_host = object.get("brokerHost").and_then(|at| r.text(&at)).filter(|host| !host.is_empty());
    let is_unidirectional = object.get("isUnidirectional").and_then(|at| r.boolean(&at)).unwrap_or(false);
    Some(Channel {
        name: name?,
        description,
        pair: pair?,
        group_by,
        func_tags,
        backend,
        broker_host,
        is_unidirectional,
    })
}

fn read_group_by(r: &mut Reader, at: &At<'_>) -> Option<GroupBy> {
    let object = r.object(at, &["type", "value"])?;
    if let Some(at) = r.required(&object, "type", "write \"type\": \"tag\"") {
        r.word(&at, "type of grouping", &[("tag", GroupKind::Tag)]);
    }
    let value = r.required(&object, "value", "list the groups, or leave groupBy out for the one group default")?;
    let items = r.list(&value, "list the groups")?;
    let names: Vec<_> = items.iter().map(|item| r.text(item)).collect();
    let value = names.into_iter().collect::<Option<Vec<_>>>()?;
    Some(GroupBy { kind: GroupKind::Tag, value })
}
