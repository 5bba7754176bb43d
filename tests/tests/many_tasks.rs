//! One flamelet for several tasks, and the whole way over TLS.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use flame_tests::{Flame, FlameBuilder, mnist, process_output, root};

/// A job with three participants, and the file of one flamelet that is all of them.
fn job(flame: &Flame, design: &str) -> (String, String) {
    let job = flame.create_job(design, &mnist(), |job| {
        job["hyperparameters"]["rounds"] = 2.into();
        job["dataSpec"]["fromUser"]["default"] = 3.into();
    });
    let path = flame.home().join(format!("{design}.agents"));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    for (n, agent) in flame.participants(&job).iter().enumerate() {
        writeln!(file, "# participant {n}\n{agent} key {n}").unwrap();
    }
    (job, path.display().to_string())
}

fn data() -> String {
    format!("mnist={}", root().join("examples/mnist-wasm/data/train").display())
}

#[test]
fn one_flamelet_serves_all_tasks_of_its_file_and_ends_with_the_last() {
    let flame = FlameBuilder::control().start();
    let (id, agents) = job(&flame, "many");
    let mut all = flame.participant_without_data("", "", &["--agents", &agents, "--data", &data()]);
    flame.does(&format!("flamectl start job {id}"));
    assert_eq!(flame.ends(&id), "completed", "{:?}", flame.tasks(&id));
    assert_eq!(all.0.wait().code(), Some(0));
    let said = all.0.output();
    assert_eq!(said.lines().filter(|line| line.ends_with(" completed")).count(), 3, "{said}");
}

#[test]
fn a_stopped_job_ends_all_tasks_of_a_flamelet_with_status_2() {
    let flame = FlameBuilder::control().start();
    let (id, agents) = job(&flame, "stopped");
    let mut all = flame.participant_without_data("", "", &["--agents", &agents, "--data", &data()]);
    flame.until("they are there", |flame| {
        let text = flame.does(&format!("flamectl get tasks {id} -o json"));
        text.matches("\"connected\": true").count() + text.matches("\"connected\":true").count() >= 3
    });
    flame.does(&format!("flamectl start job {id}"));
    flame.does(&format!("flamectl stop job {id}"));
    assert_eq!(flame.ends(&id), "terminated");
    assert_eq!(all.0.wait().code(), Some(2), "{}", all.0.output());
}

#[test]
fn a_file_with_mistakes_names_their_lines() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("agents");
    std::fs::write(&file, "nobody\n").unwrap();
    let refused = process_output("flamelet", &["--agents", &file.display().to_string()], home.path());
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("line 1"), "{}", refused.stderr);
}

#[test]
fn a_job_runs_over_tls_with_a_certificate_that_the_server_made() {
    let flame = FlameBuilder::control().args(["--tls"]).start();
    assert!(flame.api.starts_with("https://"), "{}", flame.api);
    // flamectl knows the CA from the configuration that the server wrote.
    let (id, agents) = job(&flame, "secure");
    let ca = flame.home().join("control/tls/ca.pem").display().to_string();
    let mut all = flame.participant_without_data("", "", &["--ca", &ca, "--agents", &agents, "--data", &data()]);
    flame.does(&format!("flamectl start job {id}"));
    assert_eq!(flame.ends(&id), "completed", "{:?}", flame.tasks(&id));
    assert_eq!(all.0.wait().code(), Some(0));
}
