//! The states of jobs and tasks, and which of them may follow which by what: the one table of either life.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Created, tasks expanded, nothing started.
    Ready,
    /// A start was asked for and is recorded.
    Starting,
    /// System tasks are being placed, agents are being called.
    Deploying,
    /// At least one task runs.
    Running,
    /// A stop was asked for; tasks are being ended.
    Stopping,
    /// Every task ended and every role has its minimum of completed ones.
    Completed,
    /// Cannot complete any more; the job says why.
    Failed,
    /// Stopped by a user or by its run time.
    Terminated,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Waits for its agent.
    Ready,
    /// An agent runs it.
    Running,
    /// Its guest came to its end.
    Completed,
    /// Its guest, agent or host failed; the task says why.
    Failed,
    /// Was ended from outside.
    Terminated,
}

/// Who brings the compute for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// A participant, with their own data.
    User,
    /// The platform.
    System,
}

/// What moves a job from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStep {
    /// A user starts it.
    Start,
    /// The start is durable: agents are called, system tasks placed.
    Deploy,
    /// An agent says that its task runs.
    Run,
    /// Every task has ended, and each role has its minimum of completed ones.
    Complete,
    /// A role cannot reach its minimum any more.
    Fail,
    /// A user stops it, or its run time is over.
    Stop,
    /// The last task of a stopped job has ended.
    End,
    /// A user gives it another job file: its tasks are made anew.
    Renew,
}

/// What moves a task from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskStep {
    /// Its agent says that the guest runs.
    Run,
    /// Its agent came under a newer attempt while the task ran.
    Rejoin,
    /// Its flamelet was lost, and the job's policy gives it another one.
    Restart,
    /// Its agent says that the guest came to its end.
    Complete,
    /// Its agent says that it failed, or it is lost for good.
    Fail,
    /// It was ended from outside, or nobody ran it while it mattered.
    End,
}

/// The life of a job: from a state, by a step, to a state. What is not here is refused.
pub const JOB_LIFE: [(JobState, JobStep, JobState); 14] = {
    use JobState::{Completed, Deploying, Failed, Ready, Running, Starting, Stopping, Terminated};
    use JobStep::{Complete, Deploy, End, Fail, Renew, Run, Start, Stop};
    [
        (Ready, Start, Starting),
        (Ready, Renew, Ready),
        (Starting, Deploy, Deploying),
        (Starting, Stop, Stopping),
        (Deploying, Run, Running),
        (Deploying, Fail, Failed),
        (Deploying, Stop, Stopping),
        (Running, Complete, Completed),
        (Running, Fail, Failed),
        (Running, Stop, Stopping),
        (Stopping, End, Terminated),
        // Once all of it has ended, a job may be run again from another file.
        (Completed, Renew, Ready),
        (Failed, Renew, Ready),
        (Terminated, Renew, Ready),
    ]
};

/// The life of a task: from a state, by a step, to a state. What is not here is refused.
pub const TASK_LIFE: [(TaskState, TaskStep, TaskState); 9] = {
    use TaskState::{Completed, Failed, Ready, Running, Terminated};
    use TaskStep::{Complete, End, Fail, Rejoin, Restart, Run};
    [
        (Ready, Run, Running),
        (Ready, Restart, Ready),
        (Ready, Fail, Failed),
        (Ready, End, Terminated),
        (Running, Rejoin, Running),
        (Running, Restart, Ready),
        (Running, Complete, Completed),
        (Running, Fail, Failed),
        (Running, End, Terminated),
    ]
};

/// A step that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {what} that is {from} cannot {step}")]
pub struct IllegalStep {
    what: &'static str,
    from: String,
    step: &'static str,
}

impl JobState {
    /// Whether the job has ended for good.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated)
    }

    /// Whether the job has been started and has not ended.
    pub fn is_active(self) -> bool {
        !self.is_final() && self != Self::Ready
    }

    /// The state after a step, or the reason why there is no such step.
    pub fn step(self, step: JobStep) -> Result<Self, IllegalStep> {
        let found = JOB_LIFE.iter().find(|(from, by, _)| (*from, *by) == (self, step));
        found.map(|(.., to)| *to).ok_or_else(|| IllegalStep {
            what: "job",
            from: self.to_string(),
            step: match step {
                JobStep::Start => "be started",
                JobStep::Deploy => "be deployed",
                JobStep::Run => "run",
                JobStep::Complete => "complete",
                JobStep::Fail => "fail",
                JobStep::Stop => "be stopped",
                JobStep::End => "end",
                JobStep::Renew => "be updated",
            },
        })
    }
}

impl TaskState {
    /// Whether the task has ended for good.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated)
    }

    /// The state after a step, or the reason why there is no such step.
    pub fn step(self, step: TaskStep) -> Result<Self, IllegalStep> {
        let found = TASK_LIFE.iter().find(|(from, by, _)| (*from, *by) == (self, step));
        found.map(|(.., to)| *to).ok_or_else(|| IllegalStep {
            what: "task",
            from: self.to_string(),
            step: match step {
                TaskStep::Run => "run",
                TaskStep::Rejoin => "be rejoined",
                TaskStep::Restart => "be restarted",
                TaskStep::Complete => "complete",
                TaskStep::Fail => "fail",
                TaskStep::End => "be ended",
            },
        })
    }
}

macro_rules! lower_case_display {
    ($($name:ident { $($variant:ident => $text:literal),+ $(,)? })+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text),+ })
            }
        }
    )+};
}

lower_case_display! {
    JobState {
        Ready => "ready", Starting => "starting", Deploying => "deploying", Running => "running",
        Stopping => "stopping", Completed => "completed", Failed => "failed", Terminated => "terminated",
    }
    TaskState {
        Ready => "ready", Running => "running", Completed => "completed", Failed => "failed",
        Terminated => "terminated",
    }
    TaskKind { User => "user", System => "system" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same life as a picture: a row for each state, a column for each step, `.` where there is none.
    const JOB_PICTURE: &str = "
                    start     deploy     run      complete   fail    stop      end         renew
        ready       starting  .          .        .          .       .         .           ready
        starting    .         deploying  .        .          .       stopping  .           .
        deploying   .         .          running  .          failed  stopping  .           .
        running     .         .          .        completed  failed  stopping  .           .
        stopping    .         .          .        .          .       .         terminated  .
        completed   .         .          .        .          .       .         .           ready
        failed      .         .          .        .          .       .         .           ready
        terminated  .         .          .        .          .       .         .           ready";

    const TASK_PICTURE: &str = "
                    run      rejoin   restart  complete   fail    end
        ready       running  .        ready    .          failed  terminated
        running     .        running  ready    completed  failed  terminated
        completed   .        .        .        .          .       .
        failed      .        .        .        .          .       .
        terminated  .        .        .        .          .       .";

    fn rows(picture: &str) -> impl Iterator<Item = Vec<&str>> {
        picture.lines().skip(2).map(|line| line.split_whitespace().collect())
    }

    #[test]
    fn a_jobs_life_is_the_picture_and_nothing_else() {
        use JobState::{Completed, Deploying, Failed, Ready, Running, Starting, Stopping, Terminated};
        use JobStep::{Complete, Deploy, End, Fail, Renew, Run, Start, Stop};
        let states = [Ready, Starting, Deploying, Running, Stopping, Completed, Failed, Terminated];
        let steps = [Start, Deploy, Run, Complete, Fail, Stop, End, Renew];
        for (state, row) in states.into_iter().zip(rows(JOB_PICTURE)) {
            assert_eq!((row[0], row.len()), (state.to_string().as_str(), 1 + steps.len()));
            for (step, expected) in steps.into_iter().zip(&row[1..]) {
                let to = state.step(step).map_or_else(|_| ".".to_owned(), |to| to.to_string());
                assert_eq!(to, *expected, "{state} by {step:?}");
            }
        }
        assert_eq!(Completed.step(Start).unwrap_err().to_string(), "a job that is completed cannot be started");
    }

    #[test]
    fn a_tasks_life_is_the_picture_and_nothing_else() {
        use TaskState::{Completed, Failed, Ready, Running, Terminated};
        use TaskStep::{Complete, End, Fail, Rejoin, Restart, Run};
        let steps = [Run, Rejoin, Restart, Complete, Fail, End];
        for (state, row) in [Ready, Running, Completed, Failed, Terminated].into_iter().zip(rows(TASK_PICTURE)) {
            assert_eq!((row[0], row.len()), (state.to_string().as_str(), 1 + steps.len()));
            for (step, expected) in steps.into_iter().zip(&row[1..]) {
                let to = state.step(step).map_or_else(|_| ".".to_owned(), |to| to.to_string());
                assert_eq!(to, *expected, "{state} by {step:?}");
            }
        }
        assert_eq!(Failed.step(Rejoin).unwrap_err().to_string(), "a task that is failed cannot be rejoined");
    }

    #[test]
    fn no_state_is_left_twice_by_the_same_step() {
        let mut seen = std::collections::HashSet::new();
        assert!(JOB_LIFE.iter().all(|(from, step, _)| seen.insert((*from, *step))));
        let mut seen = std::collections::HashSet::new();
        assert!(TASK_LIFE.iter().all(|(from, step, _)| seen.insert((*from, *step))));
    }
}
