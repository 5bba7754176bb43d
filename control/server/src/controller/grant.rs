//! The grant: what an agent needs to run its task, under an attempt of its own.

use std::collections::BTreeSet;

use flame_api::{AgentId, Backend, ChannelGrant, CodeRef, JobId, Problem, RosterEntry, TaskGrant, Timestamp};

use super::lifecycle::Course;
use super::{Controller, unknown_job};
use crate::failure::{internal, not_found, store as store_failed};
use crate::store::records::{AgentRecord, PlanRecord, TaskChannel, TaskRecord, channel_key};
use crate::store::{Tree, get_record};

impl Controller {
    /// Raises the task's attempt, durably, and says what the task is. Blocks.
    pub(crate) fn grant(&self, agent: &AgentId) -> Result<TaskGrant, Problem> {
        let record = self.agent(agent)?;
        let plan = self.plan(&record.job)?;
        self.change(&record.job, |course| {
            course.grant(record.position, Timestamp::now())?;
            let task = course.task(record.position).ok_or_else(|| unknown_job(&record.job))?;
            let mut channels = Vec::with_capacity(task.channels.len());
            for channel in &task.channels {
                channels.push(self.channel(course, &plan, channel)?);
            }
            Ok(TaskGrant {
                job: course.job.job.id.clone(),
                job_name: course.job.job.name.clone(),
                task: task.agent.clone(),
                role: task.role.clone(),
                index: task.index,
                kind: task.kind,
                attempt: task.attempt,
                seed: task.seed,
                hyperparameters: plan.hyperparameters.clone(),
                channels,
                code: component(&plan, task)?,
                optimizer: plan.optimizer.clone(),
                evaluation_data: plan.evaluation_data.clone(),
                resources: plan.resources.get(&task.role).cloned().unwrap_or_default(),
            })
        })
    }

    /// The component of an agent's task. Blocks.
    pub(crate) fn code_of(&self, agent: &AgentRecord) -> Result<CodeRef, Problem> {
        let plan = self.plan(&agent.job)?;
        self.look(&agent.job, |course| {
            let task = course.task(agent.position).ok_or_else(|| unknown_job(&agent.job))?;
            component(&plan, task)
        })
    }

    /// The ends that an agent's task talks to over peer-to-peer channels: of the other role, and all where there is but
    /// one. Blocks.
    pub(crate) fn peers(&self, agent: &AgentRecord) -> Result<Vec<AgentId>, Problem> {
        self.look(&agent.job, |course| {
            let task = course.task(agent.position).ok_or_else(|| unknown_job(&agent.job))?;
            let mut peers = BTreeSet::new();
            for channel in task.channels.iter().filter(|channel| channel.backend == Backend::P2p) {
                let roster = roster(course, channel);
                let self_loop = roster.iter().all(|entry| entry.role == task.role);
                let talks = |entry: &RosterEntry| entry.end != task.agent && (self_loop || entry.role != task.role);
                peers.extend(roster.into_iter().filter(talks).map(|entry| entry.end));
            }
            Ok(peers.into_iter().collect())
        })
    }

    fn plan(&self, job: &JobId) -> Result<PlanRecord, Problem> {
        let plan = get_record(&*self.store, Tree::Plans, job.as_str()).map_err(store_failed)?;
        plan.ok_or_else(|| unknown_job(job))
    }

    fn channel(&self, course: &Course, plan: &PlanRecord, channel: &TaskChannel) -> Result<ChannelGrant, Problem> {
        let key = plan.keys.get(&channel_key(&channel.name, &channel.group)).cloned();
        let key = key.ok_or_else(|| internal(&format!("no key for channel {} {}", channel.name, channel.group)))?;
        Ok(ChannelGrant {
            name: channel.name.clone(),
            group: channel.group.clone(),
            backend: channel.backend,
            func_tags: channel.func_tags.clone(),
            roster: roster(course, channel),
            key,
            broker: self.around.broker.clone(),
            min_participants: plan.min_participants,
            join_timeout: plan.join_timeout,
        })
    }
}

/// Everybody expected in the channel's group, in expansion order: that is by role, then index.
fn roster(course: &Course, channel: &TaskChannel) -> Vec<RosterEntry> {
    let members = course
        .tasks
        .iter()
        .filter(|task| task.channels.iter().any(|other| other.name == channel.name && other.group == channel.group));
    members.map(|task| RosterEntry { end: task.agent.clone(), role: task.role.clone(), index: task.index }).collect()
}

fn component(plan: &PlanRecord, task: &TaskRecord) -> Result<CodeRef, Problem> {
    plan.components
        .get(&task.role)
        .cloned()
        .ok_or_else(|| not_found(format!("the job's code has no component for role `{}`", task.role), ""))
}
