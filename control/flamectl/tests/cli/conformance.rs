//! Section E of the conformance cases, by their ids.

use std::fs;

use crate::support::{Fake, JOB, TRAINER, component, flamectl, job, job_route, ran, task};
use serde_json::{Value, json};

const DATASET: &str = "66b4f8ba5d8e2b6a3d9e8d53";

fn dataset() -> Value {
    json!({"id": DATASET, "name": "eu", "description": "of Europe", "url": "file:///data/eu", "dataFormat": "idx",
        "realm": "default/eu", "computeId": "default", "isPublic": true, "createdAt": "2022-04-02T17:33:49.915Z"})
}

#[test]
fn cli_01_every_step_from_design_to_completion_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("schema.json", b"{}");
    write("mnist.wasm", &component("aggregator\ntrainer"));
    write(
        "dataset.json",
        br#"{"name": "eu", "url": "file:///data/eu", "dataFormat": "idx", "realm": "default/eu", "isPublic": true}"#,
    );
    write("job.json", b"{}");
    let design = r#"{"id":"mnist","description":"","createdAt":"2022-04-02T17:33:49.915Z"}"#;
    let ended = Some("2022-04-02T18:25:19.033Z");
    let fake = Fake::new([
        ("POST /v1/designs", 201, design.to_owned()),
        ("POST /v1/designs/mnist/schemas", 201, r#"{"version":1}"#.to_owned()),
        ("POST /v1/designs/mnist/code", 201, r#"{"version":1}"#.to_owned()),
        ("POST /v1/datasets", 201, dataset().to_string()),
        ("POST /v1/jobs", 201, format!(r#"{{"id":"{JOB}","state":"ready"}}"#)),
        (job_route("POST", "/start"), 200, job("starting", "", None, None).to_string()),
        (job_route("GET", "/tasks"), 200, json!([task(TRAINER, "trainer", "system", "completed", "")]).to_string()),
        (job_route("GET", ""), 200, job("completed", "", ended, ended).to_string()),
    ]);
    for (args, said) in [
        (&["create", "design", "mnist"][..], "New design 'mnist' created successfully\n".to_owned()),
        (
            &["create", "schema", "schema.json", "--design", "mnist"],
            "Schema created successfully for design 'mnist'\n".to_owned(),
        ),
        (
            &["create", "code", "mnist.wasm", "--design", "mnist"],
            "Code created successfully for design 'mnist'\n".to_owned(),
        ),
        (
            &["create", "dataset", "dataset.json"],
            format!("New dataset created successfully\n\tdataset ID: {DATASET}\n"),
        ),
        (&["create", "job", "job.json"], format!("New job created successfully\n\tID: {JOB}\n\tstate: ready\n")),
        (&["start", "job", JOB], "Initiated to start a job successfully\n".to_owned()),
    ] {
        let ran = fake.run_in(folder.path(), args);
        assert_eq!((ran.status, ran.err.as_str(), ran.out), (0, "", said), "{args:?}");
    }
    assert!(fake.run(&["get", "tasks", JOB]).out.contains("| completed |"));
    assert!(fake.run(&["get", "job", JOB]).out.contains("| completed |"));
    let keys: Vec<String> = fake.asked().into_iter().take(5).map(|asked| asked.key).collect();
    assert!(keys.iter().all(|key| key.len() == 32), "{keys:?}");
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
}

#[test]
fn cli_02_an_unknown_flag_is_named() {
    let wrong = ran(flamectl(std::path::Path::new("/")).args(["get", "jobs", "--unknown_flag"]));
    assert_eq!((wrong.status, wrong.out.as_str()), (2, ""));
    assert!(wrong.err.contains("unexpected argument '--unknown_flag' found"), "{}", wrong.err);
}

#[test]
fn cli_03_a_configuration_file_is_read_and_only_a_named_one_has_to_exist() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new([("GET /v1/jobs", 200, "[]")]);
    let absent = fake.run_in(folder.path(), &["get", "jobs"]);
    assert_eq!(absent.status, 0);
    let named = fake.run_in(folder.path(), &["get", "jobs", "--config", "nope.yaml"]);
    assert_eq!(named.status, 2);
    assert!(named.err.contains("nope.yaml does not exist"), "{}", named.err);
    let config = format!("apiserver:\n  endpoint: {}\nuser: john\ntoken: sesame\n", fake.url);
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let read = ran(flamectl(folder.path()).args(["get", "jobs", "--config", "config.yaml"]));
    assert_eq!(read.status, 0, "{}", read.err);
    assert_eq!(fake.asked().last().unwrap().authorization, "Bearer sesame");
}

#[test]
fn cli_04_specs_are_found_beside_the_job_file_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "job.json",
        r#"{"designId": "d", "backend": "mqtt", "dataSpecPath": "data.json", "modelSpecPath": "model.json"}"#,
    );
    write("data.json", r#"[{"role": "trainer", "datasetGroups": {"us": ["a"]}}]"#);
    write("model.json", r#"{"hyperparameters": {"rounds": 3}}"#);
    let fake = Fake::new([("POST /v1/jobs", 201, format!(r#"{{"id":"{JOB}","state":"ready"}}"#))]);
    let path = folder.path().join("job.json");
    let create = || fake.run(&["create", "job", path.to_str().unwrap()]);
    assert_eq!(create().status, 0);
    let sent: Value = serde_json::from_slice(&fake.asked()[0].body).unwrap();
    assert_eq!(sent["dataSpec"]["fromSystem"][0]["datasetGroups"], json!({"us": ["a"]}));
    assert_eq!(sent["hyperparameters"], json!({"rounds": 3}));
    write("model.json", "{ \"hyperparameters\": ");
    let invalid = create();
    assert_eq!(invalid.status, 2);
    assert!(invalid.err.contains("model.json:1:"), "{}", invalid.err);
    fs::remove_file(folder.path().join("data.json")).unwrap();
    let missing = create();
    assert_eq!(missing.status, 2);
    assert!(
        missing.err.contains("data.json does not exist") && missing.err.contains("model.json:1:"),
        "{}",
        missing.err
    );
    assert_eq!(fake.asked().len(), 1);
}

#[test]
fn cli_05_jobs_have_the_walk_throughs_columns_and_names_when_wide() {
    let fake = Fake::new([("GET /v1/jobs", 200, json!([job("ready", "", None, None)]).to_string())]);
    let columns = |args: &[&str]| -> Vec<String> {
        let shown = fake.run(args).out;
        let header = shown.lines().nth(1).unwrap();
        header.split('|').map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    let plain = ["JOB ID", "STATE", "CREATED AT", "STARTED AT", "ENDED AT"];
    assert_eq!(columns(&["get", "jobs"]), plain);
    let wide = [&plain[..], &["NAME", "DESIGN", "SCHEMA", "CODE", "REASON"]].concat();
    assert_eq!(columns(&["get", "jobs", "-o", "wide"]), wide);
}

#[test]
fn cli_06_tasks_have_the_walk_throughs_columns_and_reasons_under_them() {
    let tasks = json!([task(TRAINER, "trainer", "user", "failed", "out of memory")]).to_string();
    let fake = Fake::new([(job_route("GET", "/tasks"), 200, tasks)]);
    let shown = fake.run(&["get", "tasks", JOB]).out;
    for column in ["JOB ID", "AGENT ID", "TYPE", "STATE", "TIMESTAMP"] {
        assert!(shown.lines().nth(1).unwrap().contains(column), "{shown}");
    }
    assert_eq!(shown.lines().last().unwrap(), "task 18d2671fbf59 (trainer) failed: out of memory");
    assert!(fake.run(&["get", "tasks", JOB, "-o", "wide"]).out.contains("REASON"));
    let one = fake.run(&["get", "task", JOB, "18d2", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&one.out).unwrap()["reason"], "out of memory");
}

#[test]
fn cli_07_an_update_of_what_is_not_there_fails() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f.json"), r#"{"name": "new"}"#).unwrap();
    let fake = Fake::new([("GET /none", 200, "")]);
    for args in [
        &["update", "design", "ghost", "-d", "new"][..],
        &["update", "dataset", DATASET, "f.json"],
        &["update", "job", JOB, "f.json"],
        &["update", "schema", "f.json", "--design", "ghost"],
    ] {
        let failed = fake.run_in(folder.path(), args);
        assert_eq!((failed.status, failed.out.as_str()), (1, ""), "{args:?}");
        assert!(failed.err.starts_with("error: nothing at /v1/"), "{}", failed.err);
    }
}

#[test]
fn cli_08_a_design_that_jobs_use_is_removed_by_force_only() {
    let used = json!({"code": "in-use", "message": "design used in job: design id: mnist | jobs count 2"}).to_string();
    let refused = Fake::new([("DELETE /v1/designs/mnist", 409, used)]).run(&["remove", "design", "mnist"]);
    assert_eq!(refused.status, 1);
    assert_eq!(
        refused.err,
        "error: design used in job: design id: mnist | jobs count 2\n\
         hint: `flamectl remove design mnist --force` removes it all the same\n"
    );
    let fake = Fake::new([("DELETE /v1/designs/mnist", 200, "{}")]);
    let removed = fake.run(&["remove", "design", "mnist", "-f"]);
    assert_eq!((removed.status, removed.out.as_str()), (0, "Design 'mnist' deleted successfully\n"));
    assert_eq!(fake.asked()[0].what, "DELETE /v1/designs/mnist?force=true");
}
