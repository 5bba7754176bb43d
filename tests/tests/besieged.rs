//! The hostile suite against one real `flamelet`: a process that serves many tasks, of which all but one attack, one after
//! another. Each ends with the reason that it must have; then the same process completes an honest job.

use std::path::PathBuf;
use std::process::Command;

use flame_tests::{Child, Flame, FlameBuilder, attack, mnist, program, root};

/// Most resident memory of the flamelet through all of it, in MiB: what `docs/security.md` states. It compiles elsewhere.
const MOST_MEMORY: u64 = 1_024;

/// The participant's terms for all of its tasks.
const POLICY: &str = r#"
[limits]
memory = "64 MiB"
tensor-bytes = "64 MiB"
call-bytes = "7 MiB"
handles = 500
table-elements = 10000
metrics = 5
cpu = { call = "2s", task = "30s" }
wall = { task = "90s" }
"#;

/// Who attacks, and what the reason of its end has to say.
const ATTACKS: &[(&str, &str)] = &[
    ("loop_forever", "limits.cpu.call"),
    ("recursion", "trapped"),
    ("memory_growth", "limits.memory"),
    ("leak_tensor_bytes", "limits.tensor-bytes"),
    ("leak_tensors", "limits.handles"),
    ("leak_models", "limits.handles"),
    ("leak_channels", "limits.handles"),
    ("leak_datasets", "limits.handles"),
    ("leak_aggregators", "limits.handles"),
    ("leak_rule_states", "limits.tensor-bytes"),
    ("leak_names", "limits.tensor-bytes"),
    ("many_tensors", "limits.handles"),
    ("huge_argument", "limits.call-bytes"),
    ("metric_flood", "limits.metrics"),
    ("dropped_twice", "handle"),
    ("dropped_reused", "handle"),
    ("handle_of_another_type", "handle"),
    ("forged_handle", "handle"),
    ("pointer_outside", "bounds"),
    ("pointer_unaligned", "align"),
    ("not_text", "utf-8"),
    ("endless_list", "the guest was ended"),
    ("no_such_case", "the guest was ended"),
    ("panic_load", "panicked"),
    ("aborts", "trapped"),
    ("exits", "exit"),
    ("long_failure", ""),
];

/// Attacks that the host answers with errors, so that they may come to a good end; nothing of them may stay.
const ANSWERED: &[&str] = &[
    "bad_offsets",
    "bad_shapes",
    "clocks",
    "data_paths",
    "environment",
    "files",
    "hostile_rule",
    "huge_result",
    "log_flood",
    "long_lines",
    "other_channels",
    "progress_flood",
    "stdout_flood",
    "wrong_types",
];

/// A schema in which the attacker has nobody but its own kind.
const ALONE: &str = r#"{
    "name": "alone",
    "roles": [{"name": "trainer", "isDataConsumer": true}],
    "channels": [{"name": "param", "pair": ["trainer", "trainer"]}]
}"#;

#[test]
fn one_flamelet_stands_every_attack_and_then_does_an_honest_job() {
    let flame = FlameBuilder::control().start();
    let folder = flame.example();
    std::fs::write(folder.join("alone.json"), ALONE).unwrap();
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    let attacks: Vec<(&str, Option<&str>)> = ATTACKS
        .iter()
        .map(|(name, words)| (*name, Some(*words)))
        .chain(ANSWERED.iter().map(|name| (*name, None)))
        .collect();
    let jobs: Vec<(String, String)> = attacks.iter().map(|(name, _)| job_of(&flame, name)).collect();
    let honest = flame.create_job("honest", &mnist(), |job| {
        job["hyperparameters"]["rounds"] = 2.into();
        job["hyperparameters"]["dataset"] = "mnist".into();
    });
    let trainer = flame.participants(&honest).remove(0);

    // Never started: the flamelet waits for it when all else is done.
    let (_, idle) = job_of(&flame, "honest_job");

    let agents = jobs.iter().map(|(_, agent)| agent).chain([&trainer, &idle]);
    let agents: Vec<String> = agents.enumerate().map(|(at, agent)| format!("{agent} key-{at}")).collect();
    std::fs::write(folder.join("agents"), agents.join("\n")).unwrap();
    let mut flamelet = start(&flame);

    let mut problems = Vec::new();
    for ((name, words), (job, _)) in attacks.iter().zip(&jobs) {
        flame.does(&format!("flamectl start job {job}"));
        let state = flame.ends(job);
        let reason = flame.tasks(job).remove(0).reason;
        eprintln!("{name}: {state}: {}", reason.lines().next().unwrap_or_default());
        if let Some(words) = words
            && !(state == "failed" && reason.contains(words))
        {
            problems.push(format!("{name} should fail by `{words}`, and it {state}: {reason}"));
        }
        assert!(running(flamelet.id()), "{name} ended the flamelet:\n{}", flamelet.output());
    }
    flame.does(&format!("flamectl start job {honest}"));
    assert_eq!(flame.ends(&honest), "completed");
    let peak = peak_memory(flamelet.id());
    eprintln!("{} attacks; the flamelet took {peak:?} MiB at the most", attacks.len());
    let ended = flamelet.terminate();
    // Of all its tasks the worst counts.
    assert_eq!(ended.code(), Some(1), "{}", flamelet.output());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    if let Some(peak) = peak {
        assert!(peak <= MOST_MEMORY, "the flamelet took {peak} MiB, and {MOST_MEMORY} are stated");
    }
}

/// A job with one task that attacks; its id, and that of the task's agent.
fn job_of(flame: &Flame, name: &str) -> (String, String) {
    let design = name.replace('_', "-");
    let component = attack(name);
    flame.does(&format!("flamectl create design {design}"));
    flame.does(&format!("flamectl create schema alone.json --design {design}"));
    flame.does(&format!("flamectl create code {} --design {design}", component.display()));
    let job = flame.create_job_of(&design, |job| {
        *job = serde_json::json!({"designId": design, "name": name, "backend": "mqtt",
            "dataSpec": {"fromUser": {"default": 1}}});
    });
    let agent = flame.participants(&job).remove(0);
    (job, agent)
}

fn start(flame: &Flame) -> Child {
    let data: PathBuf = root().join("examples/mnist-wasm/data/train");
    let mut command: Command = program("flamelet");
    command
        .args(["-a", &flame.api, "-n", &flame.notifier, "--agents", "agents", "--policy", "policy.toml"])
        .args(["mnist", "data"].map(|name| format!("--data={name}={}", data.display())))
        .env("FLAME_CACHE_DIR", flame.home().join("cache"))
        .current_dir(flame.example());
    flame.environment(&mut command);
    Child::start(command)
}

/// Whether the process is there, and no zombie.
fn running(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"));
    status.map_or(!cfg!(target_os = "linux"), |status| !status.contains("State:\tZ"))
}

/// Most resident memory of a process, in MiB, where the system tells.
fn peak_memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1_024)
}
