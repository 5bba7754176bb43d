//! The command line: serve a task, or look at what serving one means.

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::args::default_audit_log;
use crate::audit::{self, ShowOptions};
use crate::{Args, Policy};

/// Serves one task of a Flame job: runs its code in a sandbox beside your data.
///
/// The task is named by FLAME_AGENT_ID, which `flamectl get tasks JOB` shows. FLAME_AGENT_KEY is any text that you
/// choose; use the same one to rejoin the task after a crash or on another machine.
#[derive(Debug, Parser)]
#[command(
    name = "flamelet",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  FLAME_AGENT_ID=18d2671fbf597f2200fd4a01f4dfc7878fce5ca9 FLAME_AGENT_KEY=my-own-key \\
    flamelet -a http://127.0.0.1:10100 -n 127.0.0.1:10101 --data mnist=examples/mnist-wasm/data/train
  flamelet -a https://flame.example:10100 -n flame.example:10101 --ca ca.pem --agents agents.txt --data mnist=data/train
                                                                # over TLS, and one task for each line `ID KEY`
  … flamelet --policy policy.toml --data mnist=data/train       # under your own terms
  … flamelet check --policy policy.toml --data mnist=data/train # what the task would get, without running it
  flamelet audit show                                           # what ran here, and what left

Exit status: 0 the task completed, 1 it failed, 2 it was terminated, 64 wrong usage; with --agents, of the worst."
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What it takes to serve.
    #[command(flatten)]
    pub serve: Args,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints what the task would get under the policy, and whether it would run. Runs nothing.
    Check {
        /// As for serving.
        #[command(flatten)]
        serve: Box<Args>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The record of what ran here and of everything that left.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

/// What to do with an audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Checks that no entry was changed, left out or moved, and prints the head. Exit status 1 if one was.
    Verify {
        /// The log [default: $FLAME_HOME/audit.log, or ~/.flame/audit.log].
        file: Option<PathBuf>,
        /// A head that was noted earlier, which the log has to contain still.
        #[arg(long, value_name = "HEX")]
        head: Option<String>,
    },
    /// Prints the entries.
    Show {
        /// The log [default: $FLAME_HOME/audit.log, or ~/.flame/audit.log].
        file: Option<PathBuf>,
        /// Only those of tasks whose id begins with this.
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Says whether a policy file is understood.
    Verify {
        /// The file.
        file: PathBuf,
    },
    /// Prints the JSON schema of policy files, for editors.
    Schema,
}

impl AuditCommand {
    /// Does it.
    pub fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self {
            Self::Verify { file, head } => {
                let seen = audit::verify(&file.unwrap_or_else(default_audit_log), head.as_deref())?;
                writeln!(out, "{} entries, each follows from those before it", seen.entries)?;
                writeln!(out, "head {}", seen.head)?;
                if seen.unfinished {
                    writeln!(out, "an unfinished line follows: a flamelet is writing it, or died while it did")?;
                }
                Ok(())
            }
            Self::Show { file, task, json } => {
                Ok(audit::show(&file.unwrap_or_else(default_audit_log), &ShowOptions { task, json }, out)?)
            }
        }
    }
}

impl PolicyCommand {
    /// Does it.
    pub fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self {
            Self::Verify { file } => {
                Policy::load(&file)?;
                writeln!(out, "{} is understood", file.display())?;
            }
            Self::Schema => writeln!(out, "{:#}", Policy::json_schema())?,
        }
        Ok(())
    }
}
