//! `create job --dry-run`: the tasks of a job, or all mistakes of its files, without a server. Cases of conformance section
//! A are named by their ids.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Ran, component, flamectl, ran};
use serde_json::{Value, json};

/// Flame's topologies, which flame-tag tests too.
fn topology(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tag/tests/data").join(name)
}

fn dry_run(folder: &Path, args: &[&str]) -> Ran {
    ran(flamectl(folder).args(["create", "job", "job.json", "--dry-run"]).args(args))
}

fn tasks(folder: &Path, args: &[&str]) -> Value {
    let ran = dry_run(folder, &[args, &["-o", "json"]].concat());
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
    serde_json::from_str(&ran.out).unwrap()
}

fn errors(folder: &Path, args: &[&str]) -> Vec<Value> {
    let ran = dry_run(folder, &[args, &["-o", "json"]].concat());
    assert_eq!((ran.status, ran.err.as_str()), (2, ""), "{}", ran.out);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown.as_object().unwrap().keys().collect::<Vec<_>>(), ["errors"]);
    let errors = shown.get("errors").unwrap().as_array().unwrap().clone();
    for error in &errors {
        let keys: Vec<_> = error.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["file", "line", "column", "message", "hint"]);
    }
    assert!(!errors.is_empty());
    errors
}

/// The messages, a line each.
fn messages(errors: &[Value]) -> String {
    let lines: Vec<&str> = errors.iter().filter_map(|error| error.get("message")?.as_str()).collect();
    lines.join("\n")
}

const SCHEMA: &str = r#"{"name": "s",
 "roles": [{"name": "trainer", "isDataConsumer": true}, {"name": "aggregator", "replica": 1}],
 "channels": [{"name": "param-channel", "pair": ["trainer", "aggregator"],
   "groupBy": {"type": "tag", "value": ["default"]}}]}"#;

/// A folder with a schema and a job whose data spec is `data`.
fn folder(schema: &str, data: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schema.json"), schema).unwrap();
    let job = format!(r#"{{"designId": "d", "backend": "mqtt", "dataSpec": {data}}}"#);
    fs::write(folder.path().join("job.json"), job).unwrap();
    folder
}

#[test]
fn every_topology_prints_its_tasks_exactly() {
    for name in fs::read_dir(topology("")).unwrap() {
        let folder = name.unwrap().path();
        let wanted: Value = serde_json::from_str(&fs::read_to_string(folder.join("tasks.json")).unwrap()).unwrap();
        assert_eq!(tasks(&folder, &[]), wanted, "{}", folder.display());
    }
}

#[test]
fn the_walk_through_is_shown_as_a_table() {
    let shown = dry_run(&topology("walkthrough"), &[]);
    assert_eq!(
        shown.out,
        "\
+------------+-------+--------+-----------------------+---------+
|    ROLE    | INDEX |  TYPE  |         GROUPS        | DATASET |
+------------+-------+--------+-----------------------+---------+
| aggregator | 0     | system | param-channel:default |         |
| trainer    | 0     | user   | param-channel:default |         |
+------------+-------+--------+-----------------------+---------+
"
    );
    assert_eq!((shown.status, shown.err.as_str()), (0, "2 tasks would be created; nothing was: this is a dry run\n"));
    let wide = dry_run(&topology("hybrid"), &["-o", "wide"]);
    for part in ["BACKENDS", "PEERS", "param-channel:p2p, global-channel:mqtt", "param-channel:1, global-channel:4"] {
        assert!(wide.out.contains(part), "{part}: {}", wide.out);
    }
}

#[test]
fn files_are_found_from_any_folder() {
    let job = topology("syncfl_hier_coord_mnist").join("job.json");
    let args = ["create", "job", job.to_str().unwrap(), "--dry-run", "-o", "yaml"];
    let elsewhere = ran(flamectl(Path::new("/")).args(args));
    assert_eq!(elsewhere.status, 0, "{}", elsewhere.out);
    assert!(elsewhere.out.contains("role: coordinator"), "{}", elsewhere.out);
}

#[test]
fn tag_14_a_role_without_code_is_named() {
    let folder = folder(SCHEMA, r#"{"fromUser": {"default": 1}}"#);
    fs::write(folder.path().join("code.wasm"), component("aggregator")).unwrap();
    let found = errors(folder.path(), &["--code", "code.wasm"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["message"], "roles[0].name: no code found for role trainer");
    assert_eq!(
        (&found[0]["file"], &found[0]["line"], &found[0]["column"]),
        (&json!("schema.json"), &json!(2), &json!(21))
    );
}

#[test]
fn tag_15_code_for_all_roles_is_accepted() {
    let folder = folder(SCHEMA, r#"{"fromUser": {"default": 1}}"#);
    fs::write(folder.path().join("code.wasm"), component("aggregator\nevaluator\ntrainer")).unwrap();
    assert_eq!(tasks(folder.path(), &["--code", "code.wasm"])["tasks"].as_array().unwrap().len(), 2);
}

#[test]
fn tag_20_an_unknown_data_set_is_refused_by_its_id() {
    let folder = folder(SCHEMA, r#"{"fromSystem": {"default": ["known", "lost"]}}"#);
    assert_eq!(tasks(folder.path(), &[])["tasks"][2]["dataset"], "lost");
    let found = errors(folder.path(), &["--dataset", "known"]);
    assert_eq!(messages(&found), "dataSpec.fromSystem.default[1]: dataset lost not found");
}

#[test]
fn tag_21_a_zip_entry_that_is_no_role_is_refused_by_name() {
    let folder = folder(SCHEMA, r#"{"fromUser": {"default": 1}}"#);
    let entries = [("trainer.wasm", "trainer"), ("aggregator.wasm", "aggregator"), ("coordinator.wasm", "coordinator")];
    fs::write(folder.path().join("code.zip"), zip(&entries)).unwrap();
    let found = errors(folder.path(), &["--code", "code.zip"]);
    assert!(messages(&found).starts_with("coordinator.wasm is no role of the schema"), "{found:?}");
    assert_eq!(found[0]["file"], "code.zip");
    fs::write(folder.path().join("code.zip"), zip(&entries[..2])).unwrap();
    assert_eq!(tasks(folder.path(), &["--code", "code.zip"])["tasks"].as_array().unwrap().len(), 2);
}

#[test]
fn mistakes_of_all_files_come_together_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "schema.yaml",
        "name: s\nroles:\n  - {name: trainer, isDataConsumer: true, replicas: 2}\n  - {name: aggregator}\n\
         channels:\n  - {name: c, pair: [trainer, agregator]}\n",
    );
    write("job.json", "{\n  \"designId\": \"d\",\n  \"backend\": \"mqqt\",\n  \"dataSpecPath\": \"data.json\"\n}\n");
    write("data.json", "{\"fromUser\": {\"defualt\": 1}}\n");
    write("code.wasm", "no code");
    let found = errors(folder.path(), &["--code", "code.wasm"]);
    let places: Vec<_> = found
        .iter()
        .map(|e| (e["file"].as_str().unwrap(), e["line"].as_u64(), e["message"].as_str().unwrap()))
        .collect();
    for (file, line, part) in [
        ("schema.yaml", Some(3), "unknown field replicas"),
        ("schema.yaml", Some(6), "role agregator not found"),
        ("job.json", Some(3), "unknown backend mqqt"),
        ("data.json", Some(1), "group defualt not found"),
        ("code.wasm", None, "code.wasm is a text file"),
    ] {
        assert!(places.iter().any(|(f, l, m)| *f == file && *l == line && m.contains(part)), "{part}\n{places:#?}");
    }
    assert_eq!(places.len(), 5, "{places:#?}");
    let told = dry_run(folder.path(), &["--code", "code.wasm"]);
    assert_eq!((told.status, told.out.as_str()), (2, ""));
    assert!(
        told.err.contains("schema.yaml:3:43: roles[0].replicas: unknown field replicas; did you mean replica?"),
        "{}",
        told.err
    );
}

#[test]
fn files_that_are_not_there_are_named_with_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let found = errors(folder.path(), &[]);
    assert_eq!(messages(&found), "the job file job.json does not exist");
    fs::write(folder.path().join("job.json"), r#"{"designId": "d", "backend": "mqtt", "dataSpecPath": "gone.json"}"#)
        .unwrap();
    let found = errors(folder.path(), &[]);
    assert!(
        messages(&found)
            .contains("no schema was given, and none of schema.json, schema.yaml, schema.yml lies beside it")
    );
    assert_eq!(found[0]["hint"], "name the schema with --schema FILE");
    let found = errors(folder.path(), &["--schema", "nope.json"]);
    assert!(messages(&found).contains("the schema file nope.json does not exist"));
    fs::write(folder.path().join("schema.json"), SCHEMA).unwrap();
    assert!(messages(&errors(folder.path(), &[])).contains("dataSpecPath: gone.json cannot be read"));
}

#[test]
fn a_dry_run_asks_no_server_and_its_flags_need_it() {
    let needs = ran(flamectl(Path::new("/")).args(["create", "job", "job.json", "--schema", "s.json"]));
    assert_eq!(needs.status, 2);
    assert!(needs.err.contains("--dry-run"), "{}", needs.err);
    let folder = folder(SCHEMA, r#"{"fromUser": {"default": 1}}"#);
    let mut offline = flamectl(folder.path());
    offline.env("FLAME_APISERVER", "not an address");
    assert_eq!(ran(offline.args(["create", "job", "job.json", "--dry-run"])).status, 0);
}

/// A zip of components, stored without compression.
fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, role) in entries {
        writer.start_file(*name, options).unwrap();
        std::io::Write::write_all(&mut writer, &component(role)).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
