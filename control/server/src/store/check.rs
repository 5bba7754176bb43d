//! Reads everything in a store as what it should be, and says what is not right.

use std::collections::BTreeSet;

use flame_api::{AuditRecord, Dataset, JobEvent, LogRecord, MetricRecord, ModelArtifact};
use serde::de::DeserializeOwned;

use super::records::{
    AgentRecord, CodeRecord, ComputeRecord, DesignRecord, IDENTITY, Identity, JobRecord, Mailbox, PlanRecord,
    ReportCursor, SchemaRecord, TaskRecord, Telemetry, TokenRecord, task_key,
};
use super::{Store, StoreError, Tree, decode};
use crate::artifacts::Artifacts;

/// Length of a job id; what is longer in [`Tree::Reports`] is an agent's.
const JOB_ID: usize = 24;

/// Something that is not right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which tree.
    pub tree: &'static str,
    /// The key, escaped.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`: {}", self.tree, self.key, self.what)
    }
}

/// What one record says of others.
#[derive(Default)]
struct Seen {
    findings: Vec<Finding>,
    jobs: BTreeSet<String>,
    plans: BTreeSet<String>,
    /// Jobs that have tasks.
    busy: BTreeSet<String>,
    /// Keys of tasks.
    tasks: BTreeSet<String>,
    /// Keys of tasks that have an agent.
    served: BTreeSet<String>,
    models: Vec<(String, ModelArtifact)>,
    code: Vec<(String, String)>,
}

/// All findings, and how many records were read. With the folders of large bytes, whether what records name is there.
pub fn check(store: &dyn Store, artifacts: Option<&Artifacts>) -> Result<(u64, Vec<Finding>), StoreError> {
    let (mut seen, mut records) = (Seen::default(), 0);
    store.moment(&mut |tree, key, value| {
        records += 1;
        if let Err(error) = seen.read(tree, key, value) {
            seen.find(tree, &key.escape_ascii().to_string(), error.to_string());
        }
        Ok(())
    })?;
    seen.compare();
    if let Some(artifacts) = artifacts {
        seen.look_for_files(artifacts);
    }
    Ok((records, seen.findings))
}

impl Seen {
    fn find(&mut self, tree: Tree, key: &str, what: impl Into<String>) {
        self.findings.push(Finding { tree: tree.name(), key: key.to_owned(), what: what.into() });
    }

    fn read(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let name = std::str::from_utf8(key).map_err(|error| super::damaged(tree, key, &error))?;
        match tree {
            Tree::Server if name == IDENTITY => is::<Identity>(tree, key, value)?,
            Tree::Server | Tree::Once => is::<serde_json::Value>(tree, key, value)?,
            Tree::Designs => is::<DesignRecord>(tree, key, value)?,
            Tree::Schemas => is::<SchemaRecord>(tree, key, value)?,
            Tree::Code => {
                let code: CodeRecord = decode(tree, key, value)?;
                self.code.push((name.to_owned(), code.sha256));
                self.code.extend(code.components.into_values().map(|part| (name.to_owned(), part.sha256)));
            }
            Tree::Jobs => {
                is::<JobRecord>(tree, key, value)?;
                self.jobs.insert(name.to_owned());
            }
            Tree::Plans => {
                is::<PlanRecord>(tree, key, value)?;
                self.plans.insert(name.to_owned());
            }
            Tree::Tasks => {
                let task: TaskRecord = decode(tree, key, value)?;
                self.busy.insert(task.job.to_string());
                self.tasks.insert(name.to_owned());
                if name != task_key(&task.job, task.position) {
                    self.find(tree, name, "it says that its place is another one");
                }
            }
            Tree::Agents => {
                let agent: AgentRecord = decode(tree, key, value)?;
                self.served.insert(task_key(&agent.job, agent.position));
            }
            Tree::Models => self.models.push((name.to_owned(), decode(tree, key, value)?)),
            Tree::Metrics => is::<MetricRecord>(tree, key, value)?,
            Tree::Logs => is::<LogRecord>(tree, key, value)?,
            Tree::Reports if key.len() == JOB_ID => is::<Telemetry>(tree, key, value)?,
            Tree::Reports => is::<ReportCursor>(tree, key, value)?,
            Tree::Events => is::<JobEvent>(tree, key, value)?,
            Tree::Datasets => is::<Dataset>(tree, key, value)?,
            Tree::Computes => is::<ComputeRecord>(tree, key, value)?,
            Tree::Tokens => is::<TokenRecord>(tree, key, value)?,
            Tree::Audit => is::<AuditRecord>(tree, key, value)?,
            Tree::Mailboxes => is::<Mailbox>(tree, key, value)?,
        }
        Ok(())
    }

    /// What belongs together and is not there.
    fn compare(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            if !self.plans.contains(&job) {
                self.find(Tree::Plans, &job, "the job's plan is missing");
            }
            if !self.busy.contains(&job) {
                self.find(Tree::Tasks, &job, "the job has no tasks");
            }
        }
        let (tasks, served) = (std::mem::take(&mut self.tasks), std::mem::take(&mut self.served));
        for task in tasks.difference(&served) {
            self.find(Tree::Agents, task, "the task's agent is missing");
        }
        for task in served.difference(&tasks) {
            self.find(Tree::Tasks, task, "an agent is there for this task, and the task is missing");
        }
    }

    fn look_for_files(&mut self, artifacts: &Artifacts) {
        for (key, sha256) in std::mem::take(&mut self.code) {
            if !artifacts.code_path(&sha256).is_file() {
                self.find(Tree::Code, &key, format!("the file code/{sha256} is missing"));
            }
        }
        for (key, model) in std::mem::take(&mut self.models) {
            let job = key.split('/').next().and_then(|job| job.parse().ok());
            let size = job.and_then(|job| std::fs::metadata(artifacts.model_path(&job, &model.sha256)).ok());
            if size.is_none_or(|file| file.len() != model.size) {
                self.find(
                    Tree::Models,
                    &key,
                    format!("the file of {} bytes with digest {} is missing", model.size, model.sha256),
                );
            }
        }
    }
}

fn is<T: DeserializeOwned>(tree: Tree, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    decode::<T>(tree, key, value).map(drop)
}
