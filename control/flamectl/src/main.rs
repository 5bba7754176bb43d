//! The binary: parses, runs, says how it went. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    flamectl::run(flamectl::Cli::parse()).await.into()
}
