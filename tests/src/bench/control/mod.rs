//! The control plane alone, in a process of its own: large jobs, requests under load, ten thousand agents, a long history.
//!
//! What a goal is for, and what each case does, is in `docs/benchmarks.md`. Nothing runs in a sandbox here: agents are
//! sessions that a load generator in this process holds.

mod agents;
mod history;
mod load;
mod server;

use std::time::Duration;

use flame_api::{Client, CreateDesign, JobId};

use super::report::{Case, Goal, Report, quantile};
use agents::Crowd;
use server::Process;
pub(super) use server::{ServeArgs, serve};

/// Tasks of the large job, and sessions.
const AGENTS: u32 = 10_000;
/// Jobs that a server starts with.
const HISTORY: usize = 10_000;
/// MB of the server: 500 MiB.
const MEMORY: f64 = 524.288;
/// Requests a second.
const RATE: u32 = 1_000;

/// `bench control`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: super::Options,
    /// Agents, tasks of the large job.
    #[arg(long, value_name = "N", default_value_t = AGENTS)]
    agents: u32,
    /// Seconds of load.
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
}

pub(super) async fn run(args: &Args) {
    let report = Report::begin("control", args.options.json);
    if args.options.wants("start-up") {
        start_up(&report).await;
    }
    let large = ["create", "get", "list", "sessions", "event"];
    if large.iter().any(|case| args.options.wants(case)) {
        sessions(args, &report).await;
    }
}

/// Time from the start of the process until it answers, with a history in its store.
async fn start_up(report: &Report) {
    let home = tempfile::tempdir().expect("a folder");
    let mut server = Process::start(home.path());
    let client = server.client(home.path());
    let job = create_job(&client, 2).await;
    server.stop();
    history::multiply(&home.path().join("store"), &job, HISTORY);
    let mut times = Vec::new();
    let mut memory = 0.0;
    for _ in 0..3 {
        let mut server = Process::start(home.path());
        times.push(server.started_in.as_secs_f64());
        memory = server.memory();
        let jobs = server.client(home.path()).jobs().await.expect("the server lists");
        assert!(!jobs.is_empty());
        server.stop();
    }
    let value = super::report::median(&times);
    case(report, "start-up-with-10000-jobs", value, "s", None, 1.0);
    case(report, "start-up-memory", memory, "MB", None, MEMORY);
}

async fn sessions(args: &Args, report: &Report) {
    let home = tempfile::tempdir().expect("a folder");
    let mut server = Process::start(home.path());
    let client = server.client(home.path());
    create_job(&client, 1).await;

    let began = std::time::Instant::now();
    let job = create_job(&client, args.agents).await;
    let took = began.elapsed().as_secs_f64();
    let limit = load::write_durably(home.path(), u64::from(args.agents) * 1_000);
    case(report, "create-10000-tasks", took, "s", Some(limit), 1.0);

    plain(report, "memory-before-sessions", server.memory(), "MB");
    let ids = client.tasks(&job).await.expect("the server lists tasks");
    let began = std::time::Instant::now();
    let crowd = Crowd::open(server.notifier, ids.into_iter().map(|task| task.agent).collect()).await;
    let opened = began.elapsed();
    eprintln!("{} first joins in {:.1} s", args.agents, opened.as_secs_f64());
    plain(report, "sessions-first-joins", f64::from(args.agents) / opened.as_secs_f64(), "sessions/s");

    let base = client.base().to_owned();
    let token = Process::token(home.path());
    for (name, path) in [("get-p99", format!("/v1/jobs/{job}")), ("list-p99", "/v1/jobs?limit=50".to_owned())] {
        if args.options.wants(name) {
            let times = load::requests(&base, &path, &token, RATE, Duration::from_secs(args.seconds)).await;
            eprintln!("{name}: p50 {:.2} ms, p99 {:.2} ms", quantile(&times, 0.5) * 1e3, quantile(&times, 0.99) * 1e3);
            case(report, name, quantile(&times, 0.99) * 1e3, "ms", None, 10.0);
        }
    }
    case(report, "sessions-memory", server.memory(), "MB", None, MEMORY);

    let began = std::time::Instant::now();
    client.start(&job).await.expect("the job starts");
    crowd.all_started().await;
    case(report, "event-to-10000-agents", began.elapsed().as_secs_f64(), "s", None, 1.0);
    let began = std::time::Instant::now();
    client.stop(&job).await.expect("the job stops");
    crowd.all_stopped().await;
    case(report, "event-stop-to-10000-agents", began.elapsed().as_secs_f64(), "s", None, 1.0);
    case(report, "sessions-memory-peak", server.peak(), "MB", None, MEMORY);
    drop(crowd);
    server.stop();
}

/// A job in which everybody talks to everybody: participants alone, so that nothing has to be placed.
async fn create_job(client: &Client, tasks: u32) -> JobId {
    let schema = r#"{"name": "ring", "roles": [{"name": "trainer", "isDataConsumer": true}],
        "channels": [{"name": "ring", "pair": ["trainer", "trainer"], "groupBy": {"type": "tag", "value": ["default"]},
                      "funcTags": {"trainer": ["ring"]}}]}"#;
    let design = CreateDesign { id: "bench".parse().expect("a name"), description: String::new() };
    if client.design(&design.id).await.is_err() {
        client.create_design(&design).await.expect("a design");
        client.create_schema(&design.id, "schema.json", schema.to_owned()).await.expect("a schema");
        client.create_code(&design.id, server::component("trainer")).await.expect("code");
    }
    let job = format!(
        r#"{{"designId": "bench", "name": "n{tasks}", "backend": "mqtt", "dataSpec": {{"fromUser": {{"default": {tasks}}}}}}}"#
    );
    client.create_job("job.json", job).await.expect("a job").id
}

fn case(report: &Report, name: &str, value: f64, unit: &'static str, limit: Option<f64>, goal: f64) {
    report.case(&Case { name: name.to_owned(), value, unit, limit, goal: Some(Goal::ValueAtMost(goal)) });
}

fn plain(report: &Report, name: &str, value: f64, unit: &'static str) {
    report.case(&Case { name: name.to_owned(), value, unit, limit: None, goal: None });
}
