//! Flame's topologies, and the walk-through's, as files: `tests/data/NAME` has a schema, a job with what it names, and the
//! tasks that come of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::fs;
use std::path::{Path, PathBuf};

use flame_tag::dry_run;
use serde_json::Value;

fn folders() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut folders: Vec<PathBuf> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_topology_expands_to_its_tasks() {
    let folders = folders();
    assert!(folders.len() >= 11, "{folders:?}");
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let schema =
            ["schema.json", "schema.yaml"].map(|file| folder.join(file)).into_iter().find(|f| f.exists()).unwrap();
        let (schema, job) = (fs::read_to_string(schema).unwrap(), fs::read_to_string(folder.join("job.json")).unwrap());
        let loader = |path: &str| fs::read_to_string(folder.join(path)).map_err(|error| error.to_string());
        let expansion = dry_run((&schema, "schema"), (&job, "job.json"), &loader, None, None)
            .unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let wanted: Value = serde_json::from_str(&fs::read_to_string(folder.join("tasks.json")).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(expansion.outline()).unwrap(), wanted, "{name}");
    }
}
