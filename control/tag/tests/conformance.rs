//! Section A of the conformance cases: expansion.
#![expect(clippy::expect_used, reason = "helpers of tests may panic too")]

mod common;

use std::collections::BTreeMap;

use common::*;
use flame_tag::{Backend, JobSpec, Problems, Schema, TaskKind, expand, task_id};

fn messages(result: Result<impl Sized, Problems>) -> String {
    result.err().expect("mistakes").to_string()
}

#[test]
fn tag_01_a_data_set_makes_one_trainer_beside_the_aggregator() {
    let tasks = expanded(MNIST, &job_with(&[("us", &["d1"])])).unwrap().tasks;
    assert_eq!(places(&tasks, "param-channel"), [("aggregator", "us"), ("trainer", "us")]);
    assert_eq!(tasks[0].dataset, None);
    assert_eq!(tasks[1].dataset.as_deref(), Some("d1"));
    assert_eq!(tasks[1].dataset_url.as_deref(), Some("https://data.example/d1"));
}

#[test]
fn tag_02_trainers_stand_in_the_order_of_their_data_sets() {
    let ids = ["z", "y", "x", "w", "v", "u", "t", "s", "r", "q"];
    let tasks = expanded(MNIST, &job_with(&[("us", &ids)])).unwrap().tasks;
    assert_eq!(tasks.len(), 11);
    let order: Vec<_> = tasks.iter().filter_map(|task| task.dataset.as_deref()).collect();
    assert_eq!(order, ids);
    assert_eq!(tasks.iter().skip(1).map(|task| task.index).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}

#[test]
fn tag_04_a_hierarchy_has_one_middle_aggregator_for_each_association() {
    let tasks =
        expanded(HIER_MNIST, &job_with(&[("eu", &["germany", "uk"]), ("na", &["canada", "us"])])).unwrap().tasks;
    let roles: Vec<_> = tasks.iter().map(|task| task.role.as_str()).collect();
    let (middle, top, trainer) = ("middle-aggregator", "top-aggregator", "trainer");
    assert_eq!(roles, [middle, middle, top, trainer, trainer, trainer, trainer]);
    let groups: Vec<_> = places(&tasks, "param-channel").into_iter().map(|(_, group)| group).collect();
    assert_eq!(groups, ["eu", "na", "-", "eu", "eu", "na", "na"]);
}

#[test]
fn tag_05_a_self_loop_has_trainers_only() {
    let expansion = expanded(DISTRIBUTED, &job_with(&[("us", &["a", "b", "c"])])).unwrap();
    assert_eq!(places(&expansion.tasks, "param-channel"), [("trainer", "us"); 3]);
    assert!(expansion.tasks[0].channels[0].self_loop);
    assert_eq!(expansion.roster(&expansion.tasks[1], "param-channel").len(), 3);
}

#[test]
fn tag_07_aggregators_stand_in_schema_order_and_trainers_by_group() {
    let tasks = expanded(PARALLEL, &job_with(&[("us", &["1"]), ("eu", &["2"]), ("asia", &["3"])])).unwrap().tasks;
    let expected = [
        ("aggregator", "us"),
        ("aggregator", "eu"),
        ("aggregator", "asia"),
        ("trainer", "asia"),
        ("trainer", "eu"),
        ("trainer", "us"),
    ];
    assert_eq!(places(&tasks, "param-channel"), expected);
}

#[test]
fn tag_08_a_group_of_no_association_is_refused_by_name() {
    let text = messages(expanded(PARALLEL, &job_with(&[("us", &["1"]), ("uk", &["2"])])));
    assert!(text.contains("group uk not found"), "{text}");
}

#[test]
fn tag_10_roles_stand_in_alphabetical_order() {
    let tasks = expanded(COORDINATED, &job_with(&[("default", &["1", "2", "3"])])).unwrap().tasks;
    let roles: Vec<_> = tasks.iter().map(|task| task.role.as_str()).collect();
    let (middle, trainer) = ("middle-aggregator", "trainer");
    assert_eq!(roles, ["coordinator", middle, middle, "top-aggregator", trainer, trainer, trainer]);
}

#[test]
fn tag_12_a_data_role_ignores_its_replicas() {
    let schema = MNIST.replace("\"isDataConsumer\": true", "\"isDataConsumer\": true, \"replica\": 5");
    let tasks = expanded(&schema, &job_with(&[("us", &["1", "2"])])).unwrap().tasks;
    assert_eq!(tasks.iter().filter(|task| task.role == "trainer").count(), 2);
}

#[test]
fn tag_13_no_replica_and_fewer_are_one() {
    for replica in ["0", "-1"] {
        let schema = MNIST.replace("\"replica\": 1", &format!("\"replica\": {replica}"));
        assert_eq!(expanded(&schema, &job_with(&[("us", &["1"])])).unwrap().tasks.len(), 2);
    }
}

#[test]
fn tag_14_a_role_without_code_is_named() {
    let schema = Schema::parse(HIER_MNIST, "schema.json").unwrap();
    let job = JobSpec::parse(&job_with(&[("eu", &["1"])]), "job.json", &no_file).unwrap();
    let problems = expand(&schema, &job, &known_datasets(&["1"]), &[]).unwrap_err();
    assert_eq!(problems.0.len(), 3);
    assert!(problems.iter().any(|problem| problem.message == "no code found for role trainer"), "{problems}");
}

#[test]
fn tag_15_code_for_all_roles_is_accepted() {
    assert!(expanded(HIER_MNIST, &job_with(&[("eu", &["1"])])).is_ok());
}

#[test]
fn tag_16_a_schema_without_a_data_role_is_refused() {
    let text = messages(expanded(&MNIST.replace("\"isDataConsumer\": true, ", ""), &job_with(&[("us", &["1"])])));
    assert!(text.contains("no data consumer role found"), "{text}");
}

#[test]
fn tag_17_a_pair_that_names_an_unknown_role_is_refused() {
    let schema = MNIST.replace("[\"trainer\", \"aggregator\"]", "[\"trainer\", \"ghost\"]");
    let text = messages(Schema::parse(&schema, "schema.json"));
    assert!(text.contains("role ghost not found"), "{text}");
}

#[test]
fn tag_18_a_data_spec_without_groups_is_refused() {
    let text = messages(expanded(MNIST, &job_with(&[])));
    assert!(text.contains("no dataset group specified for trainer role trainer"), "{text}");
    let text = messages(expanded(
        WALKTHROUGH,
        r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromUser": {}, "fromSystem": []}}"#,
    ));
    assert!(text.contains("no dataset group specified for trainer role trainer"), "{text}");
}

#[test]
fn tag_19_a_group_without_data_sets_is_refused() {
    let text = messages(expanded(MNIST, &job_with(&[("us", &[])])));
    assert!(text.contains("no dataset specified for trainer role trainer, group us"), "{text}");
}

#[test]
fn tag_20_an_unknown_data_set_is_refused_by_its_id() {
    let schema = Schema::parse(MNIST, "schema.json").unwrap();
    let job = JobSpec::parse(&job_with(&[("us", &["known", "lost"])]), "job.json", &no_file).unwrap();
    let code = ["trainer".to_owned(), "aggregator".to_owned()];
    let text = messages(expand(&schema, &job, &known_datasets(&["known"]), &code));
    assert!(text.contains("dataset lost not found") && !text.contains("dataset known"), "{text}");
}

#[test]
fn tag_22_a_channel_without_group_by_has_the_group_default() {
    let schema = r#"{"name": "s",
      "roles": [{"name": "trainer", "isDataConsumer": true}, {"name": "aggregator"}, {"name": "gaggr"}],
      "channels": [{"name": "param", "pair": ["trainer", "aggregator"], "groupBy": {"type": "tag", "value": ["default"]}},
                   {"name": "global", "pair": ["aggregator", "gaggr"]}]}"#;
    let tasks = expanded(schema, &job_with(&[("default", &["1"])])).unwrap().tasks;
    assert_eq!(places(&tasks, "global"), [("aggregator", "default"), ("gaggr", "default"), ("trainer", "-")]);
}

#[test]
fn tag_23_task_ids_are_the_same_in_every_expansion() {
    let ids = || -> Vec<String> {
        let expansion = expanded(HYBRID, &job_with(&[("eu", &["1", "2"]), ("us", &["3", "4"])])).unwrap();
        expansion.tasks.iter().map(|task| task_id("624888fda8001d773e34de43", task)).collect()
    };
    let (first, second) = (ids(), ids());
    assert_eq!(first, second);
    for id in &first {
        assert!(id.len() == 40 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    }
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), 5);
}

#[test]
fn tag_24_a_role_without_association_gets_its_channels_groups() {
    let schema = WALKTHROUGH.replace("[\"default\"]", "[\"eu\", \"us\"]");
    let tasks =
        expanded(&schema, r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromUser": {"us": 2, "eu": 1}}}"#)
            .unwrap()
            .tasks;
    let expected =
        [("aggregator", "eu"), ("aggregator", "us"), ("trainer", "eu"), ("trainer", "us"), ("trainer", "us")];
    assert_eq!(places(&tasks, "param-channel"), expected);
}

#[test]
fn tag_24_a_role_whose_channels_disagree_needs_an_association() {
    let schema = HIER_MNIST.replace(
        r#""groupAssociation": [
              {"param-channel": "eu", "global-channel": "default"}, {"param-channel": "na", "global-channel": "default"}]"#,
        r#""replica": 1"#,
    );
    let text = messages(Schema::parse(&schema, "schema.json"));
    assert!(text.contains("role middle-aggregator has no groupAssociation and its channels disagree"), "{text}");
}

#[test]
fn tag_25_a_group_that_the_channel_does_not_have_is_refused() {
    let schema = MNIST.replace("\"value\": [\"us\"]", "\"value\": [\"eu\"]");
    let text = messages(Schema::parse(&schema, "schema.json"));
    assert!(text.contains("group us not found in channel param-channel"), "{text}");
}

#[test]
fn tag_28_a_data_task_goes_to_the_compute_of_its_data_set() {
    let tasks = expanded(MNIST, &job_with(&[("us", &["d1"])])).unwrap().tasks;
    let computes: Vec<_> = tasks.iter().map(|task| task.compute.as_deref()).collect();
    assert_eq!(computes, [Some("default"), Some("compute-of-d1")]);
}

#[test]
fn the_walk_through_has_a_system_aggregator_and_a_user_trainer() {
    let expansion = expanded(WALKTHROUGH, WALKTHROUGH_JOB).unwrap();
    let kinds: Vec<_> = expansion.tasks.iter().map(|task| (task.role.as_str(), task.kind)).collect();
    assert_eq!(kinds, [("aggregator", TaskKind::System), ("trainer", TaskKind::User)]);
    let trainer = &expansion.tasks[1];
    assert_eq!((trainer.dataset.as_deref(), trainer.compute.as_deref()), (None, None));
    assert_eq!(trainer.channels[0].func_tags, ["fetch", "upload"]);
    let json = serde_json::to_value(&expansion).unwrap();
    assert_eq!(json["tasks"][1]["type"], "user");
    assert_eq!(json["tasks"][1]["groupAssociation"]["param-channel"], "default");
    assert_eq!(json["tasks"][1]["channels"][0]["backend"], "mqtt");
}

#[test]
fn a_hybrid_keeps_each_channels_backend_and_group() {
    let expansion = expanded(HYBRID, &job_with(&[("eu", &["1", "2"]), ("us", &["3", "4"])])).unwrap();
    let trainer = expansion.tasks.iter().find(|task| task.role == "trainer").unwrap();
    let channels: Vec<_> = trainer.channels.iter().map(|c| (c.name.as_str(), c.backend, c.group.as_str())).collect();
    assert_eq!(channels, [("param-channel", Backend::P2p, "eu"), ("global-channel", Backend::Mqtt, "default")]);
    assert_eq!(expansion.roster(trainer, "param-channel").len(), 2);
    let everybody: Vec<_> =
        expansion.roster(trainer, "global-channel").iter().map(|task| (task.role.as_str(), task.index)).collect();
    assert_eq!(everybody, [("aggregator", 0), ("trainer", 0), ("trainer", 1), ("trainer", 2), ("trainer", 3)]);
    assert_eq!(expansion.rosters()[&("param-channel", "us")].len(), 2);
}

#[test]
fn a_workers_seed_depends_on_its_place_and_not_on_other_groups() {
    let job = |eu: u32| {
        format!(r#"{{"designId": "d", "backend": "mqtt", "dataSpec": {{"fromUser": {{"eu": {eu}, "us": 2}}}}}}"#)
    };
    let schema = WALKTHROUGH.replace("[\"default\"]", "[\"eu\", \"us\"]");
    let seeds = |eu: u32| -> BTreeMap<(String, u32), u64> {
        let tasks = expanded(&schema, &job(eu)).unwrap().tasks;
        let trainers = tasks.iter().filter(|task| task.role == "trainer");
        trainers
            .map(|task| ((task.group_association["param-channel"].clone(), task.group_index), task.seed(7)))
            .collect()
    };
    let (few, many) = (seeds(1), seeds(5));
    assert!(few.iter().all(|(place, seed)| many[place] == *seed));
    let distinct: std::collections::BTreeSet<_> = many.values().collect();
    assert_eq!(distinct.len(), 7);
}
