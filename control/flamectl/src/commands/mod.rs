//! One file per command. A command reads its arguments, asks the server and hands the result to the printer.

pub mod completions;
pub mod create_code;
pub mod create_design;
pub mod create_job;
pub mod create_schema;
pub mod describe_job;
pub mod describe_task;
pub mod diff_schema;
pub mod dry_run;
mod follow;
pub mod get_code;
pub mod get_design;
pub mod get_designs;
pub mod get_job;
pub mod get_jobs;
pub mod get_logs;
pub mod get_metrics;
pub mod get_model;
pub mod get_models;
pub mod get_schema;
pub mod get_schemas;
pub mod get_task;
pub mod get_tasks;
pub mod inspect;
pub mod keygen;
pub mod man;
pub mod sign;
pub mod start_job;
pub mod stop_job;
pub mod verify;
pub mod wait;
pub mod watch;

use clap::Args;
use flame_api::DesignId;

use crate::{JobRef, OutputArgs};

/// Arguments of a command that lists everything.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListArgs {
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of a command that shows something of one design.
#[derive(Debug, Clone, Args)]
pub struct DesignArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN")]
    pub design: DesignId,
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

/// A job, of which there is nothing to show.
#[derive(Debug, Clone, Args)]
pub struct JobOnly {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
}
