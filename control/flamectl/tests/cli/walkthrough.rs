//! The words and tables of the walk-through, as a user sees them.

use std::fs;

use crate::support::{AGGREGATOR, Fake, JOB, TRAINER, component, flamectl, job, job_route, ran, task};
use serde_json::{Value, json};

const STARTED: Option<&str> = Some("2022-04-02T18:24:30.759Z");
const ENDED: Option<&str> = Some("2022-04-02T18:25:19.033Z");

#[test]
fn creating_says_what_was_created() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schema.json"), "{}").unwrap();
    fs::write(
        folder.path().join("job.json"),
        r#"{"designId": "mnist", "backend": "mqtt", "dataSpecPath": "spec.json"}"#,
    )
    .unwrap();
    fs::write(folder.path().join("spec.json"), r#"{"fromUser": {"default": 1}}"#).unwrap();
    let code = component("aggregator\ntrainer");
    fs::write(folder.path().join("mnist.wasm"), &code).unwrap();
    let design = r#"{"id":"mnist","description":"mnist example","createdAt":"2022-04-02T17:33:49.915Z"}"#;
    let fake = Fake::new([
        ("POST /v1/designs", 201, design.to_owned()),
        ("POST /v1/designs/mnist/schemas", 201, r#"{"version":1}"#.to_owned()),
        ("POST /v1/designs/mnist/code", 201, r#"{"version":1}"#.to_owned()),
        ("POST /v1/jobs", 201, format!(r#"{{"id":"{JOB}","state":"ready"}}"#)),
        (job_route("POST", "/start"), 200, job("starting", "", None, None).to_string()),
        (job_route("POST", "/stop"), 200, job("stopping", "", None, None).to_string()),
    ]);
    let said = |args: &[&str]| {
        let ran = fake.run_in(folder.path(), args);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{args:?}");
        ran.out
    };
    assert_eq!(
        said(&["create", "design", "mnist", "-d", "mnist example"]),
        "New design 'mnist' created successfully\n"
    );
    assert_eq!(
        said(&["create", "schema", "schema.json", "--design", "mnist"]),
        "Schema created successfully for design 'mnist'\n"
    );
    assert_eq!(
        said(&["create", "code", "mnist.wasm", "--design", "mnist"]),
        "Code created successfully for design 'mnist'\n"
    );
    assert_eq!(
        said(&["create", "job", "job.json"]),
        format!("New job created successfully\n\tID: {JOB}\n\tstate: ready\n")
    );
    assert_eq!(said(&["start", "job", JOB]), "Initiated to start a job successfully\n");
    assert_eq!(said(&["stop", "job", JOB]), "Request to stop a job successful\n");

    let asked = fake.asked();
    assert!(asked.iter().all(|asked| asked.authorization == "Bearer letmein"), "{asked:?}");
    assert_eq!(asked[0].body, br#"{"id":"mnist","description":"mnist example"}"#);
    assert_eq!(asked[1].what, "POST /v1/designs/mnist/schemas?file=schema.json");
    assert_eq!(asked[2].body, code);
    let sent: Value = serde_json::from_slice(&asked[3].body).unwrap();
    let data = json!({"fromUser": {"default": 1}, "fromSystem": []});
    assert_eq!(sent, json!({"designId": "mnist", "dataSpec": data, "backend": "mqtt"}));
}

#[test]
fn jobs_are_the_walk_throughs_table() {
    let jobs = json!([job("ready", "", None, None)]).to_string();
    let ran = Fake::new([("GET /v1/jobs", 200, jobs)]).run(&["get", "jobs"]);
    assert_eq!(ran.out, "\
+--------------------------+-------+-----------------------------------+-------------------------------+-------------------------------+
|          JOB ID          | STATE |             CREATED AT            |           STARTED AT          |            ENDED AT           |
+--------------------------+-------+-----------------------------------+-------------------------------+-------------------------------+
| 624888fda8001d773e34de43 | ready | 2022-04-02 17:33:49.915 +0000 UTC | 0001-01-01 00:00:00 +0000 UTC | 0001-01-01 00:00:00 +0000 UTC |
+--------------------------+-------+-----------------------------------+-------------------------------+-------------------------------+
");
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

#[test]
fn a_failed_jobs_reason_stands_under_the_table() {
    let failed = job("failed", "role `trainer` has no\ncompleted task", STARTED, ENDED);
    let fake = Fake::new([
        ("GET /v1/jobs", 200, json!([failed]).to_string()),
        (job_route("GET", ""), 200, failed.to_string()),
    ]);
    for args in [&["get", "jobs"][..], &["get", "job", "6248"]] {
        let ran = fake.run(args);
        let last = ran.out.lines().last().unwrap();
        assert_eq!(last, format!("job {JOB} failed: role `trainer` has no\\ncompleted task"));
        assert!(ran.out.contains("| failed | 2022-04-02 17:33:49.915 +0000 UTC | 2022-04-02 18:24:30.759 +0000 UTC |"));
    }
    let wide = fake.run(&["get", "jobs", "-o", "wide"]);
    assert!(wide.out.lines().nth(1).unwrap().contains("REASON"), "{}", wide.out);
    assert_eq!(wide.out.lines().count(), 5);
}

#[test]
fn tasks_are_the_walk_throughs_table_with_reasons_under_it() {
    let tasks = json!([
        task(TRAINER, "trainer", "user", "running", ""),
        task(AGGREGATOR, "aggregator", "system", "failed", "the guest panicked: \u{1b}[2Jboom"),
    ]);
    let fake = Fake::new([(job_route("GET", "/tasks"), 200, tasks.to_string())]);
    let ran = fake.run(&["get", "tasks", JOB]);
    assert_eq!(ran.out, "\
+--------------------------+------------------------------------------+--------+---------+-----------------------------------+
|          JOB ID          |                 AGENT ID                 |  TYPE  |  STATE  |             TIMESTAMP             |
+--------------------------+------------------------------------------+--------+---------+-----------------------------------+
| 624888fda8001d773e34de43 | 18d2671fbf597f2200fd4a01f4dfc7878fce5ca9 | user   | running | 2022-04-02 17:33:49.927 +0000 UTC |
| 624888fda8001d773e34de43 | 3e27750dfc40b95f853c11b691314899fdf2dfd1 | system | failed  | 2022-04-02 17:33:49.927 +0000 UTC |
+--------------------------+------------------------------------------+--------+---------+-----------------------------------+
task 3e27750dfc40 (aggregator) failed: the guest panicked: \\u{1b}[2Jboom
");
    let wide = fake.run(&["get", "tasks", JOB, "-o", "wide"]);
    for header in ["ROLE", "INDEX", "ATTEMPT", "REASON", "param-channel:default", "trainer"] {
        assert!(wide.out.contains(header), "{header}: {}", wide.out);
    }
    let machine = fake.run(&["get", "tasks", JOB, "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&machine.out).unwrap(), tasks);
    let yaml = fake.run(&["get", "tasks", JOB, "-o", "yaml"]);
    assert!(yaml.out.contains("role: trainer"), "{}", yaml.out);
}

#[test]
fn empty_lists_say_what_to_do_next_on_stderr() {
    let fake = Fake::new([
        ("GET /v1/jobs", 200, "[]"),
        ("GET /v1/designs", 200, "[]"),
        (job_route("GET", "/logs"), 200, "[]"),
        (job_route("GET", "/metrics"), 200, "[]"),
    ]);
    for (args, next) in [
        (&["get", "jobs"][..], "`flamectl create job FILE`"),
        (&["get", "designs"], "`flamectl create design ID`"),
        (&["get", "logs", JOB], "`flamectl get tasks"),
        (&["get", "metrics", JOB], "`flamectl get tasks"),
    ] {
        let ran = fake.run(args);
        assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{args:?}");
        assert!(ran.err.contains(next), "{}", ran.err);
    }
    assert_eq!(fake.run(&["get", "jobs", "-o", "json"]).out, "[]\n");
}

#[test]
fn designs_show_their_revisions() {
    let design = json!({
        "id": "mnist", "description": "an example", "createdAt": "2022-04-02T17:33:49.915Z",
        "schemas": [{"version": 1, "roles": ["trainer", "aggregator"], "createdAt": "2022-04-02T17:33:50Z"}],
        "code": [],
    });
    let ran = Fake::new([("GET /v1/designs/mnist", 200, design.to_string())]).run(&["get", "design", "mnist"]);
    assert!(ran.out.contains("| schema      | 1       | trainer, aggregator |"), "{}", ran.out);
    assert_eq!(ran.err, "the design has no code yet; add it with `flamectl create code module.wasm --design mnist`\n");
}

#[test]
fn logs_are_lines_that_steer_no_terminal() {
    let logs = json!([{
        "agent": TRAINER, "role": "trainer", "level": "warn", "text": "loss \u{9b}31mnan",
        "timestamp": "2022-04-02T18:24:45.704Z",
    }]);
    let fake = Fake::new([(job_route("GET", "/logs"), 200, logs.to_string())]);
    assert_eq!(
        fake.run(&["get", "logs", JOB]).out,
        "2022-04-02 18:24:45.704 +0000 UTC trainer 18d2671f WARN loss \\u{9b}31mnan\n"
    );
}

#[test]
fn metrics_have_a_column_per_name() {
    let row = |round: u64, role: &str, values: Value| json!({"agent": TRAINER, "role": role, "round": round, "values": values, "timestamp": "2022-04-02T18:24:45Z"});
    let metrics = json!([
        row(2, "aggregator", json!({"accuracy": 0.91234})),
        row(1, "aggregator", json!({"accuracy": 0.5, "loss": 2})),
    ]);
    let fake = Fake::new([(job_route("GET", "/metrics"), 200, metrics.to_string())]);
    assert_eq!(
        fake.run(&["get", "metrics", JOB]).out,
        "\
+-------+------------+----------+------+
| ROUND |    ROLE    | ACCURACY | LOSS |
+-------+------------+----------+------+
| 1     | aggregator | 0.5000   | 2    |
| 2     | aggregator | 0.9123   |      |
+-------+------------+----------+------+
"
    );
}

fn artifact(bytes: &[u8], sha256: Option<&str>) -> String {
    let sha256 = sha256.map_or_else(|| flame_bundle::sha256_hex(bytes), str::to_owned);
    json!([{"name": "model", "sha256": sha256, "size": bytes.len(), "agent": AGGREGATOR,
        "timestamp": "2022-04-02T18:24:45Z"}])
    .to_string()
}

#[test]
fn a_model_is_saved_as_the_server_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = b"\x08\0\0\0\0\0\0\0{}      ".to_vec();
    let fake = Fake::new([
        (job_route("GET", "/models"), 200, artifact(&bytes, None).into_bytes()),
        (job_route("GET", "/models/model"), 200, bytes.clone()),
    ]);
    let ran = fake.run_in(folder.path(), &["get", "model", JOB, "-o", "m.safetensors"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.starts_with(&format!("Model 'model' of job {JOB} written to m.safetensors\n")), "{}", ran.out);
    assert_eq!(fs::read(folder.path().join("m.safetensors")).unwrap(), bytes);
    fake.run_in(folder.path(), &["get", "model", JOB]);
    assert_eq!(fs::read(folder.path().join(format!("{JOB}.safetensors"))).unwrap(), bytes);
    assert_eq!(fake.run(&["get", "model", JOB, "-o", "-"]).raw, bytes);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

    let absent = fake.run(&["get", "model", JOB, "--name", "best"]);
    assert_eq!(absent.status, 1);
    assert_eq!(
        absent.err,
        format!("error: job {JOB} has published no model named `best`\nhint: it has: model; choose one with --name\n")
    );
}

#[test]
fn a_model_whose_bytes_do_not_match_its_digest_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new([
        (job_route("GET", "/models"), 200, artifact(b"right", None)),
        (job_route("GET", "/models/model"), 200, "wrong".to_owned()),
    ]);
    let ran = fake.run_in(folder.path(), &["get", "model", JOB]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("do not match the digest"), "{}", ran.err);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn event(state: &str, reason: &str, round: u64, values: &Value) -> String {
    let latest = json!({"agent": AGGREGATOR, "role": "aggregator", "round": round, "values": values,
        "timestamp": "2022-04-02T18:24:45Z"});
    let snapshot = json!({
        "job": job(state, reason, STARTED, None), "latest": if round == 0 { Value::Null } else { latest },
        "tasks": {"ready": 0, "running": 2, "completed": 0, "failed": 0, "terminated": 0},
        "progress": {"round": round, "rounds": 3},
    });
    format!("data: {snapshot}\n\n")
}

#[test]
fn watch_prints_a_line_per_change_and_ends_with_the_job() {
    let values = json!({"accuracy": 0.91, "loss": 0.25, "bytesSent": 1_048_576, "bytesReceived": 1_048_576});
    let body = [
        event("running", "", 0, &values),
        ": still here\n\n".to_owned(),
        event("running", "", 1, &values),
        event("running", "", 1, &values),
        event("completed", "", 3, &values),
    ]
    .concat();
    let fake = Fake::new([(job_route("GET", "/watch"), 200, body)]);
    let ran = fake.run(&["watch", "job", JOB]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert_eq!(
        ran.out,
        "\
running  round 0/3  tasks 2 running
running  round 1/3  loss 0.2500  accuracy 0.9100  bytes 2.0 MiB  tasks 2 running
completed  round 3/3  loss 0.2500  accuracy 0.9100  bytes 2.0 MiB  tasks 2 running
"
    );
    let machine = fake.run(&["watch", "job", JOB, "-o", "json"]);
    let states: Vec<Value> = machine.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(states.last().unwrap()["job"]["state"], "completed");
}

#[test]
fn watch_ends_with_status_1_and_the_reason_when_the_job_failed() {
    let body = event("failed", "task 18d2671fbf59 (trainer) failed: out of memory", 0, &json!({}));
    let fake = Fake::new([(job_route("GET", "/watch"), 200, body)]);
    let ran = fake.run(&["watch", "job", JOB]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        format!(
            "error: job {JOB} failed: task 18d2671fbf59 (trainer) failed: out of memory\n\
             hint: `flamectl get tasks {JOB}` and `flamectl get logs {JOB}` say more\n"
        )
    );
}

#[test]
fn inspect_shows_what_is_in_a_component_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let code = component("aggregator\ntrainer");
    fs::write(folder.path().join("mnist.wasm"), &code).unwrap();
    fs::write(folder.path().join("plain.wasm"), component("")).unwrap();
    let good = ran(flamectl(folder.path()).args(["inspect", "mnist.wasm"]));
    assert_eq!((good.status, good.err.as_str()), (0, ""));
    let digest = flame_bundle::sha256_hex(&code);
    let size = code.len();
    assert_eq!(
        good.out,
        format!(
            "kind:    component\nsize:    {size} B\nsha256:  {digest}\nroles:   aggregator, trainer\n\
             signed by: nobody\nimports: none\nexports:\n  run\n"
        )
    );
    let machine = ran(flamectl(folder.path()).args(["inspect", "mnist.wasm", "-o", "json"]));
    let machine: Value = serde_json::from_str(&machine.out).unwrap();
    assert_eq!(machine["roles"], json!(["aggregator", "trainer"]));
    let plain = ran(flamectl(folder.path()).args(["inspect", "plain.wasm"]));
    assert_eq!(plain.status, 2);
    assert!(plain.out.contains("roles:   none"), "{}", plain.out);
    assert!(plain.err.contains("error: the code plain.wasm would be refused:\n  - the component names no role"));
}
