//! The command line of `fiab`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use flamelet::DataArg;

/// Flame in a box: all of Flame in one process, for one machine.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  fiab demo                            train MNIST with four participants, here and now
  fiab demo --participants 10 --partition dirichlet:0.5 --rounds 20
  fiab up                              run the control plane and its broker until Ctrl-C
  fiab up --values values.yaml         the same with another broker"
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log, such as `info` or `flame_control=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "FLAME_LOG", default_value = "warn,rumqttd=off")]
    pub log: String,
}

/// What fiab can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs apiserver, notifier, controller and broker until Ctrl-C; system tasks run in this process.
    Up(UpArgs),
    /// Trains the MNIST example with participants in this process and shows every round.
    Demo(DemoArgs),
}

/// `fiab up`.
#[derive(Debug, Clone, clap::Args)]
pub struct UpArgs {
    /// A values file: `broker: {sort: mqtt, host: broker.example.org}`.
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,
    /// Folder for everything that is kept [default: $FLAME_HOME/fiab, or ~/.flame/fiab].
    #[arg(long, value_name = "DIR", env = "FIAB_HOME")]
    pub home: Option<PathBuf>,
    /// Address to listen on. Anything but loopback lets other machines in.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port of the apiserver; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = flame_api::API_PORT)]
    pub api_port: u16,
    /// Port of the notifier; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = flame_api::NOTIFIER_PORT)]
    pub notifier_port: u16,
    /// Port of the embedded broker; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = flame_api::BROKER_PORT)]
    pub broker_port: u16,
    /// Grants the data set at PATH to system tasks under NAME, such as an aggregator's `evaluationData`. Repeatable.
    #[arg(long, value_name = "NAME=PATH")]
    pub data: Vec<DataArg>,
}

/// `fiab demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Participants, each with its own part of the training data.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub participants: u32,
    /// Rounds of federated averaging.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// How the digits are spread: `iid`, or `dirichlet:ALPHA` for label skew (smaller is more skewed).
    #[arg(long, value_name = "HOW", default_value = "iid")]
    pub partition: Partition,
    /// Seed of everything random: with the same seed the same model comes out, to the bit.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Learning rate of the participants' SGD.
    #[arg(long, value_name = "F", default_value_t = 0.2)]
    pub learning_rate: f64,
    /// Digits in a minibatch.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    pub batch_size: u32,
    /// Passes over a participant's data in a round.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub local_epochs: u32,
    /// Prints one JSON object in the end and nothing else on stdout.
    #[arg(long)]
    pub json: bool,
    /// Folder of the example [default: examples/mnist-wasm of this checkout].
    #[arg(long, value_name = "DIR")]
    pub example: Option<PathBuf>,
    /// A component that is built already, instead of building the example's.
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,
    /// Folder for what the demo leaves behind, emptied at its start [default: $FLAME_HOME/demo, or ~/.flame/demo].
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
}

/// How the training data is spread over the participants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Partition {
    /// Shuffled and cut into equal parts.
    Iid,
    /// For each label, shares drawn from a symmetric Dirichlet distribution with this concentration (Hsu et al. 2019).
    Dirichlet(f64),
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "iid" {
            return Ok(Self::Iid);
        }
        let alpha = text.strip_prefix("dirichlet:").and_then(|alpha| alpha.parse().ok());
        match alpha {
            Some(alpha) if (0.01..=1_000.0).contains(&alpha) => Ok(Self::Dirichlet(alpha)),
            _ => Err("a partition is `iid` or `dirichlet:ALPHA` with ALPHA from 0.01 to 1000".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_partition_is_named_or_refused() {
        assert_eq!("iid".parse(), Ok(Partition::Iid));
        assert_eq!("dirichlet:0.5".parse(), Ok(Partition::Dirichlet(0.5)));
        for wrong in ["", "dirichlet", "dirichlet:0", "dirichlet:x", "dirichlet:NaN"] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }
}
