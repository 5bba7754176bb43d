//! What people get wrong, and what they read: one paragraph that names the fix, and an exit status that is not 0.

use std::net::TcpListener;

use flame_tests::{Finished, Flame, FlameBuilder, process_output, root};

fn one_paragraph(finished: &Finished, words: &[&str]) {
    assert_ne!(finished.code, 0, "{finished:?}");
    let said = finished.stderr.trim();
    assert!(!said.is_empty() && !said.contains("\n\n") && !said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

fn with_design() -> Flame {
    let flame = FlameBuilder::control().start();
    flame.does("flamectl create design d");
    flame
}

#[test]
fn wrong_files_are_named() {
    let flame = with_design();
    one_paragraph(&flame.types("flamectl create schema nowhere.json --design d"), &["nowhere.json"]);
    one_paragraph(&flame.types("flamectl create code schema.json --design d"), &["schema.json", "component"]);
    one_paragraph(&flame.types("flamectl create schema mnist.wasm --design d"), &["mnist.wasm"]);
    one_paragraph(&flame.types("flamectl create job ."), &["."]);
}

#[test]
fn a_core_module_is_told_from_a_component() {
    let flame = with_design();
    std::fs::write(flame.example().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let refused = flame.types("flamectl create code core.wasm --design d");
    one_paragraph(&refused, &["core WebAssembly module", "wasm32-wasip2"]);
}

#[test]
fn a_missing_field_is_named_with_its_file() {
    let flame = with_design();
    std::fs::write(flame.example().join("bad.json"), r#"{"schemaVersion": "1"}"#).unwrap();
    one_paragraph(&flame.types("flamectl create job bad.json"), &["bad.json", "designId"]);
    std::fs::write(flame.example().join("odd.json"), r#"{"designId": "d", "rounds": 3}"#).unwrap();
    one_paragraph(&flame.types("flamectl create job odd.json"), &["odd.json", "rounds"]);
    std::fs::write(
        flame.example().join("s.json"),
        r#"{"name": "x", "roles": [{"name": "a"}], "channels": [{"name": "c", "pair": ["a", "ghost"]}]}"#,
    )
    .unwrap();
    flame.does("flamectl create schema schema.json --design d");
    let refused = flame.types("flamectl create schema s.json --design d");
    if refused.code == 0 {
        // What only an expansion can tell is told when the job is created.
        flame.does("flamectl create code mnist.wasm --design d");
        std::fs::write(
            flame.example().join("j.json"),
            r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromUser": {"default": 1}}}"#,
        )
        .unwrap();
        one_paragraph(&flame.types("flamectl create job j.json"), &["ghost"]);
    } else {
        one_paragraph(&refused, &["s.json", "ghost"]);
    }
}

#[test]
fn an_unknown_design_is_named() {
    let flame = FlameBuilder::control().start();
    one_paragraph(&flame.types("flamectl create job job.json"), &["mnist_non_orchestration", "create design"]);
    one_paragraph(&flame.types("flamectl create schema schema.json --design nope"), &["nope"]);
    one_paragraph(&flame.types("flamectl get tasks 0123456789abcdef01234567"), &["0123456789abcdef01234567"]);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let flame = FlameBuilder::control().start();
    let finished = flame.types("flamectl --apiserver http://127.0.0.1:1 get jobs");
    one_paragraph(&finished, &["http://127.0.0.1:1", "fiab up"]);
    assert_eq!(finished.code, 3);
}

#[test]
fn a_request_without_the_token_is_refused() {
    let flame = FlameBuilder::control().start();
    let finished = flame.types("FLAME_TOKEN=wrong flamectl get jobs");
    one_paragraph(&finished, &["token"]);
}

#[test]
fn a_busy_port_is_named() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    for (program, args) in [("flame-control", &[][..]), ("fiab", &["up"][..])] {
        for flag in ["--api-port", "--notifier-port", "--broker-port"] {
            let home = tempfile::tempdir().unwrap();
            let mut args: Vec<&str> = args.to_vec();
            for each in ["--api-port", "--notifier-port", "--broker-port"] {
                args.extend([each, if each == flag { port.as_str() } else { "0" }]);
            }
            let finished = process_output(program, &args, home.path());
            one_paragraph(&finished, &[port.as_str(), flag]);
        }
    }
}

#[test]
fn a_missing_broker_is_named() {
    let home = tempfile::tempdir().unwrap();
    let finished = process_output(
        "flame-control",
        &["--api-port", "0", "--notifier-port", "0", "--broker", "mqtt://127.0.0.1:1"],
        home.path(),
    );
    one_paragraph(&finished, &["broker", "127.0.0.1:1"]);
}

#[test]
fn a_participants_mistakes_are_named_before_anything_is_connected() {
    let home = tempfile::tempdir().unwrap();
    let run = |id: Option<&str>, key: Option<&str>, data: &str| {
        let mut command = flame_tests::program("flamelet");
        command.env_remove("FLAME_AGENT_ID").env_remove("FLAME_AGENT_KEY").env("FLAME_CACHE_DIR", home.path());
        if let Some(id) = id {
            command.env("FLAME_AGENT_ID", id);
        }
        if let Some(key) = key {
            command.env("FLAME_AGENT_KEY", key);
        }
        command.args(["-a", "http://127.0.0.1:1", "-n", "127.0.0.1:1", "--data", data]);
        flame_tests::finish(command)
    };
    let agent = "a".repeat(40);
    let data = format!("mnist={}", root().join("examples/mnist-wasm/data/train").display());
    one_paragraph(&run(None, Some("k"), &data), &["FLAME_AGENT_ID", "flamectl get tasks"]);
    one_paragraph(&run(Some("12"), Some("k"), &data), &["FLAME_AGENT_ID", "40"]);
    one_paragraph(&run(Some(&agent), None, &data), &["FLAME_AGENT_KEY"]);
    one_paragraph(&run(Some(&agent), Some("k"), "mnist=/nowhere"), &["mnist", "/nowhere"]);
}

#[test]
fn what_a_job_asks_for_and_nobody_does_is_refused() {
    let flame = FlameBuilder::control().start();
    let job = flame.create_job("d", &flame_tests::mnist(), |_| {});
    assert_eq!(job.len(), 24);
    std::fs::write(
        flame.example().join("more.json"),
        r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromUser": {"default": 1}}, "baseModel": {"name": "m", "version": 1},
            "optimizer": {"sort": "fedadam", "kwargs": {"etta": 1}}}"#,
    )
    .unwrap();
    one_paragraph(&flame.types("flamectl create job more.json"), &["baseModel", "etta"]);
    std::fs::write(
        flame.example().join("selector.json"),
        r#"{"designId": "d", "backend": "mqtt", "dataSpec": {"fromUser": {"default": 1}}, "selector": {"sort": "oort", "kwargs": {}}}"#,
    )
    .unwrap();
    one_paragraph(&flame.types("flamectl create job selector.json"), &["selector.json", "oort", "needs its option k"]);
}
