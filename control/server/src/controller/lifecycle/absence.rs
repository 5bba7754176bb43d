//! Agents that are away, and flamelets that are lost.

use std::time::Duration;

use flame_api::{JobEventKind, Problem, TaskKind, TaskState, TaskStep, Timestamp};

use super::{Course, Happened, after, no_such_task};
use crate::store::records::TaskRecord;

/// Time that a system task's flamelet may be without a session before it counts as lost. Longer than a restart of the
/// server takes, and than a session needs to be found dead.
const SYSTEM_AWAY: Duration = Duration::from_mins(1);
/// Pause before a lost flamelet's first successor; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause before a successor.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

impl Course {
    /// A task cannot be run, or what ran it is gone without a last word. A system task is started again as often as the
    /// job says; whatever ran it is fenced.
    pub fn lost(&mut self, position: u32, reason: &str, now: Timestamp) -> Result<(), Problem> {
        let most = self.job.max_restarts;
        let task = self.task_mut(position)?;
        if task.state.is_final() {
            return Ok(());
        }
        match task.stop.clone() {
            Some(stop) => self.turn(position, TaskStep::End, &stop.reason, now)?,
            None if task.kind == TaskKind::System && task.restarts < most => {
                task.restarts += 1;
                task.attempt = task.attempt.saturating_add(1);
                task.retry_at = Some(after(now, retry_pause(task.restarts)));
                let (agent, role, restarts) = (task.agent.clone(), task.role.clone(), task.restarts);
                self.turn(position, TaskStep::Restart, reason, now)?;
                let kind = JobEventKind::Restarted { agent, role, restarts };
                self.events.push(Happened { at: now, kind, reason: reason.to_owned() });
            }
            None => self.turn(position, TaskStep::Fail, reason, now)?,
        }
        self.settle(now)
    }

    /// The agent of a task has no session any more.
    pub fn away(&mut self, position: u32, now: Timestamp) -> Result<(), Problem> {
        let counts = self.may_be_away(self.task(position).ok_or_else(no_such_task)?).is_some();
        let task = self.task_mut(position)?;
        if counts && task.away_since.is_none() {
            (task.away_since, task.changed) = (Some(now), true);
        }
        Ok(())
    }

    /// The agent of a task has a session.
    pub fn back(&mut self, position: u32) -> Result<(), Problem> {
        let task = self.task_mut(position)?;
        if task.away_since.is_some() {
            (task.away_since, task.changed) = (None, true);
        }
        Ok(())
    }

    /// The server has just started: nobody has a session, and who does not come back counts as away from now.
    pub fn nobody_is_here(&mut self, now: Timestamp) -> Result<(), Problem> {
        for position in (0..).take(self.tasks.len()) {
            self.back(position)?;
            self.away(position, now)?;
        }
        Ok(())
    }

    /// How long the agent of a running task may be away before that counts as its end.
    pub(super) fn may_be_away(&self, task: &TaskRecord) -> Option<Duration> {
        match (task.state, task.kind) {
            (TaskState::Running, TaskKind::System) => Some(SYSTEM_AWAY),
            (TaskState::Running, TaskKind::User) => self.job.rejoin_timeout.map(Duration::from_secs),
            _ => None,
        }
    }

    /// When a task whose agent is away counts as lost.
    pub(super) fn lost_at(&self, task: &TaskRecord) -> Option<Timestamp> {
        Some(after(task.away_since?, self.may_be_away(task)?))
    }
}

/// How long to wait before a task is started for the `n`th time again.
fn retry_pause(n: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << n.saturating_sub(1).min(8));
    doubled.min(LONGEST_RETRY)
}
