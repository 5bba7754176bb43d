//! `flamectl describe task JOB TASK`: all about a task, in words.

use clap::Args;
use flame_api::Task;

use super::get_logs;
use crate::{Context, Failure, JobRef, TaskRef, text};

/// Log lines that are shown with a task.
const LINES: usize = 10;

/// Arguments of `describe task`.
#[derive(Debug, Clone, Args)]
pub struct DescribeTaskArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Agent id of the task, or a beginning of it that is unique in the job
    #[arg(value_name = "TASK")]
    pub task: TaskRef,
}

pub(crate) async fn run(args: DescribeTaskArgs, context: &mut Context) -> Result<(), Failure> {
    let (client, printer) = (&context.client, &mut context.printer);
    let job = args.job.resolve(client).await?;
    let task = args.task.resolve(&job, client).await?;
    let others = client.tasks(&job).await?;
    let logs = client.logs(&job).await?;
    for (name, value) in fields(&task) {
        printer.line(format_args!("{:<12}{value}", format!("{name}:")))?;
    }
    printer.line("\nChannels:")?;
    for (channel, group) in &task.group_association {
        let peers: Vec<String> = others
            .iter()
            .filter(|other| other.agent != task.agent && other.group_association.get(channel) == Some(group))
            .map(|other| format!("{} {}", text::safe(&other.role), other.index))
            .collect();
        let peers = if peers.is_empty() { "nobody else".to_owned() } else { peers.join(", ") };
        printer.line(format_args!("  {}, group {}: with {peers}", text::safe(channel), text::safe(group)))?;
    }
    let own: Vec<_> = logs.iter().filter(|record| record.agent == task.agent).collect();
    if !own.is_empty() {
        printer.line("\nNewest log lines:")?;
        for record in own.iter().skip(own.len().saturating_sub(LINES)) {
            printer.line(format_args!("  {}", get_logs::line(record, 0)))?;
        }
    }
    Ok(())
}

fn fields(task: &Task) -> Vec<(&'static str, String)> {
    let unset = |text: &str| if text.is_empty() { "none".to_owned() } else { text::safe(text) };
    vec![
        ("Job", task.job.to_string()),
        ("Agent ID", task.agent.to_string()),
        ("Role", format!("{} {}", text::safe(&task.role), task.index)),
        ("Type", task.kind.to_string()),
        ("State", format!("{}, since {}", task.state, text::time(task.timestamp))),
        ("Reason", unset(&task.reason)),
        ("Attempt", task.attempt.to_string()),
        ("Connected", if task.connected { "yes" } else { "no" }.to_owned()),
        ("Code", unset(&task.code)),
    ]
}
