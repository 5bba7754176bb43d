//! The command line of Flame, as a library with a thin binary.
//!
//! Each command is one file in `commands`: arguments in, requests to the apiserver, results to the [`Printer`]. The
//! printer alone decides what goes to stdout (results) and what to stderr (words for people); [`Failure`] alone decides
//! the exit status. Nothing here decides anything about designs, jobs or tasks: the server does, and it checks again
//! what was checked here for a quicker answer.

mod cli;
mod code;
mod commands;
mod config;
mod failure;
mod files;
mod job_ref;
mod keys;
mod printer;
mod table;
mod text;

use flame_api::Client;

pub use cli::{Cli, Command, Create, Get, OutputArgs, Start, Stop, Watch};
pub use commands::{
    JobArgs, ListArgs, aggregate::AggregateArgs, create_code::CreateCodeArgs, create_design::CreateDesignArgs,
    create_job::CreateJobArgs, create_schema::CreateSchemaArgs, get_code::GetCodeArgs, get_design::GetDesignArgs,
    get_model::GetModelArgs, inspect::InspectArgs, keygen::KeygenArgs, sign::SignArgs, verify::VerifyArgs,
    watch::WatchArgs,
};
pub use failure::{Exit, Failure};
pub use job_ref::JobRef;
pub use printer::{Format, Printer};

/// What a command works with: a connection and a place for its output.
#[derive(Debug)]
pub struct Context {
    /// The apiserver.
    pub client: Client,
    /// Where results and words go.
    pub printer: Printer,
}

/// Runs a command line against stdout and stderr, reports a failure there, and says how the process should end.
pub async fn run(cli: Cli) -> Exit {
    run_with(cli, Printer::stdio()).await
}

/// The same with the output going to `printer`, for callers within a process.
pub async fn run_with(cli: Cli, mut printer: Printer) -> Exit {
    // What is about files alone needs neither a server nor the configuration of one.
    if let Some(result) = execute_offline(&cli.command, &mut printer) {
        return finish(result, None, &mut printer);
    }
    let settings = match config::Settings::resolve(cli.config.as_deref(), cli.apiserver.as_deref()) {
        Ok(settings) => settings,
        Err(failure) => return finish(Err(failure), None, &mut printer),
    };
    let client = match Client::new(&settings.endpoint, settings.token.clone()) {
        Ok(client) => client,
        Err(error) => return finish(Err(error.into()), Some(&settings), &mut printer),
    };
    let mut context = Context { client, printer };
    let result = execute(cli.command, &mut context).await;
    finish(result, Some(&settings), &mut context.printer)
}

/// Runs a command that needs no server; `None` is one that does.
fn execute_offline(command: &Command, printer: &mut Printer) -> Option<Result<(), Failure>> {
    match command {
        Command::Aggregate(args) => Some(commands::aggregate::run(args, printer)),
        Command::Inspect(args) => Some(commands::inspect::run(args, printer)),
        Command::Keygen(args) => Some(commands::keygen::run(args, printer)),
        Command::Sign(args) => Some(commands::sign::run(args, printer)),
        Command::Verify(args) => Some(commands::verify::run(args, printer)),
        Command::Create(_) | Command::Get(_) | Command::Start(_) | Command::Stop(_) | Command::Watch(_) => None,
    }
}

/// Runs one command with a connection that the caller made. The failure is returned, not printed.
pub async fn execute(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Create(Create::Design(args)) => commands::create_design::run(args, context).await,
        Command::Create(Create::Schema(args)) => commands::create_schema::run(args, context).await,
        Command::Create(Create::Code(args)) => commands::create_code::run(args, context).await,
        Command::Create(Create::Job(args)) => commands::create_job::run(args, context).await,
        Command::Get(Get::Designs(args)) => commands::get_designs::run(args, context).await,
        Command::Get(Get::Design(args)) => commands::get_design::run(args, context).await,
        Command::Get(Get::Code(args)) => commands::get_code::run(args, context).await,
        Command::Get(Get::Jobs(args)) => commands::get_jobs::run(args, context).await,
        Command::Get(Get::Job(args)) => commands::get_job::run(args, context).await,
        Command::Get(Get::Tasks(args)) => commands::get_tasks::run(args, context).await,
        Command::Get(Get::Model(args)) => commands::get_model::run(args, context).await,
        Command::Get(Get::Models(args)) => commands::get_models::run(args, context).await,
        Command::Get(Get::Metrics(args)) => commands::get_metrics::run(args, context).await,
        Command::Get(Get::Logs(args)) => commands::get_logs::run(args, context).await,
        Command::Start(Start::Job { job }) => commands::start_job::run(&job, context).await,
        Command::Stop(Stop::Job { job }) => commands::stop_job::run(&job, context).await,
        Command::Watch(Watch::Job(args)) => commands::watch::run(args, context).await,
        Command::Aggregate(args) => commands::aggregate::run(&args, &mut context.printer),
        Command::Inspect(args) => commands::inspect::run(&args, &mut context.printer),
        Command::Keygen(args) => commands::keygen::run(&args, &mut context.printer),
        Command::Sign(args) => commands::sign::run(&args, &mut context.printer),
        Command::Verify(args) => commands::verify::run(&args, &mut context.printer),
    }
}

fn finish(result: Result<(), Failure>, settings: Option<&config::Settings>, printer: &mut Printer) -> Exit {
    match result {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            let hint = settings.and_then(|settings| settings.hint_for(&failure));
            printer.failure(&failure, hint);
            failure.exit()
        }
    }
}
