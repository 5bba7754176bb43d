//! `fiab`: flame in a box.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Chunks of 256 KiB come and go all the time: the system's allocator would map and unmap each, page fault by page fault.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flame_sandbox::compile_if_asked().unwrap_or_else(run)
}

fn run() -> ExitCode {
    let args = fiab::Args::parse();
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(fiab::run(args)).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    });
    // Threads that still say goodbye somewhere do not hold the prompt back.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}
