//! `flamectl logs JOB`: the newest log lines of a job's tasks, and with `-f` those that follow.

use clap::{Args, ValueEnum};
use flame_api::{JobId, JobSnapshot, LogLevel, LogRecord};

use super::follow::follow;
use crate::{Context, Failure, Format, JobRef, OutputArgs, Printer, TaskRef, text};

const AFTER_HELP: &str = "\
Examples:
  flamectl logs 6248
  flamectl logs 6248 --role trainer --level warn
  flamectl logs 6248 --task 18d2671f --tail 20 -f";

/// Digits of an agent id that tell workers apart on a line.
const SHORT_AGENT: usize = 8;

/// Arguments of `logs`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct GetLogsArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Only lines of this task: its agent id, or a beginning of it
    #[arg(long, value_name = "TASK")]
    pub task: Option<TaskRef>,
    /// Only lines of tasks of this role
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Only lines that are at least so grave
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t, hide_default_value = true)]
    pub level: Level,
    /// Only so many of the newest lines
    #[arg(long, value_name = "N")]
    pub tail: Option<usize>,
    /// Go on with new lines until the job has ended
    #[arg(short, long)]
    pub follow: bool,
    /// How to print; with -f json is an object per line
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[expect(missing_docs, reason = "the usual five")]
pub enum Level {
    #[default]
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

pub(crate) async fn run(args: GetLogsArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    if args.follow {
        return go_on(&args, &id, context).await;
    }
    let records = context.client.logs(&id).await?;
    let nothing = records.is_empty();
    let records = args.chosen(records);
    if context.printer.value(args.output.output, &records)? {
        return Ok(());
    }
    if records.is_empty() {
        let what = if nothing { "has logged nothing yet" } else { "has logged nothing of what was asked for" };
        context.printer.note(format_args!("job {id} {what}; `flamectl get tasks {id}` shows what its tasks do"));
        return Ok(());
    }
    args.show(&records, &mut context.printer)
}

/// The server tells of every change of a job, reports among them; after each the new lines are fetched.
async fn go_on(args: &GetLogsArgs, id: &JobId, context: &mut Context) -> Result<(), Failure> {
    let (client, printer) = (&context.client, &mut context.printer);
    let mut last: Option<LogRecord> = None;
    let mut first = true;
    follow(client, id, async |snapshot: &JobSnapshot| {
        let records = client.logs(id).await?;
        let newest = records.last().cloned();
        // Old lines fall out of the server's list, so what was shown is found by the line that was the last.
        let seen = last.as_ref().and_then(|last| records.iter().rposition(|record| record == last));
        let fresh: Vec<LogRecord> = records.into_iter().skip(seen.map_or(0, |seen| seen + 1)).collect();
        let chosen: Vec<LogRecord> = if std::mem::take(&mut first) {
            args.chosen(fresh)
        } else {
            fresh.into_iter().filter(|record| args.wants(record)).collect()
        };
        args.show(&chosen, printer)?;
        last = newest.or_else(|| last.take());
        Ok(snapshot.job.state.is_final())
    })
    .await
}

impl GetLogsArgs {
    fn wants(&self, record: &LogRecord) -> bool {
        self.task.as_ref().is_none_or(|task| task.may_be(&record.agent))
            && self.role.as_ref().is_none_or(|role| *role == record.role)
            && record.level >= self.level.into()
    }

    fn chosen(&self, mut records: Vec<LogRecord>) -> Vec<LogRecord> {
        records.retain(|record| self.wants(record));
        let surplus = self.tail.map_or(0, |tail| records.len().saturating_sub(tail));
        records.split_off(surplus)
    }

    fn show(&self, records: &[LogRecord], printer: &mut Printer) -> Result<(), Failure> {
        let format = self.output.output;
        let digits = if format == Format::Wide { usize::MAX } else { SHORT_AGENT };
        for record in records {
            if self.follow && matches!(format, Format::Json | Format::Yaml) {
                printer.json_line(record)?;
            } else {
                printer.line(line(record, digits))?;
            }
        }
        Ok(())
    }
}

pub(super) fn line(record: &LogRecord, digits: usize) -> String {
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
