//! `flame-control`: the control plane as a program.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use flame_control::args::{Args, Command, LogFormat, flame_home};
use flame_control::{CliConfig, EndSignals, Server, write_cli_config};
use tracing_subscriber::EnvFilter;

/// Ten thousand sessions come and go: the system's allocator keeps much of what they had.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time to end in good order after a signal.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("flame-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    start_logging(args)?;
    if let Some(Command::Db(command)) = &args.command {
        return Ok(command.run(&args.home()?, &mut std::io::stdout().lock()).await?);
    }
    allow_many_files();
    let config = args.server_config()?;
    // Before it says where it is: whoever reads that may end it at once.
    let mut end = EndSignals::listen().context("cannot listen to signals")?;
    let server = Server::start(config).await?;
    introduce_to_flamectl(&server);
    say_addresses(args, &server);
    end.wait().await;
    tracing::info!("stopping");
    tokio::time::timeout(DRAIN_WITHIN, server.shutdown())
        .await
        .with_context(|| format!("it did not end within {} s and was cut", DRAIN_WITHIN.as_secs()))?;
    Ok(ExitCode::SUCCESS)
}

/// Every session is a file, and the usual soft limit is 1,024.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files cannot be raised ({error}): agents beyond it are turned away");
    }
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
    match write_cli_config(&home, &server.endpoint(), server.token(), server.ca()) {
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

fn say_addresses(args: &Args, server: &Server) {
    let scheme = if server.is_tls() { "https" } else { "http" };
    println!("apiserver  {scheme}://{}", server.api_addr());
    println!("notifier   {}", server.notifier_addr());
    println!("broker     {}", server.broker_url());
    match server.ca() {
        Some(ca) => println!("CA         {}   (clients name it by --ca, FLAME_CA)", ca.display()),
        None if server.is_tls() => {}
        None if args.listen.is_loopback() => eprintln!("no TLS: this machine alone can reach it"),
        None => eprintln!(
            "INSECURE: no TLS, and other machines can reach it: tokens and keys cross the network in the clear"
        ),
    }
}
