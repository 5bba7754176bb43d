//! A participant that requires a signature runs what its signers signed, and nothing else: refused before anything is
//! compiled, with the reason at both ends.

use std::path::Path;

use flame_tests::{Flame, FlameBuilder, root};

/// A key as `flamectl keygen` makes it; the public half.
fn key(flame: &Flame, name: &str) -> String {
    flame.does(&format!("flamectl keygen -o {name}.key")).trim().to_owned()
}

/// The example, signed by a key, as a job that was started: the job and its participant.
fn signed_job(flame: &Flame, design: &str, key: Option<&str>) -> (String, String) {
    flame.does(&format!("flamectl create design {design}"));
    flame.does(&format!("flamectl create schema schema.json --design {design}"));
    let signature = key.map_or_else(String::new, |key| {
        flame.does(&format!("flamectl sign mnist.wasm --key {key}.key -o {key}.sig"));
        format!("--signature {key}.sig")
    });
    flame.does(&format!("flamectl create code mnist.wasm --design {design} {signature}"));
    let job = flame.create_job_of(design, |job| job["hyperparameters"]["rounds"] = 1.into());
    flame.does(&format!("flamectl start job {job}"));
    let agent = flame.participants(&job).remove(0);
    (job, agent)
}

/// Runs a participant to its end whose policy requires one of these signers; its exit status and what it said.
fn participant(flame: &Flame, agent: &str, cache: &Path, signers: &[&str]) -> (i32, String) {
    let policy = cache.with_extension("toml");
    std::fs::write(&policy, format!("signers = {signers:?}\n")).unwrap();
    let (policy, cache) = (policy.display().to_string(), cache.display().to_string());
    let args = ["--policy", &policy, "--cache-dir", &cache];
    let mut agent = flame.participant_with(agent, "key", &root().join("examples/mnist-wasm/data/train"), &args);
    let code = agent.0.wait().code();
    (code.unwrap_or(-1), agent.0.output())
}

/// Runs a participant that must refuse the code; the reason, which `flamectl get tasks` says as well. Nothing was compiled.
fn refusal(flame: &Flame, (job, agent): &(String, String), signers: &[&str]) -> String {
    let cache = tempfile::tempdir().unwrap();
    let (code, said) = participant(flame, agent, cache.path(), signers);
    assert_eq!(code, 1, "it was not refused: {said}");
    assert_eq!(files_below(cache.path()), 0, "something was compiled");
    let tasks = flame.tasks(job);
    let task = tasks.iter().find(|task| task.agent == *agent).unwrap();
    assert_eq!(task.state, "failed");
    let reason = task.reason.clone();
    assert!(said.contains(&reason), "{reason}: {said}");
    let shown = flame.does(&format!("flamectl get tasks {job}"));
    assert!(shown.contains(&reason), "{shown}");
    reason
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

/// The digest of the example's one component.
fn digest(flame: &Flame) -> String {
    let report = flame.does("flamectl inspect mnist.wasm -o json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    report["components"][0]["sha256"].as_str().unwrap().to_owned()
}

#[test]
fn code_signed_by_a_required_signer_runs() {
    let flame = FlameBuilder::control().start();
    let (hospital, other) = (key(&flame, "hospital"), key(&flame, "other"));
    let (job, agent) = signed_job(&flame, "signed", Some("hospital"));
    let shown = flame.does("flamectl get code signed -o wide");
    assert!(shown.contains(&hospital) && shown.contains(&digest(&flame)), "{shown}");
    let cache = tempfile::tempdir().unwrap();
    let (code, said) = participant(&flame, &agent, cache.path(), &[&other, &hospital]);
    assert_eq!(code, 0, "{said}");
    assert!(files_below(cache.path()) > 0, "the cache is where a compiled component would be");
    assert_eq!(flame.ends(&job), "completed");
}

#[test]
fn code_that_no_required_signer_signed_is_refused_before_it_is_compiled() {
    let flame = FlameBuilder::control().start();
    let (hospital, stranger) = (key(&flame, "hospital"), key(&flame, "stranger"));
    let digest = digest(&flame);
    let reason = refusal(&flame, &signed_job(&flame, "foreign", Some("stranger")), &[&hospital]);
    for part in [&digest, &format!("requires a signature by {hospital}"), &format!("it is signed by {stranger}")] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let reason = refusal(&flame, &signed_job(&flame, "bare", None), &[&hospital]);
    assert!(reason.contains(&digest) && reason.contains("nobody has signed it"), "{reason}");
}

#[test]
fn altered_code_and_altered_signatures_are_refused() {
    let flame = FlameBuilder::control().start();
    let hospital = key(&flame, "hospital");
    let digest = digest(&flame);
    let (job, agent) = signed_job(&flame, "swapped", Some("hospital"));

    // Somebody alters what the server keeps.
    let kept = flame.home().join("control/code").join(&digest);
    let mut bytes = std::fs::read(&kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&kept, &bytes).unwrap();
    // Whichever task fetches it first refuses it, and with it the job has failed.
    participant(&flame, &agent, tempfile::tempdir().unwrap().path(), &[&hospital]);
    assert_eq!(flame.ends(&job), "failed");
    let refused = |reason: &str| reason.contains(&format!("the grant names {digest}"));
    assert!(flame.tasks(&job).iter().any(|task| refused(&task.reason)), "{:?}", flame.tasks(&job));

    // An altered file with the signature of the original one, and an altered signature.
    std::fs::write(
        flame.example().join("altered.wasm"),
        [&std::fs::read(flame_tests::mnist()).unwrap()[..], &[0, 2, 1, b'x']].concat(),
    )
    .unwrap();
    let refused = flame.types("flamectl create code altered.wasm --design swapped --signature hospital.sig");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("is of other code") && refused.stderr.contains(&hospital), "{}", refused.stderr);
    let signature = std::fs::read_to_string(flame.example().join("hospital.sig")).unwrap();
    let at = signature.find("signature:").unwrap() + "signature:".len();
    let other = if signature[at..].starts_with('A') { "B" } else { "A" };
    let altered = format!("{}{other}{}", &signature[..at], &signature[at + 1..]);
    std::fs::write(flame.example().join("altered.sig"), altered).unwrap();
    let refused = flame.types("flamectl create code mnist.wasm --design swapped --signature altered.sig");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("does not hold"), "{}", refused.stderr);
}
