//! Flame in a box: the whole of Flame in one process, for one machine.
//!
//! The only room that knows both the control plane and the agent: it gives the control plane a deployer that runs system
//! tasks in this process, and `demo` adds participants that do as well. Everything still goes over the public edges: REST,
//! the notifier's session and the broker.

mod args;
mod demo;
mod deployer;
mod home;
mod up;
mod values;

pub use args::{Args, Command, DemoArgs, Partition, UpArgs};
pub use demo::DemoSummary;
pub use deployer::InProcessDeployer;

/// Runs the command; the result is the exit status.
pub async fn run(args: Args) -> anyhow::Result<std::process::ExitCode> {
    match args.command {
        Command::Up(up) => up::run(up).await,
        Command::Demo(demo) => demo::run(demo).await,
    }
}
