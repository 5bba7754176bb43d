//! Names and seeds that follow from what a task is, so that they are the same in every expansion and every run.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::expand::TaskPlan;

/// The id of a task and of the agent that serves it: 40 lower-case hex digits over job, role, index and association.
pub fn task_id(job_id: &str, plan: &TaskPlan) -> String {
    let mut hash = Hash::new("flame task id v1");
    hash.text(job_id);
    hash.text(&plan.role);
    hash.number(u64::from(plan.index));
    hash.map(&plan.group_association);
    let mut id = hex::encode(hash.0.finalize());
    id.truncate(40);
    id
}

/// A worker's seed: a hash of the job's seed, role, groups and index. `index` is the position among the tasks of the role
/// that have the same groups ([`TaskPlan::group_index`]).
pub fn worker_seed(job_seed: u64, role: &str, group: &BTreeMap<String, String>, index: u32) -> u64 {
    let mut hash = Hash::new("flame worker seed v1");
    hash.number(job_seed);
    hash.text(role);
    hash.map(group);
    hash.number(u64::from(index));
    hash.0.finalize().iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

impl TaskPlan {
    /// The worker's seed in a job with this seed.
    pub fn seed(&self, job_seed: u64) -> u64 {
        worker_seed(job_seed, &self.role, &self.group_association, self.group_index)
    }
}

/// SHA-256 over parts that cannot run into each other: each text is preceded by its length.
struct Hash(Sha256);

impl Hash {
    fn new(purpose: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.text(purpose);
        hash
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn map(&mut self, map: &BTreeMap<String, String>) {
        self.number(map.len() as u64);
        for (key, value) in map {
            self.text(key);
            self.text(value);
        }
    }
}
