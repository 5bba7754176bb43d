//! The everyday verbs beside the walk-through's.

use std::fs;
use std::path::Path;

use crate::support::{AGGREGATOR, Fake, JOB, TRAINER, flamectl, job, job_route, ran, task};
use serde_json::{Value, json};

const DATASET: &str = "66b4f8ba5d8e2b6a3d9e8d53";

fn dataset(id: &str) -> Value {
    json!({"id": id, "name": "eu", "description": "of Europe", "url": "file:///data/eu", "dataFormat": "idx",
        "realm": "default/eu/c1", "computeId": "c1", "isPublic": false, "createdAt": "2022-04-02T17:33:49.915Z"})
}

fn compute() -> Value {
    json!({"id": "c1", "realm": "default/eu", "deployer": "process", "registeredAt": "2022-04-02T17:33:49.915Z"})
}

#[test]
fn datasets_are_listed_and_named_by_a_prefix() {
    let other = "66b4ffffffffffffffffffff";
    let fake = Fake::new([
        ("GET /v1/datasets", 200, json!([dataset(DATASET), dataset(other)]).to_string()),
        (format!("GET /v1/datasets/{DATASET}").leak(), 200, dataset(DATASET).to_string()),
        (format!("DELETE /v1/datasets/{DATASET}").leak(), 200, "{}".to_owned()),
    ]);
    let listed = fake.run(&["get", "datasets"]);
    assert!(listed.out.contains("| 66b4f8ba5d8e2b6a3d9e8d53 | eu   | of Europe   | no     |"), "{}", listed.out);
    assert!(
        fake.run(&["get", "datasets", "-o", "wide"])
            .out
            .contains("| file:///data/eu | idx    | default/eu/c1 | c1      |")
    );
    assert_eq!(fake.run(&["get", "datasets", "-l", "1", "-o", "json"]).out.matches("\"id\"").count(), 1);
    assert!(fake.run(&["get", "dataset", "66b4f8"]).out.contains(DATASET));
    let removed = fake.run(&["delete", "dataset", DATASET]);
    assert_eq!(removed.out, format!("Dataset '{DATASET}' deleted successfully\n"));
    let several = fake.run(&["remove", "dataset", "66b4"]);
    assert_eq!(several.status, 1);
    assert_eq!(
        several.err,
        format!(
            "error: several datasets have an id that begins with `66b4`:\n  - {DATASET} (eu, file:///data/eu)\n  \
             - {other} (eu, file:///data/eu)\nhint: give more digits\n"
        )
    );
}

#[test]
fn a_computes_key_comes_from_a_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.yaml"), "{id: c1, realm: default/eu, key: hunter2}").unwrap();
    let fake = Fake::new([
        ("POST /v1/computes", 201, compute().to_string()),
        ("GET /v1/computes", 200, json!([compute()]).to_string()),
        ("GET /v1/computes/c1", 200, compute().to_string()),
        ("DELETE /v1/computes/c1", 200, "{}".to_owned()),
    ]);
    let made = fake.run_in(folder.path(), &["create", "compute", "c.yaml"]);
    assert_eq!(made.out, "Compute 'c1' registered successfully\n");
    assert_eq!(serde_json::from_slice::<Value>(&fake.asked()[0].body).unwrap()["key"], "hunter2");
    for args in [&["get", "computes"][..], &["get", "compute", "c1"]] {
        assert!(fake.run(args).out.contains("| c1         | default/eu | process  |"), "{args:?}");
    }
    assert_eq!(fake.run(&["remove", "compute", "c1"]).out, "Compute 'c1' deleted successfully\n");
    fs::write(folder.path().join("c.yaml"), "id: c1\nrealm: default/eu\nkey: [hunter2]\n").unwrap();
    let wrong = fake.run_in(folder.path(), &["create", "compute", "c.yaml"]);
    assert_eq!(wrong.status, 2);
    assert!(wrong.err.contains("c.yaml:3:") && !wrong.err.contains("hunter2"), "{}", wrong.err);
}

#[test]
fn what_is_changed_and_removed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("d.json"), r#"{"description": "new", "isPublic": true}"#).unwrap();
    fs::write(folder.path().join("job.json"), "{}").unwrap();
    fs::write(folder.path().join("s.json"), "{}").unwrap();
    let design = json!({"id": "mnist", "description": "new", "createdAt": "2022-04-02T17:33:49Z"}).to_string();
    let detail = json!({"id": "mnist", "description": "new", "createdAt": "2022-04-02T17:33:49Z",
        "schemas": [{"version": 4, "roles": [], "createdAt": "2022-04-02T17:33:49Z"}], "code": []});
    let fake = Fake::new([
        ("PUT /v1/designs/mnist", 200, design),
        (format!("PUT /v1/datasets/{DATASET}").leak(), 200, dataset(DATASET).to_string()),
        (format!("GET /v1/datasets/{DATASET}").leak(), 200, dataset(DATASET).to_string()),
        (job_route("GET", ""), 200, job("ready", "", None, None).to_string()),
        (job_route("PUT", ""), 200, job("ready", "", None, None).to_string()),
        ("POST /v1/designs/mnist/schemas", 201, r#"{"version":5}"#.to_owned()),
        ("GET /v1/designs/mnist", 200, detail.to_string()),
        ("DELETE /v1/designs/mnist/schemas/4", 200, "{}".to_owned()),
        ("DELETE /v1/designs/mnist/code/2", 200, "{}".to_owned()),
        (job_route("DELETE", ""), 200, "{}".to_owned()),
    ]);
    for (args, said) in [
        (&["update", "design", "mnist", "-d", "new"][..], "Design 'mnist' updated successfully\n"),
        (&["update", "dataset", DATASET, "d.json"], "Dataset updated successfully\n"),
        (&["update", "job", JOB, "job.json"], "Job updated successfully\n"),
        (&["update", "schema", "s.json", "--design", "mnist"], "Schema updated successfully for design 'mnist'\n"),
        (&["remove", "schema", "mnist"], "Schema 4 of design 'mnist' deleted successfully\n"),
        (&["remove", "code", "mnist", "--version", "2"], "Code 2 of design 'mnist' deleted successfully\n"),
        (&["remove", "job", JOB], "Request to delete a job successful\n"),
    ] {
        let ran = fake.run_in(folder.path(), args);
        assert_eq!((ran.status, ran.err.as_str(), ran.out.as_str()), (0, "", said), "{args:?}");
    }
    let none = fake.run(&["remove", "code", "mnist"]);
    assert_eq!(none.status, 1);
    assert!(none.err.contains("design mnist has no code"), "{}", none.err);
    let changes: Vec<_> = fake.asked().into_iter().filter(|asked| asked.what.starts_with("PUT")).collect();
    assert!(changes.iter().all(|asked| asked.if_match == "\"as-it-is\""), "{changes:?}");
    let sent: Value = serde_json::from_slice(&changes[1].body).unwrap();
    assert_eq!(sent, json!({"description": "new", "isPublic": true}));
}

#[test]
fn events_are_sentences_and_end_with_the_job() {
    let at = "2022-04-02T18:24:45.704Z";
    let events = json!([
        {"number": 1, "timestamp": at, "event": "expanded", "tasks": 2},
        {"number": 2, "timestamp": at, "event": "task", "agent": TRAINER, "role": "trainer", "state": "failed", "attempt": 2, "reason": "no \u{1b}[2J memory"},
        {"number": 3, "timestamp": at, "event": "job", "state": "failed"},
    ]);
    let stream: Vec<String> =
        events.as_array().unwrap().iter().map(|event| format!("id: 1\ndata: {event}\n\n")).collect();
    let listed = Fake::new([(job_route("GET", "/events"), 200, events.to_string())]);
    let followed = Fake::new([(job_route("GET", "/events"), 200, stream.concat())]);
    let said = "2022-04-02 18:24:45.704 +0000 UTC job has 2 tasks\n\
                2022-04-02 18:24:45.704 +0000 UTC task 18d2671fbf59 (trainer) is failed, attempt 2: no \\u{1b}[2J memory\n\
                2022-04-02 18:24:45.704 +0000 UTC job is failed\n";
    assert_eq!(listed.run(&["events", JOB]).out, said);
    assert_eq!(listed.run(&["get", "events", JOB]).out, said);
    assert_eq!(followed.run(&["events", JOB, "-f"]).out, said);
    let lines = followed.run(&["events", JOB, "-f", "-o", "json"]).out;
    let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read[2]["state"], "failed");
}

fn snapshots(states: &[&str]) -> String {
    let snapshot = |state: &&str| {
        let snapshot = json!({"job": job(state, "", None, None), "latest": null, "progress": null,
            "tasks": {"ready": 0, "running": 1, "completed": 0, "failed": 0, "terminated": 0}});
        format!("data: {snapshot}\n\n")
    };
    states.iter().map(snapshot).collect()
}

#[test]
fn wait_says_nothing_and_ends_with_what_was_waited_for() {
    let fake = Fake::new([(job_route("GET", "/watch"), 200, snapshots(&["starting", "running", "failed"]))]);
    for (args, status) in [
        (&["wait", "job", JOB, "--for", "running"][..], 0),
        (&["wait", "job", JOB, "--for", "failed"], 0),
        (&["wait", "job", JOB, "--for", "ended"], 0),
        (&["wait", "job", JOB], 1),
    ] {
        let waited = fake.run(args);
        assert_eq!((waited.status, waited.out.as_str()), (status, ""), "{args:?}: {}", waited.err);
    }
    assert!(fake.run(&["wait", "job", JOB]).err.contains(&format!("job {JOB} failed: no reason was given")));
    // The server ends the watch too early, and the client would try for a minute to get back.
    let slow = Fake::new([(job_route("GET", "/watch"), 200, snapshots(&["starting"]))]);
    let up = slow.run(&["wait", "job", JOB, "--timeout", "0"]);
    assert_eq!((up.status, up.out.as_str()), (4, ""));
    assert!(up.err.contains("after 0 s the state of job"), "{}", up.err);
}

fn logs() -> Value {
    let line = |agent: &str, role: &str, level: &str, text: &str| json!({"agent": agent, "role": role, "level": level, "text": text, "timestamp": "2022-04-02T18:24:45.704Z"});
    json!([
        line(TRAINER, "trainer", "info", "one"),
        line(AGGREGATOR, "aggregator", "warn", "two"),
        line(TRAINER, "trainer", "error", "three"),
    ])
}

#[test]
fn logs_are_chosen_by_task_role_and_level() {
    let fake = Fake::new([
        (job_route("GET", "/logs"), 200, logs().to_string()),
        (job_route("GET", "/watch"), 200, snapshots(&["running", "running", "completed"])),
    ]);
    let words = |args: &[&str]| -> Vec<String> {
        let ran = fake.run(&[&["logs", JOB], args].concat());
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.out.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(words(&[]), ["one", "two", "three"]);
    assert_eq!(words(&["--role", "trainer"]), ["one", "three"]);
    assert_eq!(words(&["--task", "3e27"]), ["two"]);
    assert_eq!(words(&["--level", "warn", "--tail", "1"]), ["three"]);
    assert_eq!(words(&["-f"]), ["one", "two", "three"]);
    assert_eq!(words(&["-f", "--tail", "1"]), ["three"]);
    let nothing = fake.run(&["logs", JOB, "--role", "ghost"]);
    assert!(nothing.err.contains("has logged nothing of what was asked for"), "{}", nothing.err);
}

#[test]
fn describe_tells_all_about_a_job_and_a_task() {
    let tasks =
        json!([task(AGGREGATOR, "aggregator", "system", "running", ""), task(TRAINER, "trainer", "user", "ready", "")]);
    let fake = Fake::new([
        (job_route("GET", ""), 200, job("running", "", None, None).to_string()),
        (job_route("GET", "/tasks"), 200, tasks.to_string()),
        (job_route("GET", "/models"), 200, "[]".to_owned()),
        (job_route("GET", "/events"), 200, "[]".to_owned()),
        (job_route("GET", "/logs"), 200, logs().to_string()),
    ]);
    let about = fake.run(&["describe", "job", JOB]);
    assert_eq!((about.status, about.err.as_str()), (0, ""));
    for part in [
        "State:         running",
        "Not connected: 1 aggregator, 1 trainer",
        &format!("Next: a participant joins with FLAME_AGENT_ID={TRAINER}"),
    ] {
        assert!(about.out.contains(part), "{part}: {}", about.out);
    }
    let about = fake.run(&["describe", "task", JOB, "18d2"]);
    for part in ["Role:       trainer 0", "param-channel, group default: with aggregator 0", "ERROR three"] {
        assert!(about.out.contains(part), "{part}: {}", about.out);
    }
    assert!(!about.out.contains("two"), "{}", about.out);
}

#[test]
fn code_is_saved_as_it_was_uploaded() {
    let folder = tempfile::tempdir().unwrap();
    let revision = |version: u32, bytes: &[u8]| {
        json!({"version": version, "sha256": flame_bundle::sha256_hex(bytes), "size": bytes.len(),
        "roles": ["trainer"], "createdAt": "2022-04-02T17:33:49Z"})
    };
    let detail = json!({"id": "mnist", "description": "", "createdAt": "2022-04-02T17:33:49Z", "schemas": [],
        "code": [revision(1, b"one"), revision(3, b"three"), revision(4, b"right")]});
    let fake = Fake::new([
        ("GET /v1/designs/mnist", 200, detail.to_string()),
        ("GET /v1/designs/mnist/code/3", 200, "three".to_owned()),
        ("GET /v1/designs/mnist/code/4", 200, "wrong".to_owned()),
    ]);
    let saved = fake.run_in(folder.path(), &["get", "code", "mnist", "--version", "3", "--save", "c.wasm"]);
    assert_eq!(saved.status, 0, "{}", saved.err);
    assert!(saved.out.starts_with("Code 3 of design 'mnist' written to c.wasm\n\tsize: 5 B\n"), "{}", saved.out);
    assert_eq!(fs::read(folder.path().join("c.wasm")).unwrap(), b"three");
    let damaged = fake.run_in(folder.path(), &["get", "code", "mnist", "--save", "d.wasm"]);
    assert_eq!(damaged.status, 1);
    assert!(damaged.err.contains("do not match its digest") && !folder.path().join("d.wasm").exists());
}

#[test]
fn completions_and_manual_pages_need_no_server() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = ran(flamectl(folder.path()).args(["completions", shell]));
        assert_eq!(script.status, 0);
        for word in ["flamectl", "datasets", "dry-run"] {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
    }
    let written = ran(flamectl(folder.path()).args(["man", "man1"]));
    assert_eq!(written.status, 0, "{}", written.err);
    let page = fs::read_to_string(folder.path().join("man1/flamectl-create-job.1")).unwrap();
    assert!(page.contains(".TH flamectl-create-job 1") && page.contains("dry"), "{page}");
    let pages = fs::read_dir(folder.path().join("man1")).unwrap().count();
    assert!(written.out.starts_with(&format!("{pages} manual pages written to man1")), "{}", written.out);
}

#[test]
fn a_misspelt_command_is_corrected() {
    let wrong = ran(flamectl(Path::new("/")).args(["get", "dataset", "--ouput", "json"]));
    assert_eq!(wrong.status, 2);
    assert!(wrong.err.contains("--output"), "{}", wrong.err);
    let wrong = ran(flamectl(Path::new("/")).args(["get", "tsks", JOB]));
    assert!(wrong.err.contains("tasks"), "{}", wrong.err);
}

#[test]
fn a_token_is_printed_once_and_alone() {
    let token = json!({"id": "0123456789ab", "user": "alice", "role": "user", "description": "laptop",
        "createdAt": "2022-04-02T17:33:49.915Z", "expiresAt": null, "token": "sesame"});
    let fake = Fake::new([
        ("POST /v1/tokens", 201, token.to_string()),
        ("GET /v1/tokens", 200, json!([token]).to_string()),
        ("DELETE /v1/tokens/0123456789ab", 200, "{}".to_owned()),
    ]);
    let made = fake.run(&["create", "token", "--user", "alice", "-d", "laptop"]);
    assert_eq!((made.status, made.out.as_str()), (0, "sesame\n"), "{}", made.err);
    let listed = fake.run(&["get", "tokens"]);
    assert!(listed.out.contains("| alice | user | laptop") && !listed.out.contains("sesame"), "{}", listed.out);
    let revoked = fake.run(&["remove", "token", "0123456789ab"]);
    assert_eq!(revoked.out, "Token '0123456789ab' revoked successfully\n", "{}", revoked.err);
    assert_eq!(fake.run(&["create", "token", "--user", "alice", "--role", "agent"]).status, 2);
}
