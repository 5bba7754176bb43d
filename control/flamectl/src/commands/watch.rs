//! `flamectl watch job ID`: follows a job until it has ended; the exit status says how.

use clap::{Args, ValueEnum};
use flame_api::{JobId, JobSnapshot, JobState, TaskCounts};

use super::follow::follow;
use crate::printer::escape_json;
use crate::{Context, Failure, JobRef, Printer, text};

/// Arguments of `watch job`.
#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// How to print: text for people, or one JSON object per change
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: WatchFormat,
}

/// How changes are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum WatchFormat {
    /// A line for people.
    #[default]
    Text,
    /// A snapshot as the API has it, one per line.
    Json,
}

pub(crate) async fn run(args: WatchArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let mut last_line = String::new();
    let printer = &mut context.printer;
    follow(&context.client, &id, async |snapshot: &JobSnapshot| {
        show(snapshot, args.output, &mut last_line, printer)?;
        if !snapshot.job.state.is_final() {
            return Ok(false);
        }
        printer.settle()?;
        if snapshot.job.state == JobState::Completed { Ok(true) } else { Err(ended_otherwise(snapshot)) }
    })
    .await
}

fn show(
    snapshot: &JobSnapshot,
    format: WatchFormat,
    last_line: &mut String,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let line = match format {
        WatchFormat::Text => line(snapshot),
        WatchFormat::Json => escape_json(&serde_json::to_string(snapshot).map_err(std::io::Error::from)?),
    };
    if line != *last_line {
        match format {
            WatchFormat::Text => printer.status(&line)?,
            WatchFormat::Json => printer.line(&line)?,
        }
        *last_line = line;
    }
    Ok(())
}

/// The job has ended, and not as it was to.
pub(super) fn ended_otherwise(snapshot: &JobSnapshot) -> Failure {
    let job = &snapshot.job;
    if job.state == JobState::Completed {
        return Failure::outcome(format!("job {} {}", job.id, job.state), advice(&job.id));
    }
    let reason = if job.reason.is_empty() { "no reason was given" } else { &job.reason };
    Failure::outcome(format!("job {} {}: {}", job.id, job.state, text::safe(reason)), advice(&job.id))
}

fn advice(id: &JobId) -> String {
    format!("`flamectl get tasks {id}` and `flamectl get logs {id}` say more")
}

/// `running  round 3/20  loss 0.3124  accuracy 0.9120  bytes 1.2 MiB  tasks 5 running`
fn line(snapshot: &JobSnapshot) -> String {
    let mut parts = vec![snapshot.job.state.to_string()];
    match (snapshot.progress, &snapshot.latest) {
        (Some(progress), _) => parts.push(format!("round {}/{}", progress.round, progress.rounds)),
        (None, Some(latest)) => parts.push(format!("round {}", latest.round)),
        (None, None) => {}
    }
    if let Some(latest) = &snapshot.latest {
        for name in ["loss", "accuracy"] {
            if let Some(value) = latest.values.get(name) {
                parts.push(format!("{name} {}", text::number(*value)));
            }
        }
        let bytes = latest.values.iter().filter(|(name, value)| name.starts_with("bytes") && **value >= 0.0);
        let counted: Vec<f64> = bytes.map(|(_, value)| *value).collect();
        if !counted.is_empty() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates; no value is negative"
            )]
            let sum = counted.iter().sum::<f64>() as u64;
            parts.push(format!("bytes {}", text::size(sum)));
        }
    }
    parts.push(format!("tasks {}", counts(&snapshot.tasks)));
    parts.join("  ")
}

fn counts(tasks: &TaskCounts) -> String {
    let by_state = [
        (tasks.ready, "ready"),
        (tasks.running, "running"),
        (tasks.completed, "completed"),
        (tasks.failed, "failed"),
        (tasks.terminated, "terminated"),
    ];
    let shown: Vec<_> =
        by_state.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}")).collect();
    if shown.is_empty() { "none".into() } else { shown.join(", ") }
}
