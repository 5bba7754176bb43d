//! `flamectl get task JOB TASK`

use std::slice;

use clap::Args;

use super::get_tasks;
use crate::{Context, Failure, JobRef, OutputArgs, TaskRef};

/// Arguments of `get task`.
#[derive(Debug, Clone, Args)]
pub struct GetTaskArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Agent id of the task, or a beginning of it that is unique in the job
    #[arg(value_name = "TASK")]
    pub task: TaskRef,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(args: GetTaskArgs, context: &mut Context) -> Result<(), Failure> {
    let job = args.job.resolve(&context.client).await?;
    let task = args.task.resolve(&job, &context.client).await?;
    if context.printer.value(args.output.output, &task)? {
        return Ok(());
    }
    get_tasks::show(slice::from_ref(&task), args.output.output, &mut context.printer)
}
