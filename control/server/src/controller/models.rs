//! Models that jobs published: the records; the bytes are in [`crate::artifacts`].

use flame_api::{AgentId, Code, JobId, MODEL, ModelArtifact, Page, Problem, Timestamp};

use super::reports::fence;
use super::{Controller, Paging, unknown_job};
use crate::failure::{not_found, store as store_failed};
use crate::store::records::{model_key, prefix};
use crate::store::{Tree, get_record, put_record, scan_records};

/// Longest name of a model.
const MAX_NAME: usize = 64;

/// Whether a text may name a model: it becomes part of a URL and a key.
pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.') {
        return Ok(());
    }
    let name: String = name.chars().take(MAX_NAME).collect();
    let message = format!("`{name}` cannot name a model");
    Err(Problem::new(Code::InvalidRequest, message)
        .hint("use 1 to 64 letters, digits, dots, underscores and hyphens, not beginning with a dot"))
}

impl Controller {
    /// Whether the agent may publish under the attempt; the job that it publishes for. Blocks.
    pub(crate) fn may_publish(&self, agent: &AgentId, attempt: u32) -> Result<JobId, Problem> {
        let record = self.agent(agent)?;
        self.look(&record.job, |course| {
            let task = course.task(record.position).ok_or_else(|| unknown_job(&record.job))?;
            fence(task, attempt)?;
            if task.state.is_final() {
                let message = format!("task {} is {} and publishes nothing any more", task.agent, task.state);
                return Err(Problem::new(Code::WrongState, message));
            }
            Ok(())
        })?;
        Ok(record.job)
    }

    /// Records a model whose bytes are on disk. The digest of the one that it replaced, if nothing else has it. Blocks.
    pub(crate) fn publish(
        &self,
        agent: &AgentId,
        attempt: u32,
        name: &str,
        sha256: &str,
        size: u64,
    ) -> Result<Option<String>, Problem> {
        let job = self.may_publish(agent, attempt)?;
        // Under the job's lock: two tasks may publish at once, and one's file must not be taken for the other's old one.
        let cell = self.cell(&job)?;
        let lock = cell.lock();
        let old: Option<ModelArtifact> =
            get_record(&*self.store, Tree::Models, &model_key(&job, name)).map_err(store_failed)?;
        let artifact = ModelArtifact {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            size,
            agent: agent.clone(),
            timestamp: Timestamp::now(),
        };
        put_record(&*self.store, Tree::Models, &model_key(&job, name), &artifact).map_err(store_failed)?;
        let kept: Vec<ModelArtifact> = scan_records(&*self.store, Tree::Models, &prefix(&job)).map_err(store_failed)?;
        drop(lock);
        cell.changed.send_modify(|count| *count += 1);
        Ok(old.map(|old| old.sha256).filter(|sha256| kept.iter().all(|model| model.sha256 != *sha256)))
    }

    /// A page of a job's models, by name. Blocks.
    pub(crate) fn models(&self, job: &JobId, paging: &Paging) -> Result<Page<ModelArtifact>, Problem> {
        self.job(job)?;
        self.page(Tree::Models, &prefix(job), paging, Some)
    }

    /// One of a job's models. Blocks.
    pub(crate) fn model(&self, job: &JobId, name: &str) -> Result<ModelArtifact, Problem> {
        check_name(name)?;
        let job_now = self.job(job)?;
        let model = get_record(&*self.store, Tree::Models, &model_key(job, name)).map_err(store_failed)?;
        model.ok_or_else(|| {
            let hint = if name == MODEL && !job_now.state.is_final() {
                format!("the job is {}; its model appears when a task publishes it", job_now.state)
            } else {
                format!("`flamectl get models {job}` lists what it has published")
            };
            not_found(format!("job {job} has no model `{name}`"), hint)
        })
    }
}
