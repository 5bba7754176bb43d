//! The command line's grammar and help. Must hold no logic.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::Format;
use crate::commands::{
    DesignArgs, JobArgs, JobOnly, ListArgs, aggregate, completions, create_code, create_compute, create_dataset,
    create_design, create_job, create_schema, create_token, describe_job, describe_task, diff_schema, get_code,
    get_compute, get_dataset, get_design, get_events, get_logs, get_model, get_schema, get_task, inspect, keygen, man,
    remove_compute, remove_dataset, remove_design, remove_revision, remove_token, sign, update_dataset, update_design,
    update_job, verify, wait, watch,
};

const AFTER_HELP: &str = "\
Examples:
  flamectl create design mnist -d \"mnist example\"
  flamectl create schema schema.json --design mnist
  flamectl create code mnist.wasm --design mnist
  flamectl create job job.json --dry-run           (what it would make; no server is asked)
  flamectl create job job.json
  flamectl get tasks 624888fda8001d773e34de43
  flamectl start job 6248                          (an id may be cut to what is unique)
  flamectl watch job 6248
  flamectl wait job 6248 --timeout 600
  flamectl get model 6248 -o model.safetensors
  flamectl get jobs -o json
  flamectl get schema mnist -o svg > mnist.svg
  flamectl aggregate a.safetensors:120 b.safetensors:80 -o global.safetensors
  flamectl inspect mnist.wasm
  flamectl keygen -o hospital.key && flamectl sign mnist.wasm --key hospital.key
  source <(flamectl completions bash)

Configuration:
  Of two values, the flag wins over the environment, and the environment over the file.
  apiserver   --apiserver URL, FLAME_APISERVER, `apiserver: {endpoint: URL}`;
              else http://127.0.0.1:10100
  token       FLAME_TOKEN, `token: …`
  CA          --ca PATH, FLAME_CA, `ca: PATH`; else whom this machine trusts
  the file    --config PATH, else $FLAME_HOME/config.yaml, else ~/.flame/config.yaml;
              only a file named by --config has to exist

Exit status:
  0  done
  1  the server refused, the job that was watched or waited for ended in another way, or `aggregate` refused an
     update
  2  the command line, the configuration or a local file is wrong, in a dry run too; `inspect`: the code would
     be refused; `verify`: none of the signers signed it
  3  the server cannot be reached
  4  `wait`: the time was up";

/// Creates designs and jobs on a Flame control plane, and shows how they fare.
#[derive(Debug, Clone, Parser)]
#[command(name = "flamectl", version, about = "Creates designs and jobs on a Flame control plane, and shows how they fare", after_help = AFTER_HELP, max_term_width = 120)]
pub struct Cli {
    /// Configuration file [default: $FLAME_HOME/config.yaml or ~/.flame/config.yaml]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Address of the apiserver, such as http://127.0.0.1:10100
    #[arg(long, global = true, value_name = "URL", env = "FLAME_APISERVER", hide_env_values = true)]
    pub apiserver: Option<String>,
    /// Certificates (PEM) of who vouches for the apiserver over TLS [default: whom this machine trusts]
    #[arg(long, global = true, value_name = "PATH", env = "FLAME_CA")]
    pub ca: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Create a design, a schema, code, a dataset, a compute or a job
    #[command(subcommand)]
    Create(Create),
    /// Show designs, schemas, code, datasets, computes, jobs, tasks, agents, models, metrics, logs or events
    #[command(subcommand)]
    Get(Get),
    /// Change a design or a dataset, or give a design or a job another file
    #[command(subcommand)]
    Update(Update),
    /// Remove a design, a schema, code, a dataset, a compute or a job
    #[command(subcommand, visible_alias = "delete")]
    Remove(Remove),
    /// Show all about one job or task, in words
    #[command(subcommand)]
    Describe(Describe),
    /// Show what differs between two revisions
    #[command(subcommand)]
    Diff(Diff),
    /// Start a job
    #[command(subcommand)]
    Start(Start),
    /// Stop a job
    #[command(subcommand)]
    Stop(Stop),
    /// Follow a job until it has ended
    #[command(subcommand)]
    Watch(Watch),
    /// Wait without a word until a job has ended, or has got as far as is asked
    #[command(subcommand)]
    Wait(Wait),
    /// The newest log lines of a job's tasks; -f goes on until the job has ended
    Logs(get_logs::GetLogsArgs),
    /// What happened to a job and its tasks; -f goes on until the job has ended
    Events(get_events::GetEventsArgs),
    /// Apply an aggregation rule to safetensors files without a server
    Aggregate(aggregate::AggregateArgs),
    /// Look into a code file without a server: roles, imports, size, digest, and what would be refused
    Inspect(inspect::InspectArgs),
    /// Make a key to sign code with; prints its public half
    Keygen(keygen::KeygenArgs),
    /// Sign a code file without a server: participants may require it
    Sign(sign::SignArgs),
    /// Check without a server that somebody signed a code file
    Verify(verify::VerifyArgs),
    /// Print the completions of this command line for a shell
    Completions(completions::CompletionsArgs),
    /// Write manual pages into a folder
    Man(man::ManArgs),
}

/// What to create.
#[derive(Debug, Clone, Subcommand)]
pub enum Create {
    /// Create a design
    Design(create_design::CreateDesignArgs),
    /// Add a schema revision to a design
    Schema(create_schema::CreateSchemaArgs),
    /// Add a code revision to a design: a WebAssembly component, or a zip with one per role
    Code(create_code::CreateCodeArgs),
    /// Make a dataset known that the platform can work on; prints its id
    Dataset(create_dataset::CreateDatasetArgs),
    /// Register a place for system tasks
    Compute(create_compute::CreateComputeArgs),
    /// Make a bearer token for a user or an admin; prints it once
    Token(create_token::CreateTokenArgs),
    /// Create a job from a job file; prints its id
    Job(create_job::CreateJobArgs),
}

/// What to show.
#[derive(Debug, Clone, Subcommand)]
pub enum Get {
    /// All designs
    Designs(ListArgs),
    /// One design with its schema and code revisions
    Design(get_design::GetDesignArgs),
    /// A schema: as tables, as a file, or as a picture
    Schema(get_schema::GetSchemaArgs),
    /// The schema revisions of a design
    Schemas(DesignArgs),
    /// A design's code, component by component, with who signed it
    Code(get_code::GetCodeArgs),
    /// All datasets
    Datasets(ListArgs),
    /// One dataset
    Dataset(get_dataset::GetDatasetArgs),
    /// All computes
    Computes(ListArgs),
    /// One compute
    Compute(get_compute::GetComputeArgs),
    /// Bearer tokens: all for an admin, a user's own for a user
    Tokens(ListArgs),
    /// All agents: who serves which task, and when they were last seen
    Agents(ListArgs),
    /// All jobs
    Jobs(ListArgs),
    /// One job
    Job(JobArgs),
    /// A job's tasks; a failed one says why
    Tasks(JobArgs),
    /// One task of a job
    Task(get_task::GetTaskArgs),
    /// Save a model that a job published as a safetensors file
    Model(get_model::GetModelArgs),
    /// Models that a job published
    Models(JobArgs),
    /// A job's metrics by round
    Metrics(JobArgs),
    /// The newest log lines of a job's tasks
    Logs(get_logs::GetLogsArgs),
    /// What happened to a job and its tasks
    Events(get_events::GetEventsArgs),
}

/// What to change.
#[derive(Debug, Clone, Subcommand)]
pub enum Update {
    /// Change a design's description
    Design(update_design::UpdateDesignArgs),
    /// Add a schema revision to a design, as `create schema` does
    Schema(create_schema::CreateSchemaArgs),
    /// Add a code revision to a design, as `create code` does
    Code(create_code::CreateCodeArgs),
    /// Change fields of a dataset
    Dataset(update_dataset::UpdateDatasetArgs),
    /// Give a job that does not run another job file; its tasks are made anew
    Job(update_job::UpdateJobArgs),
}

/// What to remove.
#[derive(Debug, Clone, Subcommand)]
pub enum Remove {
    /// Remove a design with its schemas and code; refused while jobs use it
    Design(remove_design::RemoveDesignArgs),
    /// Remove a schema revision
    Schema(remove_revision::RemoveRevisionArgs),
    /// Remove a code revision
    Code(remove_revision::RemoveRevisionArgs),
    /// Remove a dataset
    Dataset(remove_dataset::RemoveDatasetArgs),
    /// Remove a compute
    Compute(remove_compute::RemoveComputeArgs),
    /// Revoke a bearer token
    Token(remove_token::RemoveTokenArgs),
    /// Remove a job that does not run, with all that it left
    Job(JobOnly),
}

/// What to tell all about.
#[derive(Debug, Clone, Subcommand)]
pub enum Describe {
    /// A job with its tasks, models and newest events
    Job(describe_job::DescribeJobArgs),
    /// A task with its channels, peers and newest log lines
    Task(describe_task::DescribeTaskArgs),
}

/// What to compare.
#[derive(Debug, Clone, Subcommand)]
pub enum Diff {
    /// Two schema revisions of a design, or one and a file
    Schema(diff_schema::DiffSchemaArgs),
}

/// What to start.
#[derive(Debug, Clone, Subcommand)]
pub enum Start {
    /// Start a job
    Job(JobOnly),
}

/// What to stop.
#[derive(Debug, Clone, Subcommand)]
pub enum Stop {
    /// Stop a job
    Job(JobOnly),
}

/// What to follow.
#[derive(Debug, Clone, Subcommand)]
pub enum Watch {
    /// Follow a job: a live line on a terminal, a line per change elsewhere. Status 0 if it completes, 1 if not
    Job(watch::WatchArgs),
}

/// What to wait for.
#[derive(Debug, Clone, Subcommand)]
pub enum Wait {
    /// Wait for a job. Status 0 if it gets there, 1 if it ends in another way, 4 if the time is up
    Job(wait::WaitArgs),
}

/// How a command shows its result.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct OutputArgs {
    /// How to print; json and yaml are the API's own types
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Format,
}
