//! `flamectl create job FILE`: sends the file as it is, unless parts of it lie in files beside it.

use std::path::PathBuf;

use clap::Args;

use super::dry_run;
use crate::job_file::JobFile;
use crate::{Context, Failure, OutputArgs};

const AFTER_HELP: &str = "\
Examples:
  flamectl create job job.json
  flamectl create job job.json --dry-run
  flamectl create job job.json --dry-run --schema schema.json --code mnist.wasm -o json

A dry run asks no server. It prints the tasks in the order in which they would be created, or every mistake of the
files, with its place, and status 2. With -o json that is {\"tasks\": […]} or {\"errors\": […]} on stdout. Without
--schema it takes schema.json, schema.yaml or schema.yml beside the job file; without --code, code for every role is
taken for granted; without --dataset, all data sets that the job names.";

/// Arguments of `create job`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CreateJobArgs {
    /// Job file, JSON or YAML. Files that it names as dataSpecPath or modelSpecPath are looked for beside it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Create nothing: print the tasks that the job would have. No server is asked
    #[arg(long)]
    pub dry_run: bool,
    /// Schema file for the dry run [default: schema.json, schema.yaml or schema.yml beside the job file]
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub schema: Option<PathBuf>,
    /// Code file for the dry run: a component, or a zip with `<role>.wasm` per role
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub code: Option<PathBuf>,
    /// Data set that there is, for the dry run: others that the job names are refused. Repeatable
    #[arg(long, value_name = "ID", requires = "dry_run")]
    pub dataset: Vec<String>,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: CreateJobArgs, context: &mut Context) -> Result<(), Failure> {
    if args.dry_run {
        return dry_run::run(&args, &mut context.printer);
    }
    let file = JobFile::read(&args.file)?;
    let text = file.whole()?;
    let job = context.create(async |client| client.create_job(&file.name, text.clone()).await).await?;
    if context.printer.value(args.output.output, &job)? {
        return Ok(());
    }
    context.printer.line(format_args!("New job created successfully\n\tID: {}\n\tstate: {}", job.id, job.state))?;
    Ok(())
}
