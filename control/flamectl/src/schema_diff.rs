//! What differs between two schemas, by meaning: roles and channels are the same if they have one name.

use std::collections::BTreeSet;

use flame_tag::Schema;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One difference. Without a field, a whole role or channel is there or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Change {
    /// `schema`, `role` or `channel`.
    pub(crate) what: &'static str,
    /// Of the role or channel; empty for the schema.
    pub(crate) name: String,
    /// Which of its fields, as a schema file names it.
    pub(crate) field: Option<String>,
    /// What the older has; null: nothing.
    pub(crate) from: Option<Value>,
    /// What the newer has; null: nothing.
    pub(crate) to: Option<Value>,
}

/// All differences: the schema's own fields first, then roles, then channels, each in the older one's order.
pub(crate) fn differences(older: &Schema, newer: &Schema) -> Vec<Change> {
    let (older, newer) = (json!(older), json!(newer));
    let mut changes = Vec::new();
    let own = |schema: &Value| -> Map<String, Value> {
        let fields = schema.as_object().into_iter().flatten();
        fields.filter(|(key, _)| *key != "roles" && *key != "channels").map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    fields("schema", "", &own(&older), &own(&newer), &mut changes);
    for (what, list) in [("role", "roles"), ("channel", "channels")] {
        let (before, after) = (named(&older, list), named(&newer, list));
        for (name, was) in &before {
            let whole = |from, to| Change { what, name: name.clone(), field: None, from, to };
            match after.iter().find(|(other, _)| other == name) {
                Some((_, is)) => fields(what, name, was, is, &mut changes),
                None => changes.push(whole(Some(Value::Object(was.clone())), None)),
            }
        }
        for (name, is) in after.iter().filter(|(name, _)| before.iter().all(|(other, _)| other != name)) {
            let to = Some(Value::Object(is.clone()));
            changes.push(Change { what, name: name.clone(), field: None, from: None, to });
        }
        // The order of channels is the order in which tasks list them; that of roles has no meaning.
        let names_of = |list: &[(String, Map<String, Value>)]| -> Vec<String> {
            list.iter().map(|(name, _)| name.clone()).collect()
        };
        let (was, is) = (names_of(&before), names_of(&after));
        if what == "channel" && was != is && was.iter().collect::<BTreeSet<_>>() == is.iter().collect() {
            let field = Some("order of channels".to_owned());
            changes.push(Change {
                what: "schema",
                name: String::new(),
                field,
                from: Some(json!(was)),
                to: Some(json!(is)),
            });
        }
    }
    changes
}

fn named(schema: &Value, list: &str) -> Vec<(String, Map<String, Value>)> {
    let items = schema.get(list).and_then(Value::as_array).into_iter().flatten();
    let named = items.filter_map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.as_object()?.clone())));
    named.collect()
}

fn fields(
    what: &'static str,
    name: &str,
    was: &Map<String, Value>,
    is: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    let added = is.keys().filter(|key| !was.contains_key(*key));
    for key in was.keys().chain(added) {
        let (from, to) = (was.get(key), is.get(key));
        if from != to {
            let (from, to) = (from.cloned(), to.cloned());
            changes.push(Change { what, name: name.to_owned(), field: Some(key.clone()), from, to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::parse(text, "schema.yaml").unwrap()
    }

    #[test]
    fn roles_and_channels_are_compared_by_name() {
        let older = schema(
            "name: s\nroles: [{name: trainer, isDataConsumer: true}, {name: aggregator, replica: 1}]\n\
             channels: [{name: a, pair: [trainer, aggregator]}, {name: b, pair: [trainer, aggregator]}]\n",
        );
        assert_eq!(differences(&older, &older), []);
        let newer = schema(
            "name: s\ndescription: new\nroles: [{name: aggregator, replica: 2}, {name: trainer, isDataConsumer: true}, {name: eval}]\n\
             channels: [{name: b, pair: [trainer, aggregator], backend: p2p}, {name: c, pair: [eval, aggregator]}]\n",
        );
        let said: Vec<_> = differences(&older, &newer)
            .into_iter()
            .map(|c| (c.what, c.name, c.field.unwrap_or_default(), c.from.is_some(), c.to.is_some()))
            .collect();
        let expected = [
            ("schema", "", "description", false, true),
            ("role", "aggregator", "replica", true, true),
            ("role", "eval", "", false, true),
            ("channel", "a", "", true, false),
            ("channel", "b", "backend", false, true),
            ("channel", "c", "", false, true),
        ]
        .map(|(what, name, field, from, to)| (what, name.to_owned(), field.to_owned(), from, to));
        assert_eq!(said, expected);
    }

    #[test]
    fn another_order_of_channels_is_a_difference() {
        let text = |channels: &str| {
            format!("name: s\nroles: [{{name: t, isDataConsumer: true}}, {{name: a}}]\nchannels: [{channels}]\n")
        };
        let (one, two) = ("{name: a, pair: [t, a]}", "{name: b, pair: [t, a]}");
        let changes = differences(&schema(&text(&format!("{one}, {two}"))), &schema(&text(&format!("{two}, {one}"))));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].to, Some(json!(["b", "a"])));
    }
}
