//! Schemas as tables and pictures, and what differs between two.

use std::fs;

use crate::support::{Fake, flamectl, ran};
use serde_json::{Value, json};

const ONE: &str = r#"{"name": "mnist", "roles": [{"name": "trainer", "isDataConsumer": true}, {"name": "aggregator"}],
    "channels": [{"name": "param-channel", "pair": ["trainer", "aggregator"]}]}"#;

fn two() -> String {
    ONE.replace(r#"{"name": "aggregator"}"#, r#"{"name": "aggregator", "replica": 2}, {"name": "evaluator"}"#)
        .replace(r#""channels": ["#, r#""channels": [{"name": "eval", "pair": ["evaluator", "aggregator"]}, "#)
}

fn server() -> Fake {
    let revision = |version: u32| json!({"version": version, "roles": ["trainer", "aggregator"], "createdAt": "2022-04-02T17:33:50Z"});
    let design = json!({"id": "mnist", "description": "", "createdAt": "2022-04-02T17:33:49Z",
        "schemas": [revision(1), revision(3)], "code": []});
    Fake::new([
        ("GET /v1/designs/mnist", 200, design.to_string()),
        ("GET /v1/designs/mnist/schemas/1", 200, ONE.to_owned()),
        ("GET /v1/designs/mnist/schemas/3", 200, two()),
    ])
}

#[test]
fn the_newest_revision_is_shown_unless_another_is_named() {
    let newest = server().run(&["get", "schema", "mnist"]);
    assert_eq!((newest.status, newest.err.as_str()), (0, ""));
    assert!(newest.out.contains("| evaluator  | no   | 1        |"), "{}", newest.out);
    let first = server().run(&["get", "schema", "mnist", "--version", "1", "-o", "json"]);
    let first: Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(first["roles"], json!([{"name": "trainer", "isDataConsumer": true}, {"name": "aggregator"}]));
    let revisions = server().run(&["get", "schemas", "mnist"]);
    assert!(revisions.out.contains("| 3       | trainer, aggregator |"), "{}", revisions.out);
}

#[test]
fn a_schema_in_a_file_is_drawn_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schema.json"), ONE).unwrap();
    for (format, part) in [
        ("dot", "r0 -- r1 [label=\"param-channel\\ndefault\"]"),
        ("mermaid", "r0 ---|\"param-channel<br/>default\"| r1"),
        ("svg", "<svg xmlns=\"http://www.w3.org/2000/svg\""),
        ("yaml", "isDataConsumer: true"),
        ("table", "| param-channel | trainer and aggregator | default | the job's |"),
    ] {
        let drawn = ran(flamectl(folder.path()).args(["get", "schema", "--file", "schema.json", "-o", format]));
        assert_eq!((drawn.status, drawn.err.as_str()), (0, ""));
        assert!(drawn.out.contains(part), "{part}: {}", drawn.out);
    }
    fs::write(folder.path().join("schema.json"), ONE.replace("\"aggregator\"]", "\"ghost\"]")).unwrap();
    let wrong = ran(flamectl(folder.path()).args(["get", "schema", "--file", "schema.json", "-o", "dot"]));
    assert_eq!((wrong.status, wrong.out.as_str()), (2, ""));
    assert!(wrong.err.contains("schema.json:2:64: channels[0].pair[1]: role ghost not found"), "{}", wrong.err);
}

#[test]
fn revisions_are_compared_by_meaning() {
    let diff = server().run(&["diff", "schema", "mnist"]);
    assert_eq!((diff.status, diff.err.as_str()), (0, ""));
    assert_eq!(diff.out, "~ role aggregator: replica: absent -> 2\n+ role evaluator\n+ channel eval\n");
    let named = server().run(&["diff", "schema", "mnist", "--from", "3", "--to", "1", "-o", "json"]);
    let named: Value = serde_json::from_str(&named.out).unwrap();
    assert_eq!(named[0], json!({"what": "role", "name": "aggregator", "field": "replica", "from": 2, "to": null}));
    let same = server().run(&["diff", "schema", "mnist", "--from", "1", "--to", "1"]);
    assert_eq!((same.status, same.out.as_str()), (0, ""));
    assert_eq!(same.err, "revision 1 and revision 1 say the same\n");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.json"), ONE).unwrap();
    let file = server().run_in(folder.path(), &["diff", "schema", "mnist", "--file", "mine.json"]);
    assert_eq!(file.out, "~ role aggregator: replica: 2 -> absent\n- role evaluator\n- channel eval\n");
    let first = server().run(&["diff", "schema", "mnist", "--to", "1"]);
    assert_eq!(first.status, 1);
    assert!(first.err.contains("has no schema revision before 1"), "{}", first.err);
}
