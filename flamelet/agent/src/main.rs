//! `flamelet`: serves one task of a Flame job beside the participant's data.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use flame_api::AgentId;
use flame_sandbox::{Compiler, Sandbox, SandboxConfig};
use flamelet::{AgentError, Args, Cli, Command, Outcome};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Chunks of 256 KiB come and go all the time: the system's allocator would map and unmap each, page fault by page fault.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flame_sandbox::compile_if_asked().unwrap_or_else(run)
}

#[tokio::main]
async fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // 1 and 2 tell how a task ended.
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let done = match cli.command {
        None => serve(&cli.serve).await,
        Some(Command::Check { serve, json }) => check(&serve, json).await,
        Some(Command::Audit(command)) => command.run(&mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
        Some(Command::Policy(command)) => command.run(&mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(1)
    })
}

/// Says how the task ended.
fn told(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Completed => ExitCode::SUCCESS,
        Outcome::Failed(reason) => {
            eprintln!("error: the task failed: {reason}");
            ExitCode::from(1)
        }
        Outcome::Terminated => {
            eprintln!("the task was terminated");
            ExitCode::from(2)
        }
    }
}

async fn check(args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    log_to_stderr(&args.log)?;
    let runs = flamelet::check(&args.config()?, json, &mut std::io::stdout()).await?;
    Ok(ExitCode::from(u8::from(!runs)))
}

fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr).init();
    Ok(())
}

async fn serve(args: &Args) -> anyhow::Result<ExitCode> {
    log_to_stderr(&args.log)?;
    let mut configs = args.configs()?;
    let sandbox = Arc::new(Sandbox::new(&SandboxConfig {
        cache: Some(args.cache_folder()),
        compiler: Compiler::this_program(),
        ..SandboxConfig::default()
    })?);
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            if stop_signal().await.is_ok() {
                shutdown.cancel();
            }
        }
    });
    match (args.agents.is_some(), configs.pop()) {
        (false, Some(only)) => Ok(told(flamelet::run(only, sandbox, shutdown).await?)),
        (_, last) => {
            configs.extend(last);
            Ok(told_all(flamelet::run_all(configs, &sandbox, &shutdown).await))
        }
    }
}

/// One line for each task. The exit status is of the worst: failed, then terminated, then completed.
fn told_all(ends: Vec<(AgentId, Result<Outcome, AgentError>)>) -> ExitCode {
    let mut worst = 0;
    for (id, end) in ends {
        let (status, text) = match end {
            Ok(Outcome::Completed) => (0, "completed".to_owned()),
            Ok(Outcome::Terminated) => (2, "terminated".to_owned()),
            Ok(Outcome::Failed(reason)) => (1, format!("failed: {reason}")),
            Err(error) => (1, format!("failed: {error}")),
        };
        println!("{id} {text}");
        worst = match (worst, status) {
            (1, _) | (_, 1) => 1,
            (worst, status) => worst.max(status),
        };
    }
    ExitCode::from(worst)
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
