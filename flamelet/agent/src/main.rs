//! `flamelet`: serves one task of a Flame job beside the participant's data.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use flame_sandbox::{Sandbox, SandboxConfig};
use flamelet::{Args, Outcome};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Chunks of 256 KiB come and go all the time: the system's allocator would map and unmap each, page fault by page fault.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            // 1 and 2 tell how a task ended.
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match serve(&args).await {
        Ok(Outcome::Completed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed(reason)) => {
            eprintln!("error: the task failed: {reason}");
            ExitCode::from(1)
        }
        Ok(Outcome::Terminated) => {
            eprintln!("the task was terminated");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn serve(args: &Args) -> anyhow::Result<Outcome> {
    let filter = EnvFilter::try_new(&args.log)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = args.config()?;
    let sandbox = Arc::new(Sandbox::new(&SandboxConfig { cache: Some(args.cache_folder()) })?);
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            if stop_signal().await.is_ok() {
                shutdown.cancel();
            }
        }
    });
    Ok(flamelet::run(config, sandbox, shutdown).await?)
}

/// Waits for SIGINT or SIGTERM.
async fn stop_signal() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
