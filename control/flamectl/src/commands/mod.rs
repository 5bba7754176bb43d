//! One file per command. A command reads its arguments, asks the server and hands the result to the printer.

pub mod aggregate;
pub mod completions;
pub mod create_code;
pub mod create_compute;
pub mod create_dataset;
pub mod create_design;
pub mod create_job;
pub mod create_schema;
pub mod create_token;
pub mod describe_job;
pub mod describe_task;
pub mod diff_schema;
pub mod dry_run;
pub mod get_agents;
pub mod get_code;
pub mod get_compute;
pub mod get_computes;
pub mod get_dataset;
pub mod get_datasets;
pub mod get_design;
pub mod get_designs;
pub mod get_events;
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
pub mod get_tokens;
pub mod inspect;
pub mod keygen;
pub mod man;
pub mod remove_compute;
pub mod remove_dataset;
pub mod remove_design;
pub mod remove_job;
pub mod remove_revision;
pub mod remove_token;
pub mod sign;
pub mod start_job;
pub mod stop_job;
pub mod update_dataset;
pub mod update_design;
pub mod update_job;
pub mod verify;
pub mod wait;
pub mod watch;

mod follow;

use clap::Args;
use flame_api::DesignId;

use crate::{JobRef, OutputArgs};

/// Arguments of a command that lists everything.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListArgs {
    /// Show no more than so many
    #[arg(short, long, value_name = "N")]
    pub limit: Option<usize>,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl ListArgs {
    /// As much of a list as is to be shown.
    pub(crate) fn first<T>(self, mut items: Vec<T>) -> Vec<T> {
        items.truncate(self.limit.unwrap_or(usize::MAX));
        items
    }
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
