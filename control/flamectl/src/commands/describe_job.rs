//! `flamectl describe job JOB`: all about a job, in words.

use clap::Args;
use flame_api::{Job, Task};

use super::{get_models, get_tasks};
use crate::{Context, Failure, Format, JobRef, text};

/// Arguments of `describe job`.
#[derive(Debug, Clone, Args)]
pub struct DescribeJobArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
}

pub(crate) async fn run(args: DescribeJobArgs, context: &mut Context) -> Result<(), Failure> {
    let (client, printer) = (&context.client, &mut context.printer);
    let id = args.job.resolve(client).await?;
    let job = client.job(&id).await?;
    let tasks = client.tasks(&id).await?;
    let models = client.models(&id).await?;
    printer.line(fields(&job, &tasks))?;
    printer.line("\nTasks:")?;
    get_tasks::show(&tasks, Format::Wide, printer)?;
    if !models.is_empty() {
        printer.line("\nModels:")?;
        get_models::show(models, Format::Table, printer)?;
    }
    printer.line(format_args!("\nNext: {}", next(&job, &tasks)))?;
    Ok(())
}

fn fields(job: &Job, tasks: &[Task]) -> String {
    let unset = |text: &str| if text.is_empty() { "none".to_owned() } else { text::safe(text) };
    let waiting: Vec<_> =
        tasks.iter().filter(|task| !task.state.is_final() && !task.connected).map(|task| task.role.as_str()).collect();
    let mut lines = vec![
        ("ID", job.id.to_string()),
        ("Name", unset(&job.name)),
        ("Design", format!("{}, schema {}, code {}", job.design, job.schema_version, job.code_version)),
        ("State", job.state.to_string()),
        ("Reason", unset(&job.reason)),
        ("Created", text::time(job.created_at)),
        ("Started", text::optional_time(job.started_at)),
        ("Ended", text::optional_time(job.ended_at)),
    ];
    if job.state.is_active() {
        lines.push(("Not connected", if waiting.is_empty() { "nobody".to_owned() } else { counted(&waiting) }));
    }
    let lines: Vec<String> =
        lines.into_iter().map(|(name, value)| format!("{:<15}{value}", format!("{name}:"))).collect();
    lines.join("\n")
}

/// `2 trainer, 1 aggregator`.
fn counted(roles: &[&str]) -> String {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for role in roles {
        *counts.entry(role).or_default() += 1;
    }
    let said: Vec<String> = counts.into_iter().map(|(role, count)| format!("{count} {}", text::safe(role))).collect();
    said.join(", ")
}

/// What its owner would do now.
fn next(job: &Job, tasks: &[Task]) -> String {
    let id = &job.id;
    if job.state == flame_api::JobState::Ready {
        return format!("`flamectl start job {id}`");
    }
    let absent = tasks.iter().find(|task| {
        task.kind == flame_api::TaskKind::User && task.state == flame_api::TaskState::Ready && !task.connected
    });
    match absent {
        Some(task) if job.state.is_active() => {
            format!("a participant joins with FLAME_AGENT_ID={} and a FLAME_AGENT_KEY of their own", task.agent)
        }
        _ if job.state.is_active() => format!("`flamectl watch job {id}`"),
        _ if job.state == flame_api::JobState::Completed => {
            format!("`flamectl get model {id}`, `flamectl get metrics {id}`")
        }
        _ => format!("`flamectl logs {id} --level warn`"),
    }
}
