//! The states of jobs and tasks, and which of them may follow which: the one table of DESIGN's life cycle.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// A participant, with their own data.
    User,
    /// The platform.
    System,
}

/// A transition that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {what} cannot go from `{from}` to `{to}`")]
pub struct IllegalTransition {
    what: &'static str,
    from: String,
    to: String,
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

    /// The state after a step to `to`, or the reason why there is no such step.
    pub fn transition(self, to: Self) -> Result<Self, IllegalTransition> {
        use JobState::{Completed, Deploying, Failed, Ready, Running, Starting, Stopping, Terminated};
        let allowed = match self {
            Ready => matches!(to, Starting),
            Starting => matches!(to, Deploying | Stopping | Failed),
            Deploying => matches!(to, Running | Stopping | Failed | Completed),
            Running => matches!(to, Stopping | Completed | Failed),
            Stopping => matches!(to, Terminated),
            Completed | Failed | Terminated => false,
        };
        if allowed {
            Ok(to)
        } else {
            Err(IllegalTransition { what: "job", from: self.to_string(), to: to.to_string() })
        }
    }
}

impl TaskState {
    /// Whether the task has ended for good.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated)
    }

    /// The state after a step to `to`, or the reason why there is no such step. `running` may follow itself: an agent
    /// rejoined under a higher attempt.
    pub fn transition(self, to: Self) -> Result<Self, IllegalTransition> {
        use TaskState::{Completed, Failed, Ready, Running, Terminated};
        let allowed = match self {
            Ready => matches!(to, Running | Failed | Terminated),
            Running => matches!(to, Running | Completed | Failed | Terminated),
            Completed | Failed | Terminated => false,
        };
        if allowed {
            Ok(to)
        } else {
            Err(IllegalTransition { what: "task", from: self.to_string(), to: to.to_string() })
        }
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

    #[test]
    fn a_job_walks_its_life_and_no_further() {
        let mut state = JobState::Ready;
        for next in [JobState::Starting, JobState::Deploying, JobState::Running, JobState::Completed] {
            state = state.transition(next).unwrap();
        }
        let refused = state.transition(JobState::Starting).unwrap_err();
        assert_eq!(refused.to_string(), "a job cannot go from `completed` to `starting`");
    }

    #[test]
    fn only_a_stopping_job_is_terminated() {
        assert!(JobState::Running.transition(JobState::Terminated).is_err());
        assert!(JobState::Stopping.transition(JobState::Terminated).is_ok());
    }

    #[test]
    fn a_task_that_ended_stays_ended() {
        for last in [TaskState::Completed, TaskState::Failed, TaskState::Terminated] {
            for next in [TaskState::Ready, TaskState::Running, TaskState::Completed, TaskState::Failed] {
                assert!(last.transition(next).is_err());
            }
        }
    }
}
