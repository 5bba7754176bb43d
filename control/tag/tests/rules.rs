//! Rules of expansion beyond the listed cases: orders, groups, limits, and files that mean harm.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic too")]

mod common;

use std::fmt::Write as _;

use common::*;
use flame_tag::{MAX_CHANNELS, MAX_PROBLEMS, MAX_ROLES, Problems, Schema, TaskKind, TaskPlan, dry_run};

fn job(data: &str) -> String {
    format!(r#"{{"designId": "d", "backend": "mqtt", "dataSpec": {data}}}"#)
}

fn tasks(schema: &str, data: &str) -> Vec<TaskPlan> {
    expanded(schema, &job(data)).unwrap_or_else(|problems| panic!("{problems}")).tasks
}

fn refused(schema: &str, data: &str) -> Problems {
    dry_run((schema, "schema.json"), (&job(data), "job.json"), &no_file, None, None).unwrap_err()
}

/// Role, index and group on the channel `c`.
fn seats(tasks: &[TaskPlan]) -> Vec<(&str, u32, &str)> {
    tasks.iter().map(|t| (t.role.as_str(), t.index, t.group_association["c"].as_str())).collect()
}

#[test]
fn replicas_repeat_all_places_in_the_schemas_order() {
    let schema = r"
name: s
roles: [{name: t, isDataConsumer: true}, {name: a, replica: 2, groupAssociation: [{c: z}, {c: b}]}]
channels: [{name: c, pair: [t, a], groupBy: {type: tag, value: [b, z]}}]
";
    let made = tasks(schema, r#"{"fromUser": {"z": 1, "b": 1}}"#);
    assert_eq!(
        seats(&made),
        [("a", 0, "z"), ("a", 1, "b"), ("a", 2, "z"), ("a", 3, "b"), ("t", 0, "b"), ("t", 1, "z")]
    );
    let group_indices: Vec<u32> = made.iter().map(|task| task.group_index).collect();
    assert_eq!(group_indices, [0, 0, 1, 1, 0, 0]);
}

#[test]
fn without_associations_the_groups_of_a_role_stand_in_its_first_channels_order() {
    let schema = r"
name: s
roles: [{name: t, isDataConsumer: true}, {name: a, replica: 2}, {name: e}]
channels:
  - {name: c, pair: [t, a], groupBy: {type: tag, value: [us, eu]}}
  - {name: d, pair: [a, e], groupBy: {type: tag, value: [eu, us]}}
";
    let made = tasks(schema, r#"{"fromUser": {"us": 1}}"#);
    let of = |role: &str| -> Vec<&str> {
        let of_role = made.iter().filter(|task| task.role == role);
        of_role.map(|task| task.group_association.values().next().unwrap().as_str()).collect()
    };
    assert_eq!(of("a"), ["us", "eu", "us", "eu"]);
    assert_eq!(of("e"), ["eu", "us"]);
    let both = made.iter().find(|task| task.role == "a").unwrap();
    assert_eq!(both.group_association["c"], both.group_association["d"]);
}

#[test]
fn participants_come_before_data_sets_and_each_by_group() {
    let schema = r"
name: s
roles: [{name: t, isDataConsumer: true}, {name: a}]
channels: [{name: c, pair: [t, a], groupBy: {type: tag, value: [x, y]}}]
";
    let made = tasks(schema, r#"{"fromUser": {"y": 1, "x": 2}, "fromSystem": {"y": ["2", "1"], "x": ["9"]}}"#);
    let trainers: Vec<_> = made.iter().filter(|task| task.role == "t").collect();
    let said: Vec<_> = trainers
        .iter()
        .map(|t| (t.kind, t.group_association["c"].as_str(), t.dataset.as_deref().unwrap_or("-")))
        .collect();
    let (user, system) = (TaskKind::User, TaskKind::System);
    let expected = [
        (user, "x", "-"),
        (user, "x", "-"),
        (user, "y", "-"),
        (system, "x", "9"),
        (system, "y", "2"),
        (system, "y", "1"),
    ];
    assert_eq!(said, expected);
    assert_eq!(trainers.iter().map(|t| t.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn two_data_roles_share_the_groups_that_both_have() {
    let schema = r"
name: s
roles: [{name: t, isDataConsumer: true}, {name: e, isDataConsumer: true}, {name: a}]
channels:
  - {name: c, pair: [t, a], groupBy: {type: tag, value: [x, y]}}
  - {name: d, pair: [e, a], groupBy: {type: tag, value: [x, y]}}
";
    let made = tasks(schema, r#"{"fromUser": {"x": 2}, "fromSystem": {"y": ["1"]}}"#);
    assert_eq!(made.iter().filter(|task| task.role == "e").count(), 3);
    assert_eq!(made.iter().filter(|task| task.role == "t").count(), 3);
}

#[test]
fn a_data_group_takes_the_first_association_that_has_it_on_any_channel() {
    let made = expanded(HYBRID, &job_with(&[("default", &["1"])])).unwrap().tasks;
    assert_eq!(made[1].group_association["param-channel"], "us");
}

#[test]
fn names_sort_by_their_bytes_and_group_names_may_have_levels() {
    let schema = r"
name: s
roles: [{name: b, isDataConsumer: true}, {name: a10}, {name: a9}, {name: B}]
channels:
  - {name: c, pair: [b, a10], groupBy: {type: tag, value: [default/us/west]}}
  - {name: d, pair: [a9, B], groupBy: {type: tag, value: [default/us/west]}}
  - {name: e, pair: [a9, b], groupBy: {type: tag, value: [default/us/west]}}
";
    let made = tasks(schema, r#"{"fromUser": {"default/us/west": 1}}"#);
    assert_eq!(made.iter().map(|task| task.role.as_str()).collect::<Vec<_>>(), ["B", "a10", "a9", "b"]);
}

#[test]
fn a_self_loop_and_a_pair_may_share_a_role_in_either_order() {
    for pair in ["[a, t]", "[t, a]"] {
        let schema = format!(
            "name: s\nroles: [{{name: t, isDataConsumer: true}}, {{name: a}}]\n\
             channels: [{{name: c, pair: [t, t]}}, {{name: d, pair: {pair}}}]\n"
        );
        let made = tasks(&schema, r#"{"fromUser": {"default": 2}}"#);
        assert_eq!(made.len(), 3);
        let loops: Vec<bool> = made[1].channels.iter().map(|channel| channel.self_loop).collect();
        assert_eq!(loops, [true, false]);
    }
}

#[test]
fn json_is_read_as_json_says() {
    let schema = WALKTHROUGH.replace("A simple example schema v1.0.0", r"caf\u00e9 \ud83d\ude00 \/ \t");
    let read = Schema::parse(&schema, "s").unwrap();
    assert_eq!(read.name, "café 😀 / \t");
    let compact: String = WALKTHROUGH.replace('\n', "").replace("\": ", "\":").replace(", \"", ",\"");
    assert_eq!(Schema::parse(&compact, "s").unwrap(), Schema::parse(WALKTHROUGH, "s").unwrap());
    let spread = WALKTHROUGH.replace("\":", "\"\n:\n").replace(',', "\t,\r\n");
    assert_eq!(Schema::parse(&spread, "s").unwrap(), Schema::parse(WALKTHROUGH, "s").unwrap());
    let long = format!(
        r#"{{"designId": "d", "backend": "mqtt", "dataSpec": {{"fromUser": {{"default": 1}}}}, "hyperparameters": {{"{}": 1}}}}"#,
        "k".repeat(900)
    );
    assert_eq!(expanded(WALKTHROUGH, &long).unwrap().tasks.len(), 2);
}

#[test]
fn yaml_anchors_merge_nothing_that_is_not_there() {
    let made = tasks(
        "name: s\nroles: [{name: t, isDataConsumer: true}, {name: a}]\nchannels:\n  - {name: c, pair: &both [t, a], groupBy: &g {type: tag, value: [x]}}\n  - {name: d, pair: *both, groupBy: *g}\n",
        r#"{"fromUser": {"x": 1}}"#,
    );
    assert_eq!(made[0].channels.len(), 2);
}

#[test]
fn columns_count_characters() {
    let schema = "{\"name\": \"größe 😀\", \"rolls\": []}";
    let problems = Schema::parse(schema, "s.json").unwrap_err();
    let place = problems.iter().find(|p| p.message.contains("rolls")).unwrap();
    assert_eq!((place.line, place.column), (Some(1), Some(21)));
}

#[test]
fn numbers_beyond_every_range_are_refused() {
    for (number, said) in [
        ("4294967296", "too large"),
        ("99999999999999999999999999999999999999999999", ""),
        ("-1", "below 1"),
        ("1.5", "expected a whole number"),
        ("1e3", "expected a whole number"),
        ("1e400", ""),
        ("true", "expected a whole number"),
        ("\"2\"", "expected a whole number"),
        ("null", "expected a whole number"),
        ("[]", "expected a whole number"),
    ] {
        let all = refused(WALKTHROUGH, &format!(r#"{{"fromUser": {{"default": {number}}}}}"#));
        assert!(all.to_string().contains(said), "{number}: {all}");
        assert_eq!(all.0.len(), 1, "{number}: {all}");
    }
}

#[test]
fn unknown_keys_are_refused_in_every_object() {
    let schema = r#"{"name": "s", "x1": 1, "roles": [{"name": "t", "isDataConsumer": true, "x2": 1}],
        "channels": [{"name": "c", "pair": ["t", "t"], "x3": 1, "groupBy": {"type": "tag", "value": ["g"], "x4": 1},
                      "funcTags": {"x5": ["f"]}}], "connectors": [{"name": "n", "connection": {}, "x6": 1}]}"#;
    let job = r#"{"designId": "d", "backend": "mqtt", "x7": 1,
        "dataSpec": {"x8": 1, "fromSystem": [{"role": "t", "datasetGroups": {"g": ["1"]}, "x9": 1}]},
        "modelSpec": {"y1": 1, "baseModel": {"name": "", "y2": 1}, "optimizer": {"sort": "a", "y3": 1}, "selector": {"sort": "a", "y4": 1}},
        "resources": {"t": {"y5": 1}}, "compression": {"y6": 1}}"#;
    let all = dry_run((schema, "schema.json"), (job, "job.json"), &no_file, None, None).unwrap_err().to_string();
    for key in ["x1", "x2", "x3", "x4", "x6", "x7", "x8", "x9", "y1", "y2", "y3", "y4", "y5", "y6"] {
        assert!(all.contains(&format!("unknown field {key}")), "{key}\n{all}");
    }
    assert!(all.contains("role x5 has function tags but is not in the pair"), "{all}");
}

#[test]
fn what_flame_prints_with_its_entities_is_accepted() {
    let schema = WALKTHROUGH.replacen('{', "{\"revision\": 3, ", 1);
    let job = WALKTHROUGH_JOB.replacen('{', "{\"id\": \"624888fda8001d773e34de43\", \"userId\": \"foo\", ", 1);
    assert_eq!(expanded(&schema, &job).unwrap().tasks.len(), 2);
}

#[test]
fn one_mistake_is_told_once_and_at_its_place() {
    for (schema, data, expected) in [
        (WALKTHROUGH, r#"{"fromUser": {"default": 0}}"#, "job.json:1:75: dataSpec.fromUser.default: 0 is below 1"),
        (WALKTHROUGH, r#"{"fromUser": {"": 1}}"#, "group  not found"),
        (WALKTHROUGH, r#"{"fromUser": []}"#, "dataSpec.fromUser: expected an object, found a list"),
        (
            WALKTHROUGH,
            r#"{"fromSystem": {"default": []}}"#,
            "no dataset specified for trainer role trainer, group default",
        ),
        (WALKTHROUGH, r#"{"fromSystem": {"default": [1]}}"#, "expected a text, found a number"),
        (WALKTHROUGH, r#"{"fromSystem": {"default": [""]}}"#, "the id of a dataset is empty"),
        (
            WALKTHROUGH,
            r#"[{"role": "trainer", "datasetGroups": {}}]"#,
            "no dataset group specified for trainer role trainer",
        ),
        (
            WALKTHROUGH,
            r#"[{"role": "trainer", "datasetGroups": {"default": []}}]"#,
            "no dataset specified for trainer role trainer, group default",
        ),
        (
            WALKTHROUGH,
            r#"[{"role": "trainr", "datasetGroups": {"default": ["1"]}}]"#,
            "role trainr not found in the schema; did you mean trainer?",
        ),
        (WALKTHROUGH, r"[]", "no dataset group specified for trainer role trainer"),
        (WALKTHROUGH, r"{}", "no dataset group specified for trainer role trainer"),
    ] {
        let all = refused(schema, data);
        assert!(all.to_string().contains(expected), "{data}: {all}");
        assert_eq!(all.0.len(), 1, "{data}: {all}");
    }
}

#[test]
fn a_role_without_data_is_told_beside_the_mistake_of_another() {
    let schema = WALKTHROUGH.replace("\"replica\": 1", "\"isDataConsumer\": true");
    let all = refused(&schema, r#"[{"role": "trainer", "datasetGroups": {}}]"#).to_string();
    for role in ["trainer", "aggregator"] {
        assert!(all.contains(&format!("no dataset group specified for trainer role {role}")), "{all}");
    }
}

#[test]
fn mistakes_stand_in_the_order_of_the_files() {
    let schema =
        WALKTHROUGH.replace("\"replica\"", "\"replicas\"").replace("\"name\": \"trainer\"", "\"name\": \"tra iner\"");
    let all = refused(&schema, r#"{"fromUser": {"nope": 1}}"#);
    let places: Vec<_> = all.iter().map(|p| (p.file.as_str(), p.line, p.column)).collect();
    assert!(places.is_sorted_by_key(|(file, line, column)| (*file != "schema.json", *line, *column)), "{all}");
    assert!(all.to_string().contains("tra iner cannot name a role"), "{all}");
}

#[test]
fn names_that_cannot_be_seen_are_quoted() {
    let schema = WALKTHROUGH.replace("\"name\": \"aggregator\"", "\"name\": \"\"");
    assert!(refused(&schema, r#"{"fromUser": {"default": 1}}"#).to_string().contains("\"\" cannot name a role"));
}

#[test]
fn a_schema_of_a_thousand_roles_is_read_and_a_larger_one_is_refused() {
    let star = |roles: usize| {
        let mut text = "name: star\nroles:\n  - {name: hub, isDataConsumer: true}\n".to_owned();
        for i in 1..roles {
            writeln!(text, "  - {{name: r{i}}}").unwrap();
        }
        text.push_str("channels:\n");
        for i in 1..roles {
            writeln!(text, "  - {{name: c{i}, pair: [hub, r{i}]}}").unwrap();
        }
        text
    };
    assert_eq!(tasks(&star(MAX_ROLES), r#"{"fromUser": {"default": 1}}"#).len(), MAX_ROLES);
    let all = refused(&star(MAX_CHANNELS + 2), r#"{"fromUser": {"default": 1}}"#);
    assert!(all.to_string().contains(&format!("has {} roles, more than {MAX_ROLES}", MAX_ROLES + 2)), "{all}");
}

#[test]
fn of_very_many_mistakes_the_first_are_told() {
    let groups: Vec<String> = (0..20_000).map(|i| format!(r#""group-{i}": 1"#)).collect();
    let all = refused(WALKTHROUGH, &format!(r#"{{"fromUser": {{{}}}}}"#, groups.join(",")));
    assert_eq!(all.0.len(), MAX_PROBLEMS + 1);
    assert!(all.0.last().unwrap().message.contains("more mistakes"), "{}", all.0.last().unwrap());
}

#[test]
fn ten_thousand_groups_are_expanded() {
    let names: Vec<String> = (0..10_000).map(|i| format!("g{i:05}")).collect();
    let list = names.join(", ");
    let schema = format!(
        "name: s\nroles: [{{name: t, isDataConsumer: true}}, {{name: a}}]\nchannels: [{{name: c, pair: [t, a], groupBy: {{type: tag, value: [{list}]}}}}]\n"
    );
    let data: Vec<String> = names.iter().map(|name| format!("\"{name}\": 1")).collect();
    assert_eq!(tasks(&schema, &format!(r#"{{"fromUser": {{{}}}}}"#, data.join(","))).len(), 20_000);
}
