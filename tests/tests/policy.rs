//! A participant's own terms: what a job gets under a policy, what leaves, and what the audit log tells of it.

use flame_tests::{Flame, FlameBuilder, root};
use serde_json::Value;

const CLIP: f64 = 0.05;

/// Writes a policy into the user's folder; its path.
fn policy(flame: &Flame, text: &str) -> String {
    let path = flame.example().join("policy.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The example's job, edited, with its component uploaded; the job and its participants.
fn job(flame: &Flame, edit: impl FnOnce(&mut Value)) -> (String, Vec<String>) {
    let job = flame.create_job("mnist", &flame_tests::mnist(), |job| {
        job["hyperparameters"]["rounds"] = 2.into();
        edit(job);
    });
    let participants = flame.participants(&job);
    (job, participants)
}

fn data() -> std::path::PathBuf {
    root().join("examples/mnist-wasm/data/train")
}

/// What a participant types before it joins.
fn check(flame: &Flame, agent: &str, args: &str) -> (i32, Value) {
    let data = data().display().to_string();
    let line = format!(
        "FLAME_AGENT_ID={agent} FLAME_AGENT_KEY=key flamelet check -a {} -n {} --data mnist={data} {args} --json",
        flame.api, flame.notifier
    );
    let done = flame.types(&line);
    (done.code, serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}")))
}

#[test]
fn under_a_policy_updates_leave_clipped_and_the_log_tells_both_norms() {
    let flame = FlameBuilder::control().start();
    let (job, participants) = job(&flame, |_| {});
    let policy =
        policy(&flame, &format!("data = [\"mnist\"]\n[egress]\nclip = {CLIP}\nper-round = {{ body = \"1 kB\" }}\n"));
    flame.does(&format!("flamectl start job {job}"));

    let (code, told) = check(&flame, &participants[0], &format!("--policy {policy}"));
    assert_eq!((code, &told["runs"]), (0, &Value::Bool(true)), "{told}");
    assert_eq!(told["grant"]["egress"]["clip"], CLIP);
    assert_eq!(told["grant"]["data"][0]["name"], "mnist");
    let waiting = flame.tasks(&job).into_iter().find(|task| task.agent == participants[0]).unwrap();
    assert_eq!(waiting.state, "ready", "a check runs nothing");

    let mut agents: Vec<_> = participants
        .iter()
        .map(|agent| flame.participant_with(agent, "key", &data(), &["--policy", &policy]))
        .collect();
    assert_eq!(flame.ends(&job), "completed");
    for agent in &mut agents {
        assert_eq!(agent.0.wait().code(), Some(0), "{}", agent.0.output());
    }

    let verified = flame.does("flamelet audit verify");
    assert!(verified.contains("each follows from those before it"), "{verified}");
    for agent in &participants {
        let log = flame.does(&format!("flamelet audit show --task {agent} --json"));
        let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |event: &str| entries.iter().filter(|entry| entry["event"] == event).collect::<Vec<_>>();
        assert_eq!((of("started").len(), of("ended").len()), (1, 1), "{log}");
        assert_eq!(of("started")[0]["grant"]["egress"]["clip"], CLIP);
        assert_eq!(of("ended")[0]["outcome"], "completed");
        let updates: Vec<(f64, f64)> = of("left")
            .iter()
            .filter_map(|entry| Some((entry["norm"].as_f64()?, entry["normSent"].as_f64()?)))
            .collect();
        assert_eq!(updates.len(), 2, "one update a round: {log}");
        for (made, sent) in updates {
            assert!(made > 2.0 * CLIP && sent <= CLIP * (1.0 + 1e-6), "made {made}, sent {sent}");
        }
    }
    // For people, too; and whoever changes a line is found out.
    let shown = flame.does(&format!("flamelet audit show --task {}", participants[0]));
    assert!(shown.contains("sent as") && shown.contains("ended     completed"), "{shown}");
    let file = flame.home().join("audit.log");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"normSent\":0.0", "\"normSent\":0.1", 1)).unwrap();
    let refused = flame.types("flamelet audit verify");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("was changed"), "{}", refused.stderr);
}

#[test]
fn a_job_that_asks_for_more_than_the_policy_is_refused_with_the_difference_at_both_ends() {
    let flame = FlameBuilder::control().start();
    let (job, participants) = job(&flame, |job| {
        job["resources"] = serde_json::json!({"trainer": {"memory": "512 MiB", "egress": "20 MB", "cpu": 3600}});
    });
    let policy = policy(
        &flame,
        "[limits]\nmemory = \"64 MiB\"\ncpu.task = \"2h\"\n[egress]\nchannels = [\"other\"]\nper-round = { weights = \"10 MB\" }\n",
    );
    flame.does(&format!("flamectl start job {job}"));
    let differences = [
        "limits.memory: it asks for 512 MiB, granted are 64 MiB",
        "egress.per-round.weights: it asks for",
        "egress.channels: it needs the channel `param-channel`",
    ];

    let (code, told) = check(&flame, &participants[0], &format!("--policy {policy}"));
    let refusals = told["refusals"].to_string();
    assert_eq!((code, &told["runs"]), (1, &Value::Bool(false)), "{told}");
    assert!(differences.iter().all(|part| refusals.contains(part)), "{refusals}");
    assert!(!refusals.contains("limits.cpu"), "{refusals}");

    let mut agent = flame.participant_with(&participants[0], "key", &data(), &["--policy", &policy]);
    assert_eq!(agent.0.wait().code(), Some(1));
    let said = agent.0.output();
    let reason = flame.tasks(&job).into_iter().find(|task| task.agent == participants[0]).unwrap().reason;
    for part in differences {
        assert!(reason.contains(part) && said.contains(part), "{part}: {reason}\n{said}");
    }
    let shown = flame.does("flamelet audit show");
    assert!(shown.contains("refused") && shown.contains("limits.memory"), "{shown}");
}

#[test]
fn a_policy_that_is_not_understood_starts_nothing() {
    let flame = FlameBuilder::control().start();
    let path = policy(&flame, "[egress]\nclipp = 1.0\n");
    let refused = flame.types(&format!(
        "FLAME_AGENT_ID={} FLAME_AGENT_KEY=key flamelet -a {} -n {} --policy {path}",
        "1".repeat(40),
        flame.api,
        flame.notifier
    ));
    assert_eq!(refused.code, 1);
    for part in ["policy.toml", "line 2", "clipp", "clip"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(flame.types(&format!("flamelet policy verify {path}")).code, 1);
    policy(&flame, "[egress]\nclip = 1.0\n");
    assert_eq!(flame.types(&format!("flamelet policy verify {path}")).code, 0);
}
