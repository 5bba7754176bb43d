//! `flamectl events JOB`: what happened to a job, and with `-f` what happens.

use clap::Args;
use flame_api::{ClientError, JobEvent, JobEventKind};
use futures::StreamExt;

use crate::{Context, Failure, Format, JobRef, OutputArgs, Printer, text};

const AFTER_HELP: &str = "\
Examples:
  flamectl events 6248
  flamectl events 6248 -f -o json | jq .event";

/// Digits of an agent id that a sentence needs.
const SHORT_AGENT: usize = 12;

/// Arguments of `events`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct GetEventsArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Go on with new events until the job has ended
    #[arg(short, long)]
    pub follow: bool,
    /// How to print; with -f json is an object per line
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: GetEventsArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let (client, printer, format) = (&context.client, &mut context.printer, args.output.output);
    if !args.follow {
        let events = client.job_events(&id).await?;
        if printer.value(format, &events)? {
            return Ok(());
        }
        for event in &events {
            show(event, Format::Table, printer)?;
        }
        return Ok(());
    }
    let mut events = client.follow_events(&id, 0).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        show(&event, format, printer)?;
        if matches!(event.kind, JobEventKind::Job { state } if state.is_final()) {
            return Ok(());
        }
    }
    // The job may have ended before; otherwise the server went away.
    if client.job(&id).await?.state.is_final() {
        return Ok(());
    }
    let reason = "it ended the events before the job ended".to_owned();
    Err(ClientError::Unreachable { url: client.base().to_owned(), reason }.into())
}

fn show(event: &JobEvent, format: Format, printer: &mut Printer) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => printer.json_line(event)?,
        Format::Table | Format::Wide => printer.line(line(event))?,
    }
    Ok(())
}

/// `2022-04-02 17:33:49.915 +0000 UTC task 18d2671fbf59 (trainer) is running: …`
pub(super) fn line(event: &JobEvent) -> String {
    let task = |agent: &flame_api::AgentId, role: &str| {
        let agent: String = agent.as_str().chars().take(SHORT_AGENT).collect();
        format!("task {agent} ({})", text::safe(role))
    };
    let what = match &event.kind {
        JobEventKind::Expanded { tasks } => format!("job has {tasks} tasks"),
        JobEventKind::Job { state } => format!("job is {state}"),
        JobEventKind::Task { agent, role, state, attempt } if *attempt > 1 => {
            format!("{} is {state}, attempt {attempt}", task(agent, role))
        }
        JobEventKind::Task { agent, role, state, .. } => format!("{} is {state}", task(agent, role)),
        JobEventKind::Restarted { agent, role, restarts } => {
            format!("{} is started again, time {restarts}", task(agent, role))
        }
        JobEventKind::Rejoined { agent, role, attempt } => format!("{} rejoined, attempt {attempt}", task(agent, role)),
    };
    let reason = if event.reason.is_empty() { String::new() } else { format!(": {}", text::safe(&event.reason)) };
    format!("{} {what}{reason}", text::time(event.timestamp))
}
