//! The grant: what an agent needs to run its task, under an attempt of its own.

use std::collections::BTreeSet;

use flame_api::{
    AgentId, Backend, ChannelGrant, CodeRef, JobId, Problem, RosterEntry, SecretKey, TaskGrant, Timestamp,
};

use super::lifecycle::Course;
use super::{Controller, unknown_job};
use crate::crypto;
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
            self.describe(course, &plan, &record)
        })
    }

    /// What the grant would be, without the keys and the login that only a running task needs. Changes nothing. Blocks.
    pub(crate) fn offer(&self, agent: &AgentId) -> Result<TaskGrant, Problem> {
        let record = self.agent(agent)?;
        let plan = self.plan(&record.job)?;
        let mut offer = self.look(&record.job, |course| self.describe(course, &plan, &record))?;
        for channel in &mut offer.channels {
            channel.key = SecretKey::new([0; 32]);
            channel.broker.password = None;
            for entry in &mut channel.roster {
                entry.key = SecretKey::new([0; 32]);
            }
        }
        Ok(offer)
    }

    fn describe(&self, course: &Course, plan: &PlanRecord, agent: &AgentRecord) -> Result<TaskGrant, Problem> {
        let task = course.task(agent.position).ok_or_else(|| unknown_job(&agent.job))?;
        let mut channels = Vec::with_capacity(task.channels.len());
        for channel in &task.channels {
            channels.push(self.channel(course, plan, &task.agent, channel)?);
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
            code: component(plan, task)?,
            optimizer: plan.optimizer.clone(),
            selector: plan.selector.clone(),
            evaluation_data: plan.evaluation_data.clone(),
            resources: plan.resources.get(&task.role).cloned().unwrap_or_default(),
            deterministic: plan.deterministic,
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
                let self_loop = members(course, channel).all(|other| other.role == task.role);
                let talks = |other: &&TaskRecord| other.agent != task.agent && (self_loop || other.role != task.role);
                peers.extend(members(course, channel).filter(talks).map(|other| other.agent.clone()));
            }
            Ok(peers.into_iter().collect())
        })
    }

    pub(super) fn plan(&self, job: &JobId) -> Result<PlanRecord, Problem> {
        let plan = get_record(&*self.store, Tree::Plans, job.as_str()).map_err(store_failed)?;
        plan.ok_or_else(|| unknown_job(job))
    }

    fn channel(
        &self,
        course: &Course,
        plan: &PlanRecord,
        me: &AgentId,
        channel: &TaskChannel,
    ) -> Result<ChannelGrant, Problem> {
        let secret = plan.keys.get(&channel_key(&channel.name, &channel.group));
        let secret =
            secret.ok_or_else(|| internal(&format!("no key for channel {} {}", channel.name, channel.group)))?;
        Ok(ChannelGrant {
            name: channel.name.clone(),
            group: channel.group.clone(),
            backend: channel.backend,
            func_tags: channel.func_tags.clone(),
            roster: roster(course, channel, me, secret),
            key: crypto::group_key(secret),
            broker: self.around.broker.clone(),
            encoding: plan.encoding.clone(),
            min_participants: plan.min_participants,
            join_timeout: plan.join_timeout,
        })
    }
}

/// Everybody expected in the channel's group, in expansion order: that is by role, then index.
fn roster(course: &Course, channel: &TaskChannel, me: &AgentId, secret: &SecretKey) -> Vec<RosterEntry> {
    let entry = |task: &TaskRecord| RosterEntry {
        end: task.agent.clone(),
        role: task.role.clone(),
        index: task.index,
        key: crypto::pair_key(secret, me, &task.agent),
    };
    members(course, channel).map(entry).collect()
}

/// The tasks of the channel's group, in expansion order.
fn members<'a>(course: &'a Course, channel: &'a TaskChannel) -> impl Iterator<Item = &'a TaskRecord> {
    let here = |other: &TaskChannel| other.name == channel.name && other.group == channel.group;
    course.tasks.iter().filter(move |task| task.channels.iter().any(here))
}

fn component(plan: &PlanRecord, task: &TaskRecord) -> Result<CodeRef, Problem> {
    plan.components
        .get(&task.role)
        .cloned()
        .ok_or_else(|| not_found(format!("the job's code has no component for role `{}`", task.role), ""))
}
