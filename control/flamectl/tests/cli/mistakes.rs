//! What a user is told when something is wrong, and the exit status.

use std::fs;
use std::path::Path;

use crate::support::{Fake, component, flamectl, job, job_route, ran};
use serde_json::json;

fn none() -> Fake {
    Fake::new([("GET /none", 200, "")])
}

#[test]
fn a_server_that_is_away_is_named_with_the_fix() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let away = ran(flamectl(Path::new("/")).args(["--apiserver", &url, "get", "jobs"]));
    assert_eq!(away.status, 3);
    assert_eq!(away.out, "");
    assert!(away.err.starts_with(&format!("error: cannot reach the apiserver at {url}: ")), "{}", away.err);
    assert!(away.err.contains("hint: start it with `flame-control` or `fiab up`"), "{}", away.err);
}

#[test]
fn somebody_elses_server_is_recognised() {
    let other = Fake::new([("GET /v1/jobs", 404, "<html>not here</html>")]).run(&["get", "jobs"]);
    assert_eq!(other.status, 3);
    assert!(other.err.contains("is something else listening there?"), "{}", other.err);
}

#[test]
fn a_refusal_lists_every_problem_and_the_hint() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.json"), "{}").unwrap();
    let problem = json!({
        "code": "refused", "message": "the schema s.json has 2 mistakes", "hint": "mend \u{1b}[1mthem",
        "problems": ["line 3: unknown role `x`", "line 9: a pair has two roles"],
    });
    let fake = Fake::new([("POST /v1/designs/d/schemas", 422, problem.to_string())]);
    let refused = fake.run_in(folder.path(), &["create", "schema", "s.json", "--design", "d"]);
    assert_eq!(refused.status, 1);
    assert_eq!(
        refused.err,
        "error: the schema s.json has 2 mistakes\n  - line 3: unknown role `x`\n  - line 9: a pair has two roles\n\
         hint: mend \\u{1b}[1mthem\n"
    );
}

#[test]
fn a_refused_token_says_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new([("GET /v1/jobs", 401, r#"{"code":"unauthenticated","message":"no valid token"}"#)]);
    let config = folder.path().join("config.yaml");
    let run = |token: Option<&str>| {
        let mut command = flamectl(folder.path());
        command.env("FLAME_HOME", folder.path()).args(["--apiserver", &fake.url, "get", "jobs"]);
        if let Some(token) = token {
            command.env("FLAME_TOKEN", token);
        }
        let ran = ran(&mut command);
        assert_eq!(ran.status, 1);
        ran.err
    };
    assert!(run(None).contains("no token was given: set FLAME_TOKEN"));
    assert!(run(Some("abc")).contains("the token came from FLAME_TOKEN"));
    fs::write(&config, "token: sesame\n").unwrap();
    assert!(run(None).contains(&format!("the token came from {}", config.display())));
    assert_eq!(fake.asked().last().unwrap().authorization, "Bearer sesame");
}

#[test]
fn flag_beats_environment_beats_file() {
    let folder = tempfile::tempdir().unwrap();
    let fakes: Vec<Fake> = (0..3).map(|_| Fake::new([("GET /v1/jobs", 200, "[]")])).collect();
    let config = format!("apiserver:\n  endpoint: {}\nuser: john\n", fakes[2].url);
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let mut command = flamectl(folder.path());
    command.args(["get", "jobs", "--config", "config.yaml"]);
    assert_eq!(ran(&mut command).status, 0);
    command.env("FLAME_APISERVER", &fakes[1].url);
    assert_eq!(ran(&mut command).status, 0);
    command.args(["--apiserver", &fakes[0].url]);
    assert_eq!(ran(&mut command).status, 0);
    assert_eq!(fakes.iter().map(|fake| fake.asked().len()).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_wrong_configuration_is_named_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let mut absent = flamectl(folder.path());
    let absent = ran(absent.args(["--config", "nope.yaml", "get", "jobs"]));
    assert_eq!(absent.status, 2);
    assert!(absent.err.starts_with("error: the configuration file nope.yaml does not exist\nhint: "), "{}", absent.err);

    fs::write(folder.path().join("bad.yaml"), "token: hunter2\nendpont: x\n").unwrap();
    let bad = ran(flamectl(folder.path()).args(["--config", "bad.yaml", "get", "jobs"]));
    assert_eq!(bad.status, 2);
    assert!(bad.err.contains("bad.yaml is not right") && bad.err.contains("endpont"), "{}", bad.err);
    assert!(!bad.err.contains("hunter2"), "{}", bad.err);

    let address = ran(flamectl(folder.path()).args(["--apiserver", "localhost:10100", "get", "jobs"]));
    assert_eq!(address.status, 2);
    assert!(address.err.contains("`localhost:10100` is not the address of an apiserver"), "{}", address.err);
}

#[test]
fn wrong_files_are_refused_before_the_server_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.json"), "").unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    fs::write(folder.path().join("text.wasm"), "hello").unwrap();
    fs::write(folder.path().join("plain.wasm"), component("")).unwrap();
    fs::write(folder.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let fake = none();
    for (args, said) in [
        (["create", "job", "gone.json"].to_vec(), "the job file gone.json does not exist"),
        (["create", "job", "empty.json"].to_vec(), "the job file empty.json is empty"),
        (["create", "job", "dir"].to_vec(), "dir is a directory, not a job file"),
        (["create", "schema", "gone.json", "--design", "d"].to_vec(), "the schema file gone.json does not exist"),
        (["create", "code", "gone.wasm", "--design", "d"].to_vec(), "the code file gone.wasm does not exist"),
        (
            ["create", "code", "core.wasm", "--design", "d"].to_vec(),
            "core.wasm is a core WebAssembly module, not a component",
        ),
        (
            ["create", "code", "text.wasm", "--design", "d"].to_vec(),
            "text.wasm is a text file, neither a WebAssembly component nor a zip of components",
        ),
        (
            ["create", "code", "plain.wasm", "--design", "d"].to_vec(),
            "the code plain.wasm would be refused:\n  - the component names no role",
        ),
    ] {
        let wrong = fake.run_in(folder.path(), &args);
        assert_eq!(wrong.status, 2, "{args:?}");
        assert!(wrong.err.starts_with(&format!("error: {said}")), "{}", wrong.err);
        assert!(wrong.err.contains("\nhint: "), "{}", wrong.err);
    }
    assert_eq!(fake.asked(), []);
}

#[test]
fn usage_errors_name_the_mistake_and_end_with_status_2() {
    let fake = none();
    for (args, said) in [
        (["get", "jobs", "--unknown_flag"].to_vec(), "--unknown_flag"),
        (["create", "schema", "s.json"].to_vec(), "--design"),
        (["create", "design", "a/b"].to_vec(), "is not a design id"),
        (["get", "tasks", "xyz"].to_vec(), "a job id has 24 hex digits"),
        (["get"].to_vec(), "Usage"),
    ] {
        let wrong = fake.run(&args);
        assert_eq!(wrong.status, 2, "{args:?}");
        assert!(wrong.err.contains(said), "{}", wrong.err);
    }
}

#[test]
fn a_job_can_be_named_by_a_unique_prefix_only() {
    let mut other = job("ready", "", None, None);
    other["id"] = json!("6248ffffffffffffffffffff");
    let jobs = json!([job("ready", "", None, None), other]).to_string();
    let fake = Fake::new([("GET /v1/jobs", 200, jobs), (job_route("GET", "/tasks"), 200, "[]".to_owned())]);
    assert_eq!(fake.run(&["get", "tasks", "62488"]).status, 0);
    let many = fake.run(&["get", "tasks", "6248"]);
    assert_eq!(many.status, 1);
    assert!(many.err.contains("several jobs") && many.err.contains("hint: give more digits"), "{}", many.err);
    let none = fake.run(&["get", "tasks", "abcd"]);
    assert_eq!(none.status, 1);
    assert!(none.err.contains("no job has an id that begins with `abcd`"), "{}", none.err);
}

#[test]
fn help_documents_exit_status_precedence_and_examples() {
    let help = none().run(&["--help"]);
    assert_eq!(help.status, 0);
    for part in ["Examples:", "Exit status:", "FLAME_TOKEN", "the flag wins over the environment", "flamectl watch job"]
    {
        assert!(help.out.contains(part), "{part}");
    }
}
