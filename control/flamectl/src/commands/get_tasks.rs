//! `flamectl get tasks JOB`

use flame_api::Task;

use super::JobArgs;
use crate::table::table;
use crate::{Context, Failure, Format, Printer, text};

/// Digits of an agent id that a sentence needs.
const SHORT_AGENT: usize = 12;

pub(crate) async fn run(args: JobArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let tasks = context.client.tasks(&id).await?;
    if context.printer.value(args.output.output, &tasks)? {
        return Ok(());
    }
    if tasks.is_empty() {
        context.printer.note(format_args!("job {id} has no tasks; `flamectl get job {id}` shows where it stands"));
        return Ok(());
    }
    show(&tasks, args.output.output, &mut context.printer)
}

/// The walk-through's table; why a task failed stands under it.
pub(super) fn show(tasks: &[Task], format: Format, printer: &mut Printer) -> Result<(), Failure> {
    let wide = format == Format::Wide;
    let mut headers = vec!["JOB ID", "AGENT ID", "TYPE", "STATE", "TIMESTAMP"];
    if wide {
        headers.extend(["ROLE", "INDEX", "GROUPS", "CONNECTED", "ATTEMPT", "REASON"]);
    }
    printer.line(table(&headers, tasks.iter().map(|task| row(task, wide))))?;
    for task in tasks.iter().filter(|task| !wide && !task.reason.is_empty()) {
        let agent: String = task.agent.as_str().chars().take(SHORT_AGENT).collect();
        let (role, reason) = (text::safe(&task.role), text::safe(&task.reason));
        printer.line(format_args!("task {agent} ({role}) {}: {reason}", task.state))?;
    }
    Ok(())
}

fn row(task: &Task, wide: bool) -> Vec<String> {
    let mut row = vec![
        task.job.to_string(),
        task.agent.to_string(),
        task.kind.to_string(),
        task.state.to_string(),
        text::time(task.timestamp),
    ];
    if wide {
        let groups: Vec<_> =
            task.group_association.iter().map(|(channel, group)| format!("{channel}:{group}")).collect();
        row.extend([
            task.role.clone(),
            task.index.to_string(),
            groups.join(", "),
            if task.connected { "yes" } else { "no" }.to_owned(),
            task.attempt.to_string(),
            task.reason.clone(),
        ]);
    }
    row
}
