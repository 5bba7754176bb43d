//! `fiab demo`: MNIST with participants in this process, from nothing to a trained model.

mod build;
mod job;
mod partition;
mod rounds;
mod summary;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use flame_api::{AgentId, Client, JobId, JobState, Secret, TaskKind, Trust};
use flame_control::{BrokerChoice, Rates, Server, ServerConfig, Tls};
use flame_sandbox::{Compiler, Dataset, Sandbox, SandboxConfig};
use flamelet::{AgentConfig, Policy, TlsSettings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use summary::DemoSummary;

use crate::args::DemoArgs;
use crate::deployer::InProcessDeployer;
use crate::home::{DemoHome, flame_home};

/// The data set that participants grant.
const TRAINING_DATA: &str = "mnist";
/// The data set that the aggregator evaluates on.
const EVALUATION_DATA: &str = "mnist-test";

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let say = Say { json: args.json };
    let example = build::example_folder(args.example.as_deref())?;
    let component = match &args.component {
        Some(file) => file.clone(),
        None => build::build(&example, &say).await?,
    };
    let component = std::fs::read(&component).with_context(|| format!("cannot read {}", component.display()))?;
    let training = single(Dataset::load(TRAINING_DATA, &example.join("data/train"))?)?;
    let evaluation = single(Dataset::load(EVALUATION_DATA, &example.join("data/test"))?)?;
    let shards = partition::shards(&training, args.participants as usize, args.partition, args.seed)?;

    let home = DemoHome::take(args.home.as_deref())?;
    let sandbox = Arc::new(Sandbox::new(&SandboxConfig {
        cache: Some(flame_home().join("cache")),
        compiler: Compiler::this_program(),
        ..SandboxConfig::default()
    })?);
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(ServerConfig {
        home: home.control(),
        api: any_port,
        notifier: any_port,
        tls: Tls::Off,
        rates: Rates::default(),
        broker: BrokerChoice::Embedded { listen: any_port },
        deployer: Arc::new(InProcessDeployer::new(Arc::clone(&sandbox), vec![Arc::new(evaluation)])),
        system_data: Vec::new(),
        advertise_host: None,
        skip_admission: false,
    })
    .await?;
    say.line(format_args!("Flame in a box is up at http://{}.", server.api_addr()));

    let client = Client::new(&format!("http://{}", server.api_addr()), Some(server.token().clone()))?;
    let started = Instant::now();
    let job = job::create(&client, &example, component, &args).await?;
    let mut participants = Participants::start(&client, &server, &sandbox, &job, shards).await?;
    say.line(format_args!(
        "Job {job} trains with {} participants ({} digits, {}), {} rounds.\n",
        args.participants,
        training.rows(),
        match args.partition {
            crate::Partition::Iid => "iid".to_owned(),
            crate::Partition::Dirichlet(alpha) => format!("dirichlet {alpha}"),
        },
        args.rounds
    ));
    client.start(&job).await?;
    let ended = tokio::select! {
        ended = rounds::follow(&client, &job, args.rounds, &say) => ended?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("stopping the job");
            client.stop(&job).await?;
            rounds::follow(&client, &job, args.rounds, &say).await?
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let summary = DemoSummary::gather(&client, &ended, args.participants, seconds).await?;
    participants.end().await;
    summary.print(&args, home.kept(), &ended)?;
    server.shutdown().await;
    Ok(if ended.state == JobState::Completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What goes to stdout, and what to stderr because stdout is for the JSON object.
pub(crate) struct Say {
    json: bool,
}

impl Say {
    pub(crate) fn line(&self, text: std::fmt::Arguments<'_>) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}

fn single(mut sets: Vec<Dataset>) -> anyhow::Result<Dataset> {
    match (sets.pop(), sets.is_empty()) {
        (Some(set), true) => Ok(set),
        _ => anyhow::bail!("the example's data folders hold one data set each"),
    }
}

/// Participants of the demo: agents like any other, with keys and shards of their own.
struct Participants {
    agents: JoinSet<(AgentId, Result<flamelet::Outcome, flamelet::AgentError>)>,
    shutdown: CancellationToken,
}

impl Participants {
    async fn start(
        client: &Client,
        server: &Server,
        sandbox: &Arc<Sandbox>,
        job: &JobId,
        shards: Vec<Dataset>,
    ) -> anyhow::Result<Self> {
        let mut tasks = client.tasks(job).await?;
        tasks.retain(|task| task.kind == TaskKind::User);
        tasks.sort_by_key(|task| task.index);
        let (mut agents, shutdown) = (JoinSet::new(), CancellationToken::new());
        for (task, shard) in tasks.into_iter().zip(shards) {
            let config = AgentConfig {
                id: task.agent.clone(),
                key: random_key()?,
                apiserver: client.base().to_owned(),
                notifier: server.notifier_addr().to_string(),
                trust: Trust::System,
                datasets: vec![Arc::new(shard)],
                policy: Policy::default(),
                audit: None,
                broker_tls: TlsSettings::default(),
                p2p_listen: AgentConfig::default_p2p_listen(&server.notifier_addr().to_string()),
                inproc: None,
            };
            let (sandbox, shutdown) = (Arc::clone(sandbox), shutdown.clone());
            agents.spawn(async move { (task.agent, flamelet::run(config, sandbox, shutdown).await) });
        }
        Ok(Self { agents, shutdown })
    }

    async fn end(&mut self) {
        let grace = std::time::Duration::from_secs(5);
        let all = async {
            while let Some(ended) = self.agents.join_next().await {
                match ended {
                    Ok((agent, Err(error))) => tracing::warn!(%agent, %error, "a participant ended early"),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "a participant failed"),
                }
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            self.shutdown.cancel();
            self.agents.shutdown().await;
        }
    }
}

fn random_key() -> anyhow::Result<Secret> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    Ok(Secret::new(hex::encode(bytes)))
}
