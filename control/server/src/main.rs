//! `flame-control`: the control plane as a program.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use flame_control::args::{Args, LogFormat, flame_home};
use flame_control::{CliConfig, Server, write_cli_config};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Time to end in good order after a signal.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flame-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args) -> anyhow::Result<()> {
    start_logging(args)?;
    let config = args.server_config()?;
    let server = Server::start(config).await?;
    introduce_to_flamectl(&server);
    say_addresses(&server);
    wait_for_signal().await?;
    tracing::info!("stopping");
    tokio::time::timeout(DRAIN_WITHIN, server.shutdown())
        .await
        .with_context(|| format!("it did not end within {} s and was cut", DRAIN_WITHIN.as_secs()))
}

fn start_logging(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("--log `{}` is no filter; use one such as info or debug", args.log))?;
    let colours = std::io::stderr().is_terminal();
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match args.log_format {
        LogFormat::Text => logging.init(),
        LogFormat::Json => logging.json().init(),
    }
    Ok(())
}

/// Whatever goes wrong here, the server works; flamectl then needs to be told.
fn introduce_to_flamectl(server: &Server) {
    let Some(home) = flame_home() else { return };
    match write_cli_config(&home, &endpoint(server.api_addr()), server.token()) {
        Ok(CliConfig::Written(path)) => tracing::info!("flamectl finds this server by {}", path.display()),
        Ok(CliConfig::LeftAlone { path, endpoint }) => {
            tracing::warn!(
                "{} leads flamectl to {endpoint} and was left alone; use FLAME_TOKEN and --apiserver",
                path.display()
            );
        }
        Err(error) => tracing::warn!("{error}"),
    }
}

fn endpoint(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

fn say_addresses(server: &Server) {
    println!("apiserver  http://{}", server.api_addr());
    println!("notifier   {}", server.notifier_addr());
    println!("broker     {}", server.broker_url());
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome.context("cannot listen to SIGINT"),
        _ = terminate.recv() => Ok(()),
    }
}
