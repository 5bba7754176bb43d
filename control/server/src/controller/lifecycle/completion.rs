//! When a job has all that it needs, or cannot have it any more, and how what is left is ended.

use std::time::Duration;

use flame_api::{JobState, JobStep, Problem, TaskKind, TaskState, TaskStep, Timestamp};

use super::{Course, LEFTOVER_GRACE, STOP_GRACE, after};
use crate::store::records::{StopOrder, TaskRecord};

/// Completed tasks that a role needs unless the job says otherwise.
const MIN_COMPLETED: u32 = 1;

impl Course {
    /// Applies the rule of completion: called after every change of a task.
    pub(super) fn settle(&mut self, now: Timestamp) -> Result<(), Problem> {
        match self.job.job.state {
            JobState::Stopping if self.all_ended() => {
                let reason = self.job.job.reason.clone();
                self.step(JobStep::End, &reason, now)?;
                self.job.job.ended_at = Some(now);
            }
            JobState::Deploying | JobState::Running => {
                if let Some(reason) = self.out_of_reach() {
                    self.step(JobStep::Fail, &reason, now)?;
                    self.job.job.reason = reason;
                    self.job.job.ended_at = Some(now);
                    return self.order_all_to_stop("the job failed", STOP_GRACE, now);
                }
                if !self.has_minimum() {
                    return Ok(());
                }
                let system_left = self.tasks.iter().any(|task| task.kind == TaskKind::System && !task.state.is_final());
                if !system_left && !self.all_ended() {
                    self.order_leftovers_to_stop(now)?;
                }
                if self.all_ended() {
                    self.step(JobStep::Complete, "", now)?;
                    self.job.job.ended_at = Some(now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Tasks per role: completed, unfinished, needed. In expansion order.
    fn roles(&self) -> Vec<RoleTally<'_>> {
        let mut tallies: Vec<RoleTally<'_>> = Vec::new();
        for task in &self.tasks {
            if tallies.iter().all(|tally| tally.role != task.role) {
                let needed = self.job.min_completed.get(&task.role).copied().unwrap_or(MIN_COMPLETED);
                tallies.push(RoleTally { role: &task.role, completed: 0, unfinished: 0, needed, failed: None });
            }
            let Some(tally) = tallies.iter_mut().find(|tally| tally.role == task.role) else { continue };
            match task.state {
                TaskState::Completed => tally.completed += 1,
                TaskState::Failed => tally.failed = tally.failed.or(Some(task)),
                TaskState::Terminated => {}
                TaskState::Ready | TaskState::Running => tally.unfinished += 1,
            }
        }
        tallies
    }

    pub(super) fn has_minimum(&self) -> bool {
        self.roles().iter().all(|tally| tally.completed >= tally.needed)
    }

    /// Why the job cannot complete any more, if so.
    fn out_of_reach(&self) -> Option<String> {
        let roles = self.roles();
        let tally = roles.iter().find(|tally| tally.completed + tally.unfinished < tally.needed)?;
        let role = tally.role;
        Some(match tally.failed {
            Some(task) if tally.needed == MIN_COMPLETED => {
                format!("role `{role}`: task {} failed: {}", short(task), task.reason)
            }
            Some(task) => format!(
                "role `{role}` cannot reach {} completed tasks any more: task {} failed: {}",
                tally.needed,
                short(task),
                task.reason
            ),
            None => {
                format!("role `{role}` cannot reach {} completed tasks any more: the others were ended", tally.needed)
            }
        })
    }

    pub(super) fn order_all_to_stop(&mut self, reason: &str, grace: Duration, now: Timestamp) -> Result<(), Problem> {
        (0..).take(self.tasks.len()).try_for_each(|position| self.order_to_stop(position, reason, reason, grace, now))
    }

    fn order_leftovers_to_stop(&mut self, now: Timestamp) -> Result<(), Problem> {
        let reason = "the job has all that it needs";
        (0..)
            .take(self.tasks.len())
            .try_for_each(|position| self.order_to_stop(position, "never joined", reason, LEFTOVER_GRACE, now))
    }

    /// A task that nobody runs ends at once; one that runs gets an order, unless it has one already.
    fn order_to_stop(
        &mut self,
        position: u32,
        if_ready: &str,
        if_running: &str,
        grace: Duration,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let task = self.task_mut(position)?;
        match task.state {
            TaskState::Ready => self.turn(position, TaskStep::End, if_ready, now),
            TaskState::Running => {
                let until = after(now, grace);
                if task.stop.as_ref().is_none_or(|stop| stop.until > until) {
                    let grace_seconds = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX);
                    task.changed = true;
                    task.stop = Some(StopOrder { reason: if_running.to_owned(), until, grace_seconds });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

struct RoleTally<'a> {
    role: &'a str,
    completed: u32,
    unfinished: u32,
    needed: u32,
    failed: Option<&'a TaskRecord>,
}

/// The first digits of an agent id, enough to find it in a list.
fn short(task: &TaskRecord) -> &str {
    task.agent.as_str().get(..8).unwrap_or_default()
}
