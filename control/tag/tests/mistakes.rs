//! Mistakes in schemas, and in what a schema and a job mean together: all at once, each at its place.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod common;

use common::*;
use flame_tag::{Problems, Schema, dry_run};
use proptest::prelude::*;

fn schema_refusals(text: &str) -> Problems {
    Schema::parse(text, "schema.yaml").unwrap_err()
}

#[test]
fn every_mistake_of_a_schema_is_named_at_its_line() {
    let text = "\
name: many mistakes
roles:
  - {name: trainer, isDataConsumer: true, groupAssociation: [{param: us, other: us}]}
  - {name: aggregator, replicas: 2}
  - {name: aggregator}
  - {name: lonely}
channels:
  - name: param
    pair: [trainer, aggregator, ghost]
    groupBy: {type: tag, value: [eu, eu]}
    backend: kafka
    funcTags: {lonely: [fetch]}
  - name: a/b
    pair: [aggregator, trainer]
";
    let problems = schema_refusals(text);
    let all = problems.to_string();
    for expected in [
        "schema.yaml:4:24: roles[1].replicas: unknown field replicas; did you mean replica?",
        "schema.yaml:11:14: channels[0].backend: unknown backend kafka",
        "schema.yaml:5:12: roles[2].name: duplicate role aggregator",
        "schema.yaml:9:5: channels[0].pair: the pair of channel param names 3 roles, not 2",
        "schema.yaml:9:33: channels[0].pair[2]: role ghost not found",
        "schema.yaml:12:16: channels[0].funcTags.lonely: role lonely has function tags but is not in the pair",
        "schema.yaml:10:38: channels[0].groupBy.value[1]: duplicate group eu",
        "schema.yaml:13:11: channels[1].name: a/b cannot name a channel",
        "schema.yaml:3:70: roles[0].groupAssociation[0].param: group us not found in channel param",
        "roles[0].groupAssociation[0].other: channel other not found",
        "schema.yaml:6:12: roles[3].name: role lonely is in no channel",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
}

#[test]
fn a_graph_in_two_parts_is_refused() {
    let text = "\
name: two parts
roles: [{name: a, isDataConsumer: true}, {name: b}, {name: c}, {name: d}]
channels: [{name: x, pair: [a, b]}, {name: y, pair: [c, d]}]
";
    let all = schema_refusals(text).to_string();
    assert!(
        all.contains("the graph is not connected: no channel leads from one to another of (a, b), (c, d)"),
        "{all}"
    );
}

#[test]
fn an_association_has_to_name_a_group_for_every_channel_of_its_role() {
    let schema = HIER_MNIST
        .replace("{\"param-channel\": \"na\", \"global-channel\": \"default\"}", "{\"param-channel\": \"na\"}");
    let all = schema_refusals(&schema).to_string();
    assert!(all.contains("names no group for channel global-channel of role middle-aggregator"), "{all}");
    let schema = MNIST.replace("\"replica\": 1, \"groupAssociation\": [{", "\"groupAssociation\": [{\"x\": \"us\", ");
    assert!(schema_refusals(&schema).to_string().contains("channel x not found"));
}

#[test]
fn an_association_may_not_name_a_channel_that_the_role_is_not_in() {
    let schema = HIER_MNIST.replace(
        "[{\"global-channel\": \"default\"}]",
        "[{\"global-channel\": \"default\", \"param-channel\": \"eu\"}]",
    );
    let all = schema_refusals(&schema).to_string();
    assert!(
        all.contains("role top-aggregator is not in channel param-channel; its channels are global-channel"),
        "{all}"
    );
}

#[test]
fn missing_parts_of_a_schema_are_named() {
    let all = schema_refusals("{\"name\": \"x\"}").to_string();
    assert!(
        all.contains("required field roles is missing") && all.contains("required field channels is missing"),
        "{all}"
    );
    let all = schema_refusals("[]").to_string();
    assert!(all.contains("expected an object, found a list"), "{all}");
    let all = schema_refusals("{\"name\": \"x\", \"roles\": [], \"channels\": []}").to_string();
    assert!(all.contains("the schema has no role") && all.contains("the schema has no channel"), "{all}");
}

#[test]
fn a_dry_run_names_the_mistakes_of_both_files_together() {
    let schema = WALKTHROUGH.replace("\"replica\": 1", "\"replicas\": 1");
    let job = "designId: d\ndataSpec:\n  fromUser:\n    defualt: 1\nminCompleted: {trainr: 1}\nresources:\n  agregator: {memory: 1}\nbackend: mqtt\n";
    let problems = dry_run((&schema, "schema.json"), (job, "job.yaml"), &no_file, None, Some(&[])).unwrap_err();
    let all = problems.to_string();
    for expected in [
        "schema.json:2:80: roles[1].replicas: unknown field replicas",
        "job.yaml:4:14: dataSpec.fromUser.defualt: group defualt not found",
        "did you mean default?",
        "job.yaml:5:24: minCompleted.trainr: role trainr not found in the schema; did you mean trainer?",
        "job.yaml:7:3: resources.agregator: role agregator not found in the schema; did you mean aggregator?",
        "no code found for role trainer",
        "no code found for role aggregator",
    ] {
        assert!(all.contains(expected), "{expected}\n{all}");
    }
    let expansion = dry_run((WALKTHROUGH, "s"), (WALKTHROUGH_JOB, "j"), &no_file, None, None).unwrap();
    assert_eq!(expansion.tasks.len(), 2);
}

#[test]
fn what_can_never_be_reached_is_refused() {
    let job = |extra: &str| {
        format!(r#"{{"designId": "d", "backend": "mqtt", "dataSpec": {{"fromUser": {{"default": 3}}}}, {extra}}}"#)
    };
    let refused = |extra: &str| expanded(WALKTHROUGH, &job(extra)).unwrap_err().to_string();
    assert!(
        refused(r#""minCompleted": {"trainer": 4}"#)
            .contains("4 completed tasks of role trainer are asked for and it has 3")
    );
    assert!(refused(r#""minParticipants": 4"#).contains("no group of any channel has more than 3"));
    assert!(expanded(WALKTHROUGH, &job(r#""minParticipants": 3, "minCompleted": {"trainer": 3}"#)).is_ok());
}

#[test]
fn every_data_role_needs_data_of_its_own() {
    let schema = WALKTHROUGH.replace("\"replica\": 1", "\"isDataConsumer\": true");
    let job = r#"{"designId": "d", "backend": "mqtt", "dataSpec": {}, "minCompleted": {"ghost": 1}}"#;
    let all = expanded(&schema, job).unwrap_err().to_string();
    for role in ["trainer", "aggregator"] {
        assert!(all.contains(&format!("no dataset group specified for trainer role {role}")), "{all}");
    }
    assert!(all.contains("role ghost not found"), "{all}");
    let job = r#"{"designId": "d", "backend": "mqtt", "dataSpec": [{"role": "trainer", "datasetGroups": {"default": ["x"]}}]}"#;
    let all = expanded(&schema, job).unwrap_err().to_string();
    assert!(all.contains("trainer role aggregator") && !all.contains("trainer role trainer"), "{all}");
}

#[test]
fn ten_thousand_tasks_are_quickly_made() {
    let ids: Vec<String> = (0..10_000).map(|i| format!("{i:024x}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(expanded(MNIST, &job_with(&[("us", &ids)])).unwrap().tasks.len(), 10_001);
}

#[test]
fn a_count_beyond_the_limit_is_refused_before_anything_is_made() {
    let job = r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromUser": {"default": 4000000000}}}"#;
    let all = expanded(WALKTHROUGH, job).unwrap_err().to_string();
    assert!(all.contains("4000000001 tasks, more than 100000"), "{all}");
    let schema = WALKTHROUGH.replace("\"replica\": 1", "\"replica\": 2147483647");
    assert!(expanded(&schema, WALKTHROUGH_JOB).unwrap_err().to_string().contains("more than 100000"));
}

#[test]
fn ids_without_a_group_need_a_role_with_one_group() {
    let job = r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromSystem": ["x", "y"]}}"#;
    assert_eq!(expanded(WALKTHROUGH, job).unwrap().tasks.len(), 3);
    let all = expanded(PARALLEL, job).unwrap_err().to_string();
    assert!(all.contains("the data sets name no group and role trainer has the groups asia, eu, us"), "{all}");
}

#[test]
fn data_for_a_role_that_consumes_none_is_refused() {
    let job = r#"{"designId": "d", "backend": "mqtt", "dataSpec": [{"role": "aggregator", "datasetGroups": {"us": ["x"]}}, {"role": "trainr", "datasetGroups": {"us": ["x"]}}]}"#;
    let all = expanded(MNIST, job).unwrap_err().to_string();
    assert!(all.contains("dataSpec[0].role: role aggregator is no data consumer"), "{all}");
    assert!(all.contains("dataSpec[1].role: role trainr not found in the schema; did you mean trainer?"), "{all}");
}

#[test]
fn a_schema_keeps_everything_through_the_store() {
    for text in [WALKTHROUGH, HIER_MNIST, HYBRID, COORDINATED] {
        let schema = Schema::parse(text, "schema.json").unwrap();
        let stored = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&stored).unwrap(), schema);
        assert_eq!(Schema::parse(&stored, "stored").unwrap(), schema);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}", structured in "[\\[\\]{}:,a-c\" \n0-9&*!|>-]{0,80}") {
        for text in [text, structured] {
            let _ = dry_run((&text, "s"), (WALKTHROUGH_JOB, "j"), &no_file, None, None);
            let _ = dry_run((WALKTHROUGH, "s"), (&text, "j"), &no_file, None, None);
        }
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0usize..400, with in "[a-z{}\\[\\]\":,0-9]{0,3}") {
        let damage = |text: &str| {
            let mut text = text.to_owned();
            let at = at.min(text.len());
            if text.is_char_boundary(at) {
                text.insert_str(at, &with);
            }
            text
        };
        let _ = dry_run((&damage(HYBRID), "s"), (&damage(WALKTHROUGH_JOB), "j"), &no_file, None, None);
    }

    #[test]
    fn expansion_makes_what_the_data_spec_asks_for(eu in 1u32..20, us in 1u32..20, replica in 1u32..4) {
        let schema = WALKTHROUGH.replace("[\"default\"]", "[\"eu\", \"us\"]").replace("\"replica\": 1", &format!("\"replica\": {replica}"));
        let job = format!(r#"{{"designId": "d", "backend": "mqtt", "dataSpec": {{"fromUser": {{"us": {us}, "eu": {eu}}}}}}}"#);
        let expansion = expanded(&schema, &job).unwrap();
        prop_assert_eq!(expansion.tasks.len(), (eu + us + 2 * replica) as usize);
        for task in &expansion.tasks {
            let roster = expansion.roster(task, "param-channel");
            let size = if task.group_association["param-channel"] == "eu" { eu } else { us };
            prop_assert_eq!(roster.len(), (size + replica) as usize);
            prop_assert!(roster.contains(&task));
            prop_assert!(roster.is_sorted_by_key(|other| (other.role.as_str(), other.index)));
        }
    }
}
