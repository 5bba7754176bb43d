//! A store with many jobs: one job's records under many ids.

use std::path::Path;

use flame_api::JobId;
use flame_control::store::{Batch, SledStore, Store, Tree};

/// Jobs that are written at a time.
const BATCH: usize = 500;

/// Adds copies of a job's records, so that there are `jobs` of it.
pub(super) fn multiply(store: &Path, job: &JobId, jobs: usize) {
    let store = SledStore::open(store).expect("the server has let go of it");
    let mut records = Vec::new();
    for tree in [Tree::Jobs, Tree::Plans, Tree::Tasks, Tree::Agents, Tree::Mailboxes] {
        for (key, value) in store.scan(tree, b"").expect("it reads") {
            let (key, value) = (String::from_utf8(key).expect("text"), String::from_utf8(value).expect("text"));
            if key.contains(job.as_str()) || value.contains(job.as_str()) {
                records.push((tree, key, value));
            }
        }
    }
    let agents: Vec<String> =
        records.iter().filter(|(tree, ..)| *tree == Tree::Agents).map(|(_, key, _)| key.clone()).collect();
    let mut batch = Batch::new();
    for n in 1..jobs {
        let other = format!("{n:08x}{}", &job.as_str()[8..]);
        let renamed = |text: &str| {
            let text = text.replace(job.as_str(), &other);
            agents.iter().fold(text, |text, agent| text.replace(agent, &format!("{n:08x}{}", &agent[8..])))
        };
        for (tree, key, value) in &records {
            batch.put(*tree, renamed(key), renamed(value).into_bytes());
        }
        if n % BATCH == 0 {
            store.commit_soon(std::mem::take(&mut batch)).expect("it writes");
        }
    }
    store.commit(batch).expect("it writes");
}
