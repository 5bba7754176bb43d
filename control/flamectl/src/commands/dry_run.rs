//! `flamectl create job FILE --dry-run`: the tasks that a job would have, or all that is wrong with its files. No server
//! is asked.

use std::collections::BTreeMap;
use std::path::Path;

use flame_bundle::BundleError;
use flame_tag::{DatasetInfo, Expansion, JobSpec, Problem, Problems, Schema, TaskPlan, dry_run};
use serde::Serialize;

use super::create_job::CreateJobArgs;
use crate::job_file::{JobFile, mistakes};
use crate::table::table;
use crate::{Failure, Format, Printer, code, files};

/// Where the schema is looked for, beside the job file.
const SCHEMA_FILES: [&str; 3] = ["schema.json", "schema.yaml", "schema.yml"];

/// What is printed as JSON where something is wrong.
#[derive(Debug, Serialize)]
struct Errors<'p> {
    errors: Vec<Mistake<'p>>,
}

/// One mistake. Every key is always there; a place that is not known is null.
#[derive(Debug, Serialize)]
struct Mistake<'p> {
    file: Option<&'p str>,
    line: Option<u32>,
    column: Option<u32>,
    /// With the field's path before it.
    message: String,
    hint: &'p str,
}

pub(crate) fn run(args: &CreateJobArgs, printer: &mut Printer) -> Result<(), Failure> {
    let format = args.output.output;
    match expand(args) {
        Ok(expansion) => show(&expansion, format, printer),
        Err(problems) => {
            let errors = Errors { errors: problems.iter().map(mistake).collect() };
            // Whoever reads JSON has been told; the status says the rest.
            if printer.value(format, &errors)? {
                Err(Failure::told(mistakes(&problems)))
            } else {
                Err(mistakes(&problems))
            }
        }
    }
}

fn mistake(problem: &Problem) -> Mistake<'_> {
    let Problem { file, line, column, field, message, hint } = problem;
    Mistake {
        file: (!file.is_empty()).then_some(file),
        line: *line,
        column: *column,
        message: if field.is_empty() { message.clone() } else { format!("{field}: {message}") },
        hint,
    }
}

/// Every mistake of every file together.
fn expand(args: &CreateJobArgs) -> Result<Expansion, Problems> {
    let mut problems = Vec::new();
    let job = noted(JobFile::read(&args.file), &args.file, &mut problems);
    let schema = match (&args.schema, &job) {
        (Some(path), _) => read_schema(path, &mut problems),
        (None, Some(job)) => {
            let found = SCHEMA_FILES.iter().map(|name| job.beside(name)).find(|path| path.exists());
            if found.is_none() {
                let message = format!("no schema was given, and none of {} lies beside it", SCHEMA_FILES.join(", "));
                problems.push(problem(&args.file, message, "name the schema with --schema FILE"));
            }
            found.and_then(|path| read_schema(&path, &mut problems))
        }
        (None, None) => None,
    };
    let roles = args.code.as_ref().map(|path| read_code(path, schema.as_ref(), &mut problems));
    let (Some(job), Some((schema_text, schema_name))) = (&job, schema) else {
        // The mistakes of the job by itself are told without a schema, too.
        let of_job = job.as_ref().and_then(|job| JobSpec::parse(&job.text, &job.name, &job.loader()).err());
        problems.extend(of_job.into_iter().flatten());
        return Err(Problems(problems));
    };
    let datasets: Option<BTreeMap<_, _>> = (!args.dataset.is_empty())
        .then(|| args.dataset.iter().map(|id| (id.clone(), DatasetInfo::default())).collect());
    let expanded = dry_run(
        (&schema_text, &schema_name),
        (&job.text, &job.name),
        &job.loader(),
        datasets.as_ref(),
        // Code that cannot be read is refused already.
        roles.flatten().as_deref(),
    );
    match expanded {
        Ok(expansion) if problems.is_empty() => Ok(expansion),
        Ok(_) => Err(Problems(problems)),
        Err(found) => Err(Problems(found.0.into_iter().chain(problems).collect())),
    }
}

fn read_schema(path: &Path, problems: &mut Vec<Problem>) -> Option<(String, String)> {
    let text = noted(files::read_text(path, "schema file"), path, problems)?;
    Some((text, path.to_string_lossy().into_owned()))
}

/// The roles that the code serves, as far as it can be read; what speaks against it goes to `problems`.
fn read_code(path: &Path, schema: Option<&(String, String)>, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
    let bytes = noted(code::read(path), path, problems)?;
    let (bundle, mut reasons) = match flame_bundle::survey(&bytes) {
        Ok(surveyed) => surveyed,
        Err(BundleError::Refused(reasons)) => {
            problems.extend(reasons.into_iter().map(|reason| problem(path, reason, "")));
            return None;
        }
        Err(error) => {
            let failure = code::refused(path, &error);
            problems.push(problem(path, failure.message(), failure.hint()));
            return None;
        }
    };
    if let Some((text, name)) = schema
        && let Ok(schema) = Schema::parse(text, name)
    {
        let roles: Vec<String> = schema.roles.into_iter().map(|role| role.name).collect();
        reasons.extend(bundle.foreign_entries(&roles));
    }
    problems.extend(reasons.into_iter().map(|reason| problem(path, reason, "")));
    Some(bundle.role_names())
}

/// What was read, or `None` with the reason among the mistakes.
fn noted<T>(read: Result<T, Failure>, path: &Path, problems: &mut Vec<Problem>) -> Option<T> {
    read.map_err(|failure| problems.push(problem(path, failure.message(), failure.hint()))).ok()
}

/// A mistake that is about a file as a whole.
fn problem(path: &Path, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem {
        file: path.to_string_lossy().into_owned(),
        line: None,
        column: None,
        field: String::new(),
        message: message.into(),
        hint: hint.into(),
    }
}

fn show(expansion: &Expansion, format: Format, printer: &mut Printer) -> Result<(), Failure> {
    if printer.value(format, &expansion.outline())? {
        return Ok(());
    }
    let wide = format == Format::Wide;
    let mut headers = vec!["ROLE", "INDEX", "TYPE", "GROUPS", "DATASET"];
    if wide {
        headers.extend(["BACKENDS", "FUNCTION TAGS", "PEERS"]);
    }
    let rosters = expansion.rosters();
    let rows = expansion.tasks.iter().map(|task| {
        let mut row = vec![
            task.role.clone(),
            task.index.to_string(),
            match task.kind {
                flame_tag::TaskKind::User => "user".to_owned(),
                flame_tag::TaskKind::System => "system".to_owned(),
            },
            by_channel(task, |channel| channel.group.clone()),
            task.dataset.clone().unwrap_or_default(),
        ];
        if wide {
            row.push(by_channel(task, |channel| channel.backend.to_string()));
            row.push(by_channel(task, |channel| channel.func_tags.join(" ")));
            let peers = |channel: &flame_tag::ChannelPlan| {
                rosters.get(&(channel.name.as_str(), channel.group.as_str())).map_or(0, |roster| roster.len() - 1)
            };
            row.push(by_channel(task, |channel| peers(channel).to_string()));
        }
        row
    });
    printer.line(table(&headers, rows))?;
    let count = expansion.tasks.len();
    printer.note(format_args!("{count} tasks would be created; nothing was: this is a dry run"));
    Ok(())
}

/// `channel:what, …` for the channels of a task.
fn by_channel(task: &TaskPlan, what: impl Fn(&flame_tag::ChannelPlan) -> String) -> String {
    let said: Vec<String> = task.channels.iter().map(|channel| format!("{}:{}", channel.name, what(channel))).collect();
    said.join(", ")
}
