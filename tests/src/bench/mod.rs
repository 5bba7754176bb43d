//! The benchmarks: every figure stands beside the machine's own limit, measured in the same run.
//!
//! They start real processes: one for each end, one for each broker. What a figure and its limit mean is in
//! `docs/benchmarks.md`. A new benchmark is a module with a `run`, and an entry in [`Bench`].

mod bare;
mod brokers;
mod channel;
mod control;
mod inproc;
mod ours;
mod peer;
mod process;
mod report;
mod round;
mod sandbox;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
ratio is value / limit, where limit is what the machine itself does, measured in the same run. Where a value is a
rate (MB/s, messages/s) a higher ratio is better; where it is a time or a size, a lower one. docs/benchmarks.md says
what each limit is.

Examples:
  cargo run --release -p flame-tests --bin bench -- channel --json
      All cases of the channels, one JSON object a line.
  cargo run --release -p flame-tests --bin bench -- channel --only mosquitto/unicast-100mb --cpu
      One case, and where its time goes.
  cargo build --release --bins && cargo run --release -p flame-tests --bin bench -- round --only mosquitto/25m
      Rounds of 25 M parameters; needs the programs beside it.";

/// Measures Flame beside the machine's own limits.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Channels beside a bare rumqttc client on the same broker, and hand-over in one process beside memcpy.
    Channel(channel::Args),
    /// Whole rounds of a job with four participants beside a bare client that moves as many bytes.
    Round(round::Args),
    /// What the sandbox costs: starting a guest, crossing its boundary, keeping it within limits.
    Sandbox(sandbox::Args),
    /// The control plane: large jobs, requests under load, ten thousand agents, a long history.
    Control(control::Args),
    /// One end, in a process of its own.
    #[command(hide = true)]
    Peer(peer::PeerArgs),
    /// The embedded broker, in a process of its own.
    #[command(hide = true)]
    Broker,
    /// The control plane, in a process of its own.
    #[command(hide = true)]
    ServeControl(control::ServeArgs),
}

/// What every benchmark is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// One JSON object a line: bench, case, value, unit, limit, ratio.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only cases whose name contains this; several with commas between them.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    /// Whether this case is to run.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| case.contains(part.as_str()))
    }

    /// Whether this part of case names was asked for by its name.
    pub(crate) fn names(&self, part: &str) -> bool {
        self.only.iter().any(|only| only.contains(part))
    }
}

/// The program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing; add --release");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match args.bench {
        Bench::Channel(args) => runtime.block_on(channel::run(&args)),
        Bench::Round(args) => round::run(&args),
        Bench::Sandbox(args) => runtime.block_on(sandbox::run(&args)),
        Bench::Control(args) => runtime.block_on(control::run(&args)),
        Bench::ServeControl(args) => runtime.block_on(control::serve(args)),
        Bench::Peer(args) => runtime.block_on(peer::run(args)),
        Bench::Broker => runtime.block_on(brokers::serve()),
    }
    ExitCode::SUCCESS
}
