//! The rules of a job's life: pure, without store, clock or network.
//!
//! Every function takes the time and changes a [`Course`]; the caller makes the change durable before anything follows
//! from it. States change through `JobState::transition` and `TaskState::transition` alone.

use std::time::Duration;

use flame_api::{Code, IllegalTransition, JobState, Problem, TaskCounts, TaskKind, TaskState, Timestamp};

use crate::store::records::{JobRecord, StopOrder, TaskRecord};

/// Time that a stopped task has to end by itself.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
/// Time that a participant has to end once the job has all that it needs.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(30);
/// Completed tasks that a role needs unless the job says otherwise.
const MIN_COMPLETED: u32 = 1;

/// A job and all its tasks, in expansion order.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// The job.
    pub job: JobRecord,
    /// Its tasks.
    pub tasks: Vec<TaskRecord>,
}

/// What an agent says of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The guest runs.
    Running,
    /// The guest came to its end.
    Completed,
    /// The guest, agent or host failed.
    Failed(String),
    /// The guest was ended because it was told to.
    Terminated,
}

/// What became of what an agent said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It holds.
    Accepted,
    /// A newer attempt holds the task, or the task has ended otherwise: end the guest.
    Fenced,
}

/// What an agent is to do, derived from the durable state alone, so that it can be said again at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Wait.
    Nothing,
    /// Run the task.
    Start,
    /// End the task.
    Stop {
        /// Why, for people.
        reason: String,
        /// Seconds that it has.
        grace_seconds: u32,
    },
}

impl Course {
    /// A task by its position.
    pub fn task(&self, position: u32) -> Option<&TaskRecord> {
        self.tasks.get(usize::try_from(position).ok()?)
    }

    fn task_mut(&mut self, position: u32) -> Result<&mut TaskRecord, Problem> {
        let task = usize::try_from(position).ok().and_then(|position| self.tasks.get_mut(position));
        task.ok_or_else(|| Problem::new(Code::NotFound, "the job has no such task"))
    }

    /// How many tasks stand where.
    pub fn counts(&self) -> TaskCounts {
        let mut counts = TaskCounts::default();
        for task in &self.tasks {
            match task.state {
                TaskState::Ready => counts.ready += 1,
                TaskState::Running => counts.running += 1,
                TaskState::Completed => counts.completed += 1,
                TaskState::Failed => counts.failed += 1,
                TaskState::Terminated => counts.terminated += 1,
            }
        }
        counts
    }

    /// Whether every task has ended.
    pub fn all_ended(&self) -> bool {
        self.tasks.iter().all(|task| task.state.is_final())
    }

    /// A user starts the job.
    pub fn start(&mut self, now: Timestamp) -> Result<(), Problem> {
        let job = &self.job.job;
        if job.state != JobState::Ready {
            let id = &job.id;
            let hint = match job.state {
                state if state.is_final() => {
                    "a job runs once; create another one: `flamectl create job FILE`".to_owned()
                }
                _ => format!("it was started already; follow it by `flamectl watch job {id}`"),
            };
            return Err(wrong_state(format!("job {id} is {}, and only a ready job can be started", job.state), hint));
        }
        self.step(JobState::Starting)?;
        self.job.job.started_at = Some(now);
        self.job.run_until = self.job.max_run_time.map(|seconds| after(now, Duration::from_secs(seconds)));
        Ok(())
    }

    /// The start is durable: agents may be called and system tasks placed.
    pub fn deploy(&mut self) -> Result<(), Problem> {
        self.step(JobState::Deploying)
    }

    /// A user, or the clock, stops the job.
    pub fn stop(&mut self, reason: &str, now: Timestamp) -> Result<(), Problem> {
        let job = &self.job.job;
        if !job.state.is_active() || job.state == JobState::Stopping {
            let hint = match job.state {
                JobState::Ready => format!("it was never started; `flamectl start job {}` starts it", job.id),
                JobState::Stopping => format!("follow it by `flamectl watch job {}`", job.id),
                _ => String::new(),
            };
            let what = if job.state == JobState::Stopping { "already " } else { "" };
            let message = format!("job {} is {what}{}, and only a job under way can be stopped", job.id, job.state);
            return Err(wrong_state(message, hint));
        }
        self.step(JobState::Stopping)?;
        reason.clone_into(&mut self.job.job.reason);
        self.order_all_to_stop(reason, STOP_GRACE, now)?;
        self.settle(now)
    }

    /// An agent asks to run its task: raises the attempt.
    pub fn grant(&mut self, position: u32, now: Timestamp) -> Result<u32, Problem> {
        let (state, id) = (self.job.job.state, self.job.job.id.clone());
        let task = self.task_mut(position)?;
        if task.state.is_final() {
            return Err(wrong_state(format!("task {} is {} already", task.agent, task.state), ""));
        }
        if task.stop.is_some() || !matches!(state, JobState::Deploying | JobState::Running) {
            let hint =
                if state == JobState::Ready { format!("start it by `flamectl start job {id}`") } else { String::new() };
            return Err(wrong_state(format!("job {id} is {state}, so its tasks are not to run"), hint));
        }
        task.attempt = task.attempt.saturating_add(1);
        task.changed = true;
        if task.state == TaskState::Running {
            // A rejoin: seen by the time, because the state stays.
            task.timestamp = now;
        }
        Ok(task.attempt)
    }

    /// An agent says how its task stands.
    pub fn status(&mut self, position: u32, attempt: u32, said: &Said, now: Timestamp) -> Result<Heard, Problem> {
        let task = self.task_mut(position)?;
        if attempt == 0 || attempt != task.attempt {
            return Ok(Heard::Fenced);
        }
        if task.state.is_final() {
            // The last word said again is fine, and so is one that came after a stop ran out.
            return Ok(if *said == Said::Running { Heard::Fenced } else { Heard::Accepted });
        }
        if task.state == TaskState::Ready {
            turn(task, TaskState::Running, "", now)?;
        }
        match said {
            Said::Running => {}
            Said::Completed => turn(task, TaskState::Completed, "", now)?,
            Said::Failed(reason) => turn(task, TaskState::Failed, reason, now)?,
            Said::Terminated => {
                let reason = task.stop.as_ref().map_or_else(|| "ended by its agent".into(), |stop| stop.reason.clone());
                turn(task, TaskState::Terminated, &reason, now)?;
            }
        }
        if self.job.job.state == JobState::Deploying {
            self.step(JobState::Running)?;
        }
        self.settle(now)?;
        Ok(Heard::Accepted)
    }

    /// A task cannot be run, or what ran it is gone without a last word.
    pub fn lost(&mut self, position: u32, reason: &str, now: Timestamp) -> Result<(), Problem> {
        let task = self.task_mut(position)?;
        if task.state.is_final() {
            return Ok(());
        }
        match task.stop.clone() {
            Some(stop) => turn(task, TaskState::Terminated, &stop.reason, now)?,
            None => turn(task, TaskState::Failed, reason, now)?,
        }
        self.settle(now)
    }

    /// Time has passed: deadlines that are over take effect.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), Problem> {
        for task in &mut self.tasks {
            if !task.state.is_final()
                && let Some(stop) = task.stop.clone()
                && stop.until <= now
            {
                turn(task, TaskState::Terminated, &stop.reason, now)?;
            }
        }
        let over = self.job.run_until.is_some_and(|until| until <= now);
        if over && self.job.job.state.is_active() && self.job.job.state != JobState::Stopping {
            let seconds = self.job.max_run_time.unwrap_or_default();
            return self.stop(&format!("its maxRunTime of {seconds} s was over"), now);
        }
        self.settle(now)
    }

    /// When `tick` has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let unfinished = self.tasks.iter().filter(|task| !task.state.is_final());
        let stops = unfinished.filter_map(|task| task.stop.as_ref().map(|stop| stop.until));
        let counts = self.job.job.state.is_active() && self.job.job.state != JobState::Stopping;
        stops.chain(self.job.run_until.filter(|_| counts)).min()
    }

    /// What the agent of a task is to do now.
    pub fn wanted(&self, position: u32) -> Wanted {
        let Some(task) = self.task(position) else { return Wanted::Nothing };
        if task.state.is_final() {
            let reason = match task.state {
                TaskState::Completed => "the task is completed".to_owned(),
                _ if task.reason.is_empty() => format!("the task is {}", task.state),
                _ => task.reason.clone(),
            };
            return Wanted::Stop { reason, grace_seconds: 0 };
        }
        if let Some(stop) = &task.stop {
            return Wanted::Stop { reason: stop.reason.clone(), grace_seconds: stop.grace_seconds };
        }
        match self.job.job.state {
            JobState::Deploying | JobState::Running => Wanted::Start,
            _ => Wanted::Nothing,
        }
    }

    /// Applies the rule of completion: called after every change of a task.
    fn settle(&mut self, now: Timestamp) -> Result<(), Problem> {
        match self.job.job.state {
            JobState::Stopping if self.all_ended() => {
                self.step(JobState::Terminated)?;
                self.job.job.ended_at = Some(now);
            }
            JobState::Deploying | JobState::Running => {
                if let Some(reason) = self.out_of_reach() {
                    self.step(JobState::Failed)?;
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
                    self.step(JobState::Completed)?;
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

    fn has_minimum(&self) -> bool {
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

    fn order_all_to_stop(&mut self, reason: &str, grace: Duration, now: Timestamp) -> Result<(), Problem> {
        for task in &mut self.tasks {
            order_to_stop(task, reason, reason, grace, now)?;
        }
        Ok(())
    }

    fn order_leftovers_to_stop(&mut self, now: Timestamp) -> Result<(), Problem> {
        for task in &mut self.tasks {
            order_to_stop(task, "never joined", "the job has all that it needs", LEFTOVER_GRACE, now)?;
        }
        Ok(())
    }

    fn step(&mut self, to: JobState) -> Result<(), Problem> {
        self.job.job.state = self.job.job.state.transition(to).map_err(|error| illegal(&error))?;
        Ok(())
    }
}

struct RoleTally<'a> {
    role: &'a str,
    completed: u32,
    unfinished: u32,
    needed: u32,
    failed: Option<&'a TaskRecord>,
}

/// A task that nobody runs ends at once; one that runs gets an order, unless it has one already.
fn order_to_stop(
    task: &mut TaskRecord,
    if_ready: &str,
    if_running: &str,
    grace: Duration,
    now: Timestamp,
) -> Result<(), Problem> {
    match task.state {
        TaskState::Ready => turn(task, TaskState::Terminated, if_ready, now),
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

fn turn(task: &mut TaskRecord, to: TaskState, reason: &str, now: Timestamp) -> Result<(), Problem> {
    task.state = task.state.transition(to).map_err(|error| illegal(&error))?;
    task.timestamp = now;
    task.changed = true;
    reason.clone_into(&mut task.reason);
    Ok(())
}

/// The first digits of an agent id, enough to find it in a list.
fn short(task: &TaskRecord) -> &str {
    task.agent.as_str().get(..8).unwrap_or_default()
}

fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

fn wrong_state(message: String, hint: impl Into<String>) -> Problem {
    Problem::new(Code::WrongState, message).hint(hint)
}

fn illegal(error: &IllegalTransition) -> Problem {
    Problem::new(Code::WrongState, error.to_string())
}

#[cfg(test)]
mod tests;
