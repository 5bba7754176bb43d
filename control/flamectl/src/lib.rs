//! The command line of Flame, as a library with a thin binary.
//!
//! Each command is one file in `commands`: arguments in, requests to the apiserver, results to the [`Printer`]. The
//! printer alone decides what goes to stdout (results) and what to stderr (words for people); [`Failure`] alone decides
//! the exit status. Nothing here decides anything about designs, jobs or tasks: the server does, and it checks again
//! what was checked here for a quicker answer.

mod cli;
mod code;
pub mod commands;
mod config;
mod documents;
mod draw;
mod failure;
mod files;
mod job_file;
mod keys;
mod printer;
mod refs;
mod schema_diff;
mod table;
mod text;

use std::time::Duration;

use flame_api::{Client, ClientError};

pub use cli::{Cli, Command, Create, Describe, Diff, Get, OutputArgs, Remove, Start, Stop, Update, Wait, Watch};
pub use failure::{Exit, Failure};
pub use printer::{Format, Printer};
pub use refs::{DatasetRef, JobRef, TaskRef};

/// What a command works with: a connection and a place for its output.
#[derive(Debug)]
pub struct Context {
    /// The apiserver.
    pub client: Client,
    /// Where results and words go.
    pub printer: Printer,
}

/// Pause before a creation is asked for once more.
const AGAIN: Duration = Duration::from_millis(300);

impl Context {
    /// Creates something. Where no answer comes, it is asked for once more under the same idempotency key, so that it is
    /// not made twice.
    pub(crate) async fn create<T>(&self, ask: impl AsyncFn(&Client) -> Result<T, ClientError>) -> Result<T, Failure> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)
            .map_err(|error| Failure::input(format!("no randomness: {error}"), "the system has to give some"))?;
        let client = self.client.with_idempotency_key(format!("{:032x}", u128::from_be_bytes(key)));
        let first = ask(&client).await;
        if !matches!(first, Err(ClientError::Unreachable { .. })) {
            return Ok(first?);
        }
        tokio::time::sleep(AGAIN).await;
        Ok(ask(&client).await?)
    }
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
    let settings = match config::Settings::resolve(cli.config.as_deref(), cli.apiserver.as_deref(), cli.ca.as_deref()) {
        Ok(settings) => settings,
        Err(failure) => return finish(Err(failure), None, &mut printer),
    };
    let client = match Client::trusting(&settings.endpoint, settings.token.clone(), &settings.trust) {
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
        Command::Completions(args) => Some(commands::completions::run(args, printer)),
        Command::Man(args) => Some(commands::man::run(args, printer)),
        Command::Create(Create::Job(args)) if args.dry_run => Some(commands::dry_run::run(args, printer)),
        Command::Get(Get::Schema(args)) if args.file.is_some() => {
            Some(commands::get_schema::run_offline(args, printer))
        }
        _ => None,
    }
}

/// Runs one command with a connection that the caller made. The failure is returned, not printed.
pub async fn execute(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Create(Create::Design(args)) => commands::create_design::run(args, context).await,
        Command::Create(Create::Schema(args)) => commands::create_schema::run(args, context).await,
        Command::Create(Create::Code(args)) => commands::create_code::run(args, context).await,
        Command::Create(Create::Dataset(args)) => commands::create_dataset::run(args, context).await,
        Command::Create(Create::Compute(args)) => commands::create_compute::run(args, context).await,
        Command::Create(Create::Job(args)) => commands::create_job::run(args, context).await,
        Command::Create(Create::Token(args)) => commands::create_token::run(args, context).await,
        Command::Get(Get::Tokens(args)) => commands::get_tokens::run(args, context).await,
        Command::Remove(Remove::Token(args)) => commands::remove_token::run(args, context).await,
        Command::Update(Update::Design(args)) => commands::update_design::run(args, context).await,
        Command::Update(Update::Schema(args)) => commands::create_schema::update(args, context).await,
        Command::Update(Update::Code(args)) => commands::create_code::update(args, context).await,
        Command::Update(Update::Dataset(args)) => commands::update_dataset::run(args, context).await,
        Command::Update(Update::Job(args)) => commands::update_job::run(args, context).await,
        Command::Remove(Remove::Design(args)) => commands::remove_design::run(args, context).await,
        Command::Remove(Remove::Schema(args)) => commands::remove_revision::schema(args, context).await,
        Command::Remove(Remove::Code(args)) => commands::remove_revision::code(args, context).await,
        Command::Remove(Remove::Dataset(args)) => commands::remove_dataset::run(args, context).await,
        Command::Remove(Remove::Compute(args)) => commands::remove_compute::run(args, context).await,
        Command::Remove(Remove::Job(args)) => commands::remove_job::run(args, context).await,
        Command::Get(Get::Datasets(args)) => commands::get_datasets::run(args, context).await,
        Command::Get(Get::Dataset(args)) => commands::get_dataset::run(args, context).await,
        Command::Get(Get::Computes(args)) => commands::get_computes::run(args, context).await,
        Command::Get(Get::Compute(args)) => commands::get_compute::run(args, context).await,
        Command::Get(Get::Agents(args)) => commands::get_agents::run(args, context).await,
        Command::Get(Get::Events(args)) | Command::Events(args) => commands::get_events::run(args, context).await,
        Command::Get(Get::Designs(args)) => commands::get_designs::run(args, context).await,
        Command::Get(Get::Design(args)) => commands::get_design::run(args, context).await,
        Command::Get(Get::Code(args)) => commands::get_code::run(args, context).await,
        Command::Get(Get::Schema(args)) => commands::get_schema::run(args, context).await,
        Command::Get(Get::Schemas(args)) => commands::get_schemas::run(args, context).await,
        Command::Diff(Diff::Schema(args)) => commands::diff_schema::run(args, context).await,
        Command::Get(Get::Jobs(args)) => commands::get_jobs::run(args, context).await,
        Command::Get(Get::Job(args)) => commands::get_job::run(args, context).await,
        Command::Get(Get::Tasks(args)) => commands::get_tasks::run(args, context).await,
        Command::Get(Get::Model(args)) => commands::get_model::run(args, context).await,
        Command::Get(Get::Models(args)) => commands::get_models::run(args, context).await,
        Command::Get(Get::Metrics(args)) => commands::get_metrics::run(args, context).await,
        Command::Get(Get::Logs(args)) | Command::Logs(args) => commands::get_logs::run(args, context).await,
        Command::Get(Get::Task(args)) => commands::get_task::run(args, context).await,
        Command::Describe(Describe::Job(args)) => commands::describe_job::run(args, context).await,
        Command::Describe(Describe::Task(args)) => commands::describe_task::run(args, context).await,
        Command::Start(Start::Job(args)) => commands::start_job::run(args, context).await,
        Command::Stop(Stop::Job(args)) => commands::stop_job::run(args, context).await,
        Command::Wait(Wait::Job(args)) => commands::wait::run(args, context).await,
        Command::Completions(args) => commands::completions::run(&args, &mut context.printer),
        Command::Man(args) => commands::man::run(&args, &mut context.printer),
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
