//! Other tasks for a job that there is, and the end of a job: everything that it made goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flame_api::{AgentId, Job, JobId, JobState, JobStep, Problem, Timestamp};

use super::jobs::{Made, expanded};
use super::lifecycle::{Course, STOP_GRACE};
use super::mail::Mail;
use super::{Controller, write_events};
use crate::failure::{internal, store as store_failed};
use crate::store::records::{AgentRecord, DesignName, TaskRecord, prefix, task_key};
use crate::store::{Batch, Tree, get_record};

/// How long a job that has ended is waited for until its last tasks have.
const TIDY_WITHIN: Duration = STOP_GRACE.saturating_add(Duration::from_secs(5));
/// Trees that have what a job's runs left, by job.
const LEFT: [Tree; 2] = [Tree::Metrics, Tree::Logs];

impl Controller {
    /// Puts another job file in the place of a job's, if `check` lets the job that there is be changed. Its tasks are made
    /// anew and it is `ready`; what earlier runs logged and measured is gone, and what they published stays until it is
    /// replaced.
    pub(crate) async fn update_job(
        self: &Arc<Self>,
        job: JobId,
        file: String,
        text: String,
        check: impl FnOnce(&Job) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Job, Problem> {
        let id = job.clone();
        let asked = self.run(move |this| this.ask(this.job_owner(&id)?, &file, &text)).await?;
        self.until_tidy(&job).await?;
        self.run(move |this| {
            let now = Timestamp::now();
            let made = asked.make(&job, now)?;
            let _lock = this.lock_creations();
            this.still_there(&made.record)?;
            this.renew(&job, made, now, check)
        })
        .await
    }

    fn renew(
        &self,
        job: &JobId,
        made: Made,
        now: Timestamp,
        check: impl FnOnce(&Job) -> Result<(), Problem>,
    ) -> Result<Job, Problem> {
        let Made { mut record, plan, mut tasks } = made;
        let cell = self.cell(job)?;
        let mut state = cell.lock();
        self.load(job, &mut state.course)?;
        let course = state.course.as_ref().ok_or_else(|| super::unknown_job(job))?;
        check(&course.job.job)?;
        course.check_renewable()?;
        record.job.created_at = course.job.job.created_at;
        record.job.state = course.job.state().step(JobStep::Renew).map_err(|error| internal(&error))?;
        record.events = course.job.events;
        let mut batch = Batch::new();
        self.carry_over(course, &mut tasks, &mut batch)?;
        self.forget_runs(job, course, &mut batch)?;
        Mail::renew(&*self.store, course, &tasks, &mut batch)?;
        for task in &tasks {
            batch.put_record(Tree::Tasks, &task_key(job, task.position), task).map_err(store_failed)?;
        }
        batch.put_record(Tree::Plans, job.as_str(), &plan).map_err(store_failed)?;
        write_events(&mut batch, &mut record, vec![expanded(&tasks, now)])?;
        batch.put_record(Tree::Jobs, job.as_str(), &record).map_err(store_failed)?;
        self.store.commit(batch).map_err(store_failed)?;
        tracing::info!(%job, tasks = tasks.len(), "a job was updated");
        let gone: Vec<AgentId> = course.tasks.iter().map(|task| task.agent.clone()).collect();
        let answer = record.job.clone();
        (state.telemetry, state.mail) = (None, None);
        state.course = Some(Course::new(record, tasks));
        drop(state);
        cell.changed.send_modify(|count| *count += 1);
        self.sessions.dismiss(&gone);
        Ok(answer)
    }

    /// What the new tasks keep of the old ones that have their names: the participant's key, and the count of attempts,
    /// so that a flamelet of before is fenced. The records of agents that are not needed any more are deleted.
    fn carry_over(&self, course: &Course, tasks: &mut [TaskRecord], batch: &mut Batch) -> Result<(), Problem> {
        let mut old: BTreeMap<&AgentId, &TaskRecord> = course.tasks.iter().map(|task| (&task.agent, task)).collect();
        for task in tasks {
            let mut agent = AgentRecord::new(&task.job, task.position, task.kind);
            if let Some(before) = old.remove(&task.agent) {
                // One more than anybody was granted: what is granted from here on is higher still.
                task.attempt = if before.attempt == 0 { 0 } else { before.attempt.saturating_add(1) };
                let known = get_record::<AgentRecord>(&*self.store, Tree::Agents, task.agent.as_str());
                if let Some(known) = known.map_err(store_failed)?.filter(|known| known.kind == task.kind) {
                    agent = AgentRecord { position: task.position, ..known };
                }
            }
            batch.put_record(Tree::Agents, task.agent.as_str(), &agent).map_err(store_failed)?;
        }
        for agent in old.keys() {
            batch.delete(Tree::Agents, agent.as_str());
        }
        for task in &course.tasks {
            batch.delete(Tree::Tasks, task_key(&task.job, task.position));
        }
        Ok(())
    }

    /// Deletes what a job's runs left, but for what they published.
    fn forget_runs(&self, job: &JobId, course: &Course, batch: &mut Batch) -> Result<(), Problem> {
        for tree in LEFT {
            for (key, _) in self.store.scan(tree, prefix(job).as_bytes()).map_err(store_failed)? {
                batch.delete(tree, key);
            }
        }
        batch.delete(Tree::Reports, job.as_str());
        for task in &course.tasks {
            batch.delete(Tree::Reports, task.agent.as_str());
        }
        Ok(())
    }

    /// Deletes a job with everything that it made, if `check` lets the job that there is be deleted.
    pub(crate) async fn delete_job(
        self: &Arc<Self>,
        job: JobId,
        check: impl FnOnce(&Job) -> Result<(), Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        self.until_tidy(&job).await?;
        self.run(move |this| {
            let _lock = this.lock_creations();
            this.delete_now(&job, check)
        })
        .await
    }

    fn delete_now(&self, job: &JobId, check: impl FnOnce(&Job) -> Result<(), Problem>) -> Result<(), Problem> {
        let cell = self.cell(job)?;
        let mut state = cell.lock();
        self.load(job, &mut state.course)?;
        let course = state.course.as_ref().ok_or_else(|| super::unknown_job(job))?;
        check(&course.job.job)?;
        course.check_deletable()?;
        let plan = self.plan(job)?;
        let mut batch = Batch::new();
        self.forget_runs(job, course, &mut batch)?;
        for tree in [Tree::Models, Tree::Events, Tree::Mailboxes] {
            for (key, _) in self.store.scan(tree, prefix(job).as_bytes()).map_err(store_failed)? {
                batch.delete(tree, key);
            }
        }
        for task in &course.tasks {
            batch.delete(Tree::Agents, task.agent.as_str());
            batch.delete(Tree::Tasks, task_key(job, task.position));
        }
        batch.delete(Tree::Plans, job.as_str());
        batch.delete(Tree::Jobs, job.as_str());
        self.store.commit(batch).map_err(store_failed)?;
        tracing::info!(%job, "a job was deleted");
        let gone: Vec<AgentId> = course.tasks.iter().map(|task| task.agent.clone()).collect();
        let design = DesignName::new(course.job.job.owner.clone(), course.job.job.design.clone());
        let version = course.job.job.code_version;
        (state.course, state.telemetry, state.mail) = (None, None, None);
        self.cells.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(job);
        drop(state);
        cell.changed.send_modify(|count| *count += 1);
        self.sessions.dismiss(&gone);
        // From here on nothing names them: a failure leaves files over, and no record without its file.
        self.artifacts.remove_models(job).map_err(|error| internal(&error))?;
        if self.code(&design, Some(version)).is_err() {
            let code: BTreeSet<String> = plan.components.into_values().map(|code| code.sha256).collect();
            self.sweep_code(&code)?;
        }
        Ok(())
    }

    /// Waits until the last tasks of a job that has ended have, too: they are being told.
    async fn until_tidy(self: &Arc<Self>, job: &JobId) -> Result<(), Problem> {
        let id = job.clone();
        let mut changed = self.run(move |this| this.subscribe(&id)).await?;
        let tidy = async {
            loop {
                changed.mark_unchanged();
                let id = job.clone();
                let record = self.run(move |this| this.job_record(&id)).await?;
                if record.state().is_active() || record.state() == JobState::Ready || record.settled {
                    return Ok(());
                }
                if changed.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        // What is not tidy by then is refused by its state.
        tokio::time::timeout(TIDY_WITHIN, tidy).await.unwrap_or(Ok(()))
    }
}
