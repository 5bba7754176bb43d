//! The rules of a job's life: pure, without store, clock or network.
//!
//! Every function takes the time and changes a [`Course`]; the caller makes the change durable before anything follows
//! from it. States change through the tables `JOB_LIFE` and `TASK_LIFE` of `flame-api` alone.

mod absence;
mod completion;
mod renewal;

use std::time::Duration;

use flame_api::{
    Code, IllegalStep, JobEventKind, JobState, JobStep, Problem, TaskCounts, TaskState, TaskStep, Timestamp,
};

use crate::store::records::{JobRecord, TaskRecord};

/// Time that a stopped task has to end by itself.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
/// Time that a participant has to end once the job has all that it needs.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(30);

/// A job and all its tasks, in expansion order.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// The job.
    pub job: JobRecord,
    /// Its tasks.
    pub tasks: Vec<TaskRecord>,
    /// What happened and is not stored yet.
    pub events: Vec<Happened>,
}

/// Something that happened; it gets its number when it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What, and to whom.
    pub kind: JobEventKind,
    /// Why.
    pub reason: String,
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
    /// A job and its tasks as they are stored.
    pub fn new(job: JobRecord, tasks: Vec<TaskRecord>) -> Self {
        Self { job, tasks, events: Vec::new() }
    }

    /// A task by its position.
    pub fn task(&self, position: u32) -> Option<&TaskRecord> {
        self.tasks.get(usize::try_from(position).ok()?)
    }

    fn task_mut(&mut self, position: u32) -> Result<&mut TaskRecord, Problem> {
        let task = usize::try_from(position).ok().and_then(|position| self.tasks.get_mut(position));
        task.ok_or_else(no_such_task)
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
                    format!("run it again by `flamectl update job {id} FILE`, or create another one")
                }
                _ => format!("it was started already; follow it by `flamectl watch job {id}`"),
            };
            return Err(wrong_state(format!("job {id} is {}, and only a ready job can be started", job.state), hint));
        }
        self.step(JobStep::Start, "", now)?;
        self.job.job.started_at = Some(now);
        self.job.run_until = self.job.max_run_time.map(|seconds| after(now, Duration::from_secs(seconds)));
        Ok(())
    }

    /// The start is durable: agents may be called and system tasks placed.
    pub fn deploy(&mut self, now: Timestamp) -> Result<(), Problem> {
        self.step(JobStep::Deploy, "", now)
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
        self.step(JobStep::Stop, reason, now)?;
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
        task.away_since = None;
        let attempt = task.attempt;
        if task.state == TaskState::Running {
            task.state = task.state.step(TaskStep::Rejoin).map_err(|error| illegal(&error))?;
            task.timestamp = now;
            let kind = JobEventKind::Rejoined { agent: task.agent.clone(), role: task.role.clone(), attempt };
            self.events.push(Happened { at: now, kind, reason: String::new() });
        }
        Ok(attempt)
    }

    /// An agent says how its task stands.
    pub fn status(&mut self, position: u32, attempt: u32, said: &Said, now: Timestamp) -> Result<Heard, Problem> {
        let task = self.task(position).ok_or_else(no_such_task)?;
        if attempt == 0 || attempt != task.attempt {
            return Ok(Heard::Fenced);
        }
        if task.state.is_final() {
            // The last word said again is fine, and so is one that came after a stop ran out.
            return Ok(if *said == Said::Running { Heard::Fenced } else { Heard::Accepted });
        }
        let stop = task.stop.as_ref().map(|stop| stop.reason.clone());
        if task.state == TaskState::Ready {
            self.turn(position, TaskStep::Run, "", now)?;
        }
        match said {
            Said::Running => {}
            Said::Completed => self.turn(position, TaskStep::Complete, "", now)?,
            Said::Failed(reason) => self.turn(position, TaskStep::Fail, reason, now)?,
            Said::Terminated => {
                let reason = stop.unwrap_or_else(|| "ended by its agent".into());
                self.turn(position, TaskStep::End, &reason, now)?;
            }
        }
        if self.job.job.state == JobState::Deploying {
            self.step(JobStep::Run, "", now)?;
        }
        self.settle(now)?;
        Ok(Heard::Accepted)
    }

    /// Time has passed: deadlines that are over take effect.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), Problem> {
        for position in (0..).take(self.tasks.len()) {
            let Some(task) = self.task(position).filter(|task| !task.state.is_final()) else { continue };
            let lost = self.lost_at(task).is_some_and(|at| at <= now);
            let stopped = task.stop.as_ref().filter(|stop| stop.until <= now).map(|stop| stop.reason.clone());
            let retry = task.retry_at.is_some_and(|at| at <= now);
            if retry {
                let task = self.task_mut(position)?;
                (task.retry_at, task.changed) = (None, true);
            }
            if let Some(reason) = stopped {
                self.turn(position, TaskStep::End, &reason, now)?;
            } else if lost {
                let seconds = self.task(position).and_then(|task| self.may_be_away(task)).unwrap_or_default().as_secs();
                self.lost(position, &format!("its agent had no session for {seconds} s"), now)?;
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
        let of_tasks = unfinished.flat_map(|task| {
            [task.stop.as_ref().map(|stop| stop.until), task.retry_at, self.lost_at(task)].into_iter().flatten()
        });
        let counts = self.job.job.state.is_active() && self.job.job.state != JobState::Stopping;
        of_tasks.chain(self.job.run_until.filter(|_| counts)).min()
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

    /// The one place where a job's state changes.
    fn step(&mut self, step: JobStep, reason: &str, now: Timestamp) -> Result<(), Problem> {
        let state = self.job.job.state.step(step).map_err(|error| illegal(&error))?;
        self.job.job.state = state;
        self.events.push(Happened { at: now, kind: JobEventKind::Job { state }, reason: reason.to_owned() });
        Ok(())
    }

    /// The one place where a task's state changes.
    fn turn(&mut self, position: u32, step: TaskStep, reason: &str, now: Timestamp) -> Result<(), Problem> {
        let task = self.task_mut(position)?;
        let state = task.state.step(step).map_err(|error| illegal(&error))?;
        task.state = state;
        task.timestamp = now;
        task.changed = true;
        task.away_since = None;
        if state.is_final() {
            task.retry_at = None;
        }
        reason.clone_into(&mut task.reason);
        if step != TaskStep::Restart {
            let (agent, role, attempt) = (task.agent.clone(), task.role.clone(), task.attempt);
            let kind = JobEventKind::Task { agent, role, state, attempt };
            self.events.push(Happened { at: now, kind, reason: reason.to_owned() });
        }
        Ok(())
    }
}

fn no_such_task() -> Problem {
    Problem::new(Code::NotFound, "the job has no such task")
}

fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

fn wrong_state(message: String, hint: impl Into<String>) -> Problem {
    Problem::new(Code::WrongState, message).hint(hint)
}

fn illegal(error: &IllegalStep) -> Problem {
    Problem::new(Code::WrongState, error.to_string())
}

#[cfg(test)]
mod tests;
