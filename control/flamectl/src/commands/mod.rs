//! One file per command. A command reads its arguments, asks the server and hands the result to the printer.

pub(crate) mod aggregate;
pub(crate) mod create_code;
pub(crate) mod create_design;
pub(crate) mod create_job;
pub(crate) mod create_schema;
pub(crate) mod get_code;
pub(crate) mod get_design;
pub(crate) mod get_designs;
pub(crate) mod get_job;
pub(crate) mod get_jobs;
pub(crate) mod get_logs;
pub(crate) mod get_metrics;
pub(crate) mod get_model;
pub(crate) mod get_models;
pub(crate) mod get_tasks;
pub(crate) mod inspect;
pub(crate) mod keygen;
pub(crate) mod sign;
pub(crate) mod start_job;
pub(crate) mod stop_job;
pub(crate) mod verify;
pub(crate) mod watch;

use clap::Args;

use crate::{JobRef, OutputArgs};

/// Arguments of a command that lists everything.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListArgs {
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of a command that shows something of one job.
#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}
