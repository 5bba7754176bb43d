//! The command line's grammar and help. Must hold no logic.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    JobArgs, ListArgs, aggregate::AggregateArgs, create_code::CreateCodeArgs, create_design::CreateDesignArgs,
    create_job::CreateJobArgs, create_schema::CreateSchemaArgs, get_code::GetCodeArgs, get_design::GetDesignArgs,
    get_model::GetModelArgs, inspect::InspectArgs, keygen::KeygenArgs, sign::SignArgs, verify::VerifyArgs,
    watch::WatchArgs,
};
use crate::{Format, JobRef};

const AFTER_HELP: &str = "\
Examples:
  flamectl create design mnist -d \"mnist example\"
  flamectl create schema schema.json --design mnist
  flamectl create code mnist.wasm --design mnist
  flamectl create job job.json
  flamectl get tasks 624888fda8001d773e34de43
  flamectl start job 6248                          (an id may be cut to what is unique)
  flamectl watch job 6248
  flamectl get model 6248 -o model.safetensors
  flamectl get jobs -o json
  flamectl aggregate a.safetensors:120 b.safetensors:80 -o global.safetensors
  flamectl inspect mnist.wasm
  flamectl keygen -o hospital.key && flamectl sign mnist.wasm --key hospital.key

Configuration:
  Of two values, the flag wins over the environment, and the environment over the file.
  apiserver   --apiserver URL, FLAME_APISERVER, `apiserver: {endpoint: URL}`;
              else http://127.0.0.1:10100
  token       FLAME_TOKEN, `token: …`
  the file    --config PATH, else $FLAME_HOME/config.yaml, else ~/.flame/config.yaml;
              only a file named by --config has to exist

Exit status:
  0  done
  1  the server refused, the job that was watched failed or was terminated, or `aggregate` refused an update
  2  the command line, the configuration or a local file is wrong; `inspect`: the code would be refused;
     `verify`: none of the signers signed it
  3  the server cannot be reached";

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
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Create a design, a schema, code or a job
    #[command(subcommand)]
    Create(Create),
    /// Show designs, jobs, tasks, models, metrics or logs
    #[command(subcommand)]
    Get(Get),
    /// Start a job
    #[command(subcommand)]
    Start(Start),
    /// Stop a job
    #[command(subcommand)]
    Stop(Stop),
    /// Follow a job until it has ended
    #[command(subcommand)]
    Watch(Watch),
    /// Apply an aggregation rule to safetensors files without a server
    Aggregate(AggregateArgs),
    /// Look into a code file without a server: roles, imports, size, digest, and what would be refused
    Inspect(InspectArgs),
    /// Make a key to sign code with; prints its public half
    Keygen(KeygenArgs),
    /// Sign a code file without a server: participants may require it
    Sign(SignArgs),
    /// Check without a server that somebody signed a code file
    Verify(VerifyArgs),
}

/// What to create.
#[derive(Debug, Clone, Subcommand)]
pub enum Create {
    /// Create a design
    Design(CreateDesignArgs),
    /// Add a schema revision to a design
    Schema(CreateSchemaArgs),
    /// Add a code revision to a design: a WebAssembly component, or a zip with one per role
    Code(CreateCodeArgs),
    /// Create a job from a job file; prints its id
    Job(CreateJobArgs),
}

/// What to show.
#[derive(Debug, Clone, Subcommand)]
pub enum Get {
    /// All designs
    Designs(ListArgs),
    /// One design with its schema and code revisions
    Design(GetDesignArgs),
    /// A design's code, component by component, with who signed it
    Code(GetCodeArgs),
    /// All jobs
    Jobs(ListArgs),
    /// One job
    Job(JobArgs),
    /// A job's tasks; a failed one says why
    Tasks(JobArgs),
    /// Save a model that a job published as a safetensors file
    Model(GetModelArgs),
    /// Models that a job published
    Models(JobArgs),
    /// A job's metrics by round
    Metrics(JobArgs),
    /// The newest log lines of a job's tasks
    Logs(JobArgs),
}

/// What to start.
#[derive(Debug, Clone, Subcommand)]
pub enum Start {
    /// Start a job
    Job {
        /// Job id, or a beginning of it that is unique
        #[arg(value_name = "JOB")]
        job: JobRef,
    },
}

/// What to stop.
#[derive(Debug, Clone, Subcommand)]
pub enum Stop {
    /// Stop a job
    Job {
        /// Job id, or a beginning of it that is unique
        #[arg(value_name = "JOB")]
        job: JobRef,
    },
}

/// What to follow.
#[derive(Debug, Clone, Subcommand)]
pub enum Watch {
    /// Follow a job: a live line on a terminal, a line per change elsewhere. Status 0 if it completes, 1 if not
    Job(WatchArgs),
}

/// How a `get` command shows its result.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct OutputArgs {
    /// How to print; json and yaml are the API's own types
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Format,
}
