//! `flamectl get logs JOB`

use flame_api::{LogLevel, LogRecord};

use super::JobArgs;
use crate::{Context, Failure, Format, text};

/// Digits of an agent id that tell workers apart on a line.
const SHORT_AGENT: usize = 8;

pub(crate) async fn run(args: JobArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let records = context.client.logs(&id).await?;
    if context.printer.value(args.output.output, &records)? {
        return Ok(());
    }
    if records.is_empty() {
        context
            .printer
            .note(format_args!("job {id} has logged nothing yet; `flamectl get tasks {id}` shows what its tasks do"));
        return Ok(());
    }
    let digits = if args.output.output == Format::Wide { usize::MAX } else { SHORT_AGENT };
    for record in &records {
        context.printer.line(line(record, digits))?;
    }
    Ok(())
}

fn line(record: &LogRecord, digits: usize) -> String {
    let agent: String = record.agent.as_str().chars().take(digits).collect();
    let level = match record.level {
        LogLevel::Trace => "TRACE",
        LogLevel::Debug => "DEBUG",
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
    };
    let (role, words) = (text::safe(&record.role), text::safe(&record.text));
    format!("{} {role} {agent} {level} {words}", text::time(record.timestamp))
}
