//! `flamectl update job ID FILE`: a job that does not run gets another job file, and new tasks.

use std::path::PathBuf;

use clap::Args;

use crate::job_file::JobFile;
use crate::{Context, Failure, JobRef};

/// Arguments of `update job`.
#[derive(Debug, Clone, Args)]
pub struct UpdateJobArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Job file, JSON or YAML, in place of the one that the job was created from
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

pub(crate) async fn run(args: UpdateJobArgs, context: &mut Context) -> Result<(), Failure> {
    let file = JobFile::read(&args.file)?;
    let id = args.job.resolve(&context.client).await?;
    let tag = context.client.job_tag(&id).await?;
    context.client.with_tag(tag).update_job(&id, &file.name, file.whole()?).await?;
    context.printer.line("Job updated successfully")?;
    Ok(())
}
