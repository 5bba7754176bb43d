//! The benchmarks: every figure stands beside the machine's own limit, measured in the same run.
//!
//! `channel` and `round` start real processes: one for each end, one for each broker. What a figure and its limit mean is
//! in `docs/benchmarks.md`.

mod bare;
mod brokers;
mod channel;
mod ours;
mod peer;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Flame beside the machine's own limits. One line a case; `ratio` is value / limit.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    after_help = "Run it in release: cargo run --release -p flame-tests --bin bench -- channel --json"
)]
struct Args {
    #[command(subcommand)]
    bench: Bench,
}

/// What every benchmark is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// One JSON object a line: bench, case, value, unit, limit, ratio.
    #[arg(long)]
    json: bool,
    /// Only cases whose name contains this text.
    #[arg(long, default_value = "")]
    only: String,
    /// Repetitions of each case; the median counts.
    #[arg(long, default_value_t = 7)]
    repeat: usize,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Channels beside a bare rumqttc client on the same broker, and beside memcpy.
    Channel(Options),
    /// One end of `channel`, in a process of its own.
    #[command(hide = true)]
    Peer(peer::PeerArgs),
    /// The embedded broker, in a process of its own.
    #[command(hide = true)]
    Broker,
}

/// The program.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match Args::parse().bench {
        Bench::Channel(options) => runtime.block_on(channel::run(&options)),
        Bench::Peer(args) => runtime.block_on(peer::run(args)),
        Bench::Broker => runtime.block_on(brokers::serve()),
    }
    ExitCode::SUCCESS
}
