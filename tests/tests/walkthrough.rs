//! The walk-through, typed as a user types it.

use flame_tests::{Flame, FlameBuilder, Mosquitto, root};

/// Steps 1 to 8. The id of the job.
fn walk(flame: &Flame) -> String {
    let said =
        flame.does(r#"flamectl create design mnist_non_orchestration -d "mnist example for non-orchestration mode""#);
    assert!(said.contains("mnist_non_orchestration"), "{said}");
    flame.does("flamectl create schema schema.json --design mnist_non_orchestration");
    flame.does("flamectl create code mnist.wasm --design mnist_non_orchestration");
    let said = flame.does("flamectl create job job.json");
    assert!(said.starts_with("New job created successfully\n\tID: ") && said.ends_with("\n\tstate: ready\n"), "{said}");
    let job = said.lines().nth(1).unwrap().trim().trim_start_matches("ID: ").to_owned();
    assert!(job.len() == 24 && job.bytes().all(|b| b.is_ascii_hexdigit()), "{job}");

    let jobs = flame.does("flamectl get jobs");
    columns(&jobs, &["JOB ID", "STATE", "CREATED AT", "STARTED AT", "ENDED AT"]);
    assert_eq!(cells(&jobs)[0][..2], [job.clone(), "ready".into()]);
    assert!(cells(&jobs)[0][3].starts_with("0001-01-01 00:00:00"), "{jobs}");

    let tasks = flame.does(&format!("flamectl get tasks {job}"));
    columns(&tasks, &["JOB ID", "AGENT ID", "TYPE", "STATE", "TIMESTAMP"]);
    let rows = cells(&tasks);
    let mut kinds: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["system", "user"]);
    assert!(rows.iter().all(|row| row[0] == job && row[1].len() == 40 && row[3] == "ready"), "{tasks}");

    // Step 6 comes before step 7: the participant waits for the start.
    let agent = &rows.iter().find(|row| row[2] == "user").unwrap()[1];
    let mut participant =
        flame.participant(agent, "any_key_chosen_by_user", &root().join("examples/mnist-wasm/data/train"));
    let started = flame.does(&format!("flamectl start job {job}"));
    assert!(started.to_lowercase().contains("start"), "{started}");
    assert_eq!(flame.ends(&job), "completed", "{:?}", flame.tasks(&job));
    assert!(participant.0.wait().success());

    let rows = cells(&flame.does(&format!("flamectl get tasks {job}")));
    assert!(rows.iter().all(|row| row[3] == "completed"), "{rows:?}");
    let jobs = flame.does("flamectl get jobs");
    let row = &cells(&jobs)[0];
    assert_eq!(row[1], "completed");
    assert!(row[2..5].iter().all(|time| time.starts_with("20") && time.ends_with("UTC")), "{jobs}");
    job
}

fn columns(table: &str, names: &[&str]) {
    let header = table.lines().nth(1).unwrap();
    let found: Vec<&str> = header.trim_matches('|').split('|').map(str::trim).collect();
    assert_eq!(found, names, "{table}");
    assert!(table.starts_with('+'), "{table}");
}

/// The rows of a table, without its header.
fn cells(table: &str) -> Vec<Vec<String>> {
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn the_walk_through_works_with_a_control_plane_and_child_processes() {
    let mut flame = FlameBuilder::control().start();
    let job = walk(&flame);
    assert!(flame.does(&format!("flamectl get logs {job}")).contains("aggregator"));
    flame.does(&format!("flamectl get model {job} -o model.safetensors"));
    assert!(flame.example().join("model.safetensors").metadata().unwrap().len() > 400_000);
    assert!(flame.stop().success());
}

#[test]
fn the_walk_through_works_in_a_box_with_a_broker_of_ones_own() {
    let Some(broker) = Mosquitto::start() else { return };
    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), format!("broker:\n  sort: mqtt\n  host: 127.0.0.1:{}\n", broker.port())).unwrap();
    let mut flame = FlameBuilder::fiab().args(["--values", values.path().to_str().unwrap()]).start();
    walk(&flame);
    assert!(flame.stop().success());
}
