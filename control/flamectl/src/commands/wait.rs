//! `flamectl wait job ID`: says nothing until the job is where it was to get.

use std::time::Duration;

use clap::{Args, ValueEnum};
use flame_api::{JobSnapshot, JobState};

use super::follow::follow;
use super::watch::ended_otherwise;
use crate::{Context, Failure, JobRef};

const AFTER_HELP: &str = "\
Examples:
  flamectl wait job 6248                             (until it is completed)
  flamectl wait job 6248 --for running --timeout 60
  flamectl wait job 6248 --for ended                 (status 0 however it ends)

Status 0 if the job got there, 1 if it ended in another way, 4 if the time was up.";

/// Arguments of `wait job`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct WaitArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// What to wait for
    #[arg(long = "for", value_name = "STATE", value_enum, default_value_t)]
    pub until: Until,
    /// Longest wait [default: none]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Until {
    /// At least one task runs, or the job is completed already.
    Running,
    /// The job is completed.
    #[default]
    Completed,
    /// The job has failed.
    Failed,
    /// The job was terminated.
    Terminated,
    /// The job has ended, however.
    Ended,
}

impl Until {
    fn is_met(self, state: JobState) -> bool {
        match self {
            Self::Running => matches!(state, JobState::Running | JobState::Completed),
            Self::Completed => state == JobState::Completed,
            Self::Failed => state == JobState::Failed,
            Self::Terminated => state == JobState::Terminated,
            Self::Ended => state.is_final(),
        }
    }
}

pub(crate) async fn run(args: WaitArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let mut last: Option<JobSnapshot> = None;
    let waiting = follow(&context.client, &id, async |snapshot: &JobSnapshot| {
        let state = snapshot.job.state;
        last = Some(snapshot.clone());
        if args.until.is_met(state) {
            return Ok(true);
        }
        if state.is_final() { Err(ended_otherwise(snapshot)) } else { Ok(false) }
    });
    let Some(seconds) = args.timeout else { return waiting.await };
    if let Ok(waited) = tokio::time::timeout(Duration::from_secs(seconds), waiting).await {
        return waited;
    }
    let state = last.map_or_else(|| "not known".to_owned(), |snapshot| snapshot.job.state.to_string());
    Err(Failure::time_up(
        format!("after {seconds} s the state of job {id} is {state}"),
        format!("`flamectl describe job {id}` shows what it waits for"),
    ))
}
