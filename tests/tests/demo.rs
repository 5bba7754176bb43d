//! `fiab demo`, small, and what it leaves.

use std::path::Path;

use flame_tests::{finish, mnist, program, python, root};
use serde_json::Value;

fn demo(home: &Path, args: &[&str]) -> Value {
    let mut command = program("fiab");
    command
        .args(["demo", "--json", "--component"])
        .arg(mnist())
        .arg("--example")
        .arg(root().join("examples/mnist-wasm"));
    command.args(args).env("FLAME_HOME", home);
    let finished = finish(command);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

#[test]
fn one_seed_gives_one_model_to_the_bit() {
    let home = tempfile::tempdir().unwrap();
    let args = ["--participants", "3", "--rounds", "2", "--seed", "7", "--partition", "dirichlet:0.5"];
    let first = demo(home.path(), &args);
    assert_eq!((first["state"].as_str(), first["rounds"].as_u64()), (Some("completed"), Some(2)));
    assert_eq!(first["participants"], 3);
    assert!(first["accuracy"].as_f64().unwrap() > 0.3 && first["loss"].as_f64().unwrap() > 0.0, "{first}");
    assert!(first["seconds"].as_f64().unwrap() > 0.0);
    let second = demo(home.path(), &args);
    assert_eq!(first["model_sha256"], second["model_sha256"]);
    assert_eq!(first["accuracy"], second["accuracy"]);
    let other =
        demo(home.path(), &["--participants", "3", "--rounds", "2", "--seed", "8", "--partition", "dirichlet:0.5"]);
    assert_ne!(first["model_sha256"], other["model_sha256"]);
}

#[test]
fn the_global_model_gives_the_reported_accuracy_outside() {
    let Some(mut python) = python("safetensors, numpy") else { return };
    let home = tempfile::tempdir().unwrap();
    let summary = demo(home.path(), &["--participants", "2", "--rounds", "2"]);
    let models = home.path().join("demo/control/models");
    python.arg(root().join("tests/python/evaluate.py")).arg(models).arg(root().join("examples/mnist-wasm/data/test"));
    let finished = finish(python);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let outside: f64 = finished.stdout.trim().parse().unwrap();
    assert!((outside - summary["accuracy"].as_f64().unwrap()).abs() < 1e-9, "{outside} {summary}");
}
