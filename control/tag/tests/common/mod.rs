//! Flame's example schemas, and short ways to expand them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "every test file uses some of it; a test may panic")]

use std::collections::BTreeMap;

use flame_tag::{DatasetInfo, Expansion, JobSpec, Problems, Schema, TaskPlan, expand};

pub const WALKTHROUGH: &str = r#"{"name": "A simple example schema v1.0.0",
 "roles": [{"name": "trainer", "isDataConsumer": true}, {"name": "aggregator", "replica": 1}],
 "channels": [{"name": "param-channel", "pair": ["trainer", "aggregator"],
   "groupBy": {"type": "tag", "value": ["default"]},
   "funcTags": {"trainer": ["fetch", "upload"], "aggregator": ["distribute", "aggregate"]}}]}"#;

pub const WALKTHROUGH_JOB: &str = r#"{"designId": "mnist_non_orchestration", "schemaVersion": "1", "codeVersion": "1",
 "dataSpec": {"fromUser": {"default": 1}, "fromSystem": []},
 "priority": "low", "backend": "mqtt", "maxRunTime": 1800,
 "baseModel": {"name": "", "version": 0},
 "hyperparameters": {"rounds": 5, "batchSize": 32, "learningRate": 0.01},
 "dependencies": ["numpy >= 1.2.0"], "selector": {"sort": "default", "kwargs": {}}}"#;

pub const MNIST: &str = r#"{"name": "mnist",
 "roles": [{"name": "trainer", "isDataConsumer": true, "groupAssociation": [{"param-channel": "us"}]},
           {"name": "aggregator", "replica": 1, "groupAssociation": [{"param-channel": "us"}]}],
 "channels": [{"name": "param-channel", "pair": ["trainer", "aggregator"], "groupBy": {"type": "tag", "value": ["us"]}}]}"#;

pub const HIER_MNIST: &str = r#"{"name": "hier_mnist",
 "roles": [{"name": "trainer", "isDataConsumer": true, "groupAssociation": [{"param-channel": "eu"}, {"param-channel": "na"}]},
           {"name": "middle-aggregator", "groupAssociation": [
              {"param-channel": "eu", "global-channel": "default"}, {"param-channel": "na", "global-channel": "default"}]},
           {"name": "top-aggregator", "groupAssociation": [{"global-channel": "default"}]}],
 "channels": [{"name": "param-channel", "pair": ["trainer", "middle-aggregator"], "groupBy": {"type": "tag", "value": ["eu", "na"]}},
              {"name": "global-channel", "pair": ["top-aggregator", "middle-aggregator"], "groupBy": {"type": "tag", "value": ["default"]}}]}"#;

pub const DISTRIBUTED: &str = r#"{"name": "distributed_training",
 "roles": [{"name": "trainer", "isDataConsumer": true, "groupAssociation": [{"param-channel": "us"}]}],
 "channels": [{"name": "param-channel", "pair": ["trainer", "trainer"], "groupBy": {"type": "tag", "value": ["us"]},
   "funcTags": {"trainer": ["ring_allreduce"]}}]}"#;

pub const PARALLEL: &str = r#"{"name": "parallel_experiment",
 "roles": [{"name": "trainer", "isDataConsumer": true, "groupAssociation": [{"param-channel": "us"}, {"param-channel": "eu"}, {"param-channel": "asia"}]},
           {"name": "aggregator", "groupAssociation": [{"param-channel": "us"}, {"param-channel": "eu"}, {"param-channel": "asia"}]}],
 "channels": [{"name": "param-channel", "pair": ["trainer", "aggregator"], "groupBy": {"type": "tag", "value": ["us", "eu", "asia"]}}]}"#;

pub const HYBRID: &str = r#"{"name": "hybrid",
 "roles": [{"name": "trainer", "isDataConsumer": true, "groupAssociation": [
              {"param-channel": "us", "global-channel": "default"}, {"param-channel": "eu", "global-channel": "default"}]},
           {"name": "aggregator", "groupAssociation": [{"global-channel": "default"}]}],
 "channels": [{"name": "param-channel", "pair": ["trainer", "trainer"], "backend": "p2p",
                "groupBy": {"type": "tag", "value": ["eu", "us"]}, "funcTags": {"trainer": ["ring_allreduce"]}},
              {"name": "global-channel", "pair": ["trainer", "aggregator"], "backend": "mqtt",
                "groupBy": {"type": "tag", "value": ["default"]},
                "funcTags": {"trainer": ["fetch", "upload"], "aggregator": ["distribute", "aggregate"]}}]}"#;

pub const COORDINATED: &str = r"
name: syncfl_hier_coord_mnist
roles:
  - {name: trainer, isDataConsumer: true, groupAssociation: [{param: default, trainer-coord: default}]}
  - {name: top-aggregator, groupAssociation: [{global: default, top-agg-coord: default}]}
  - {name: middle-aggregator, replica: 2, groupAssociation: [{param: default, global: default, middle-agg-coord: default}]}
  - {name: coordinator, groupAssociation: [{top-agg-coord: default, middle-agg-coord: default, trainer-coord: default}]}
channels:
  - {name: top-agg-coord, pair: [top-aggregator, coordinator], groupBy: {type: tag, value: [default]}}
  - {name: middle-agg-coord, pair: [middle-aggregator, coordinator], groupBy: {type: tag, value: [default]}}
  - {name: trainer-coord, pair: [trainer, coordinator], groupBy: {type: tag, value: [default]}}
  - {name: global, pair: [top-aggregator, middle-aggregator], groupBy: {type: tag, value: [default]}}
  - {name: param, pair: [trainer, middle-aggregator], groupBy: {type: tag, value: [default]}}
";

pub fn no_file(path: &str) -> Result<String, String> {
    Err(format!("no file {path}"))
}

/// A job of the later generation with these data sets for the role `trainer`.
pub fn job_with(groups: &[(&str, &[&str])]) -> String {
    let groups: BTreeMap<_, _> = groups.iter().copied().collect();
    let spec = serde_json::json!({"designId": "d", "backend": "mqtt", "dataSpec": [{"role": "trainer", "datasetGroups": groups}]});
    spec.to_string()
}

pub fn known_datasets(ids: &[&str]) -> BTreeMap<String, DatasetInfo> {
    let info = |id: &str| DatasetInfo {
        url: format!("https://data.example/{id}"),
        realm: String::new(),
        compute_id: format!("compute-of-{id}"),
    };
    ids.iter().map(|id| ((*id).to_owned(), info(id))).collect()
}

/// Expands with all data sets known and code for every role.
pub fn expanded(schema: &str, job: &str) -> Result<Expansion, Problems> {
    let schema = Schema::parse(schema, "schema.json")?;
    let job = JobSpec::parse(job, "job.json", &no_file)?;
    let code: Vec<String> = schema.roles.iter().map(|role| role.name.clone()).collect();
    expand(&schema, &job, &known_datasets(&job.dataset_ids()), &code)
}

/// Role and group on one channel, task by task.
pub fn places<'a>(tasks: &'a [TaskPlan], channel: &str) -> Vec<(&'a str, &'a str)> {
    tasks
        .iter()
        .map(|task| (task.role.as_str(), task.group_association.get(channel).map_or("-", String::as_str)))
        .collect()
}
