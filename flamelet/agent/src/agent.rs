//! The supervisor: what the control plane wants becomes a task's start and end.

use std::sync::Arc;
use std::time::Duration;

use flame_api::notifier::{EventType, State};
use flame_api::{AgentId, Client, ClientError, Code, KeyError, TaskGrant};
use flame_sandbox::{Auditor, Outcome, Sandbox, TaskSink};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::AgentConfig;
use crate::audit::{Event, TaskAudit, short};
use crate::code;
use crate::grant::task_spec;
use crate::metrics::TaskMetrics;
use crate::peers::Peers;
use crate::policy::{Effective, effective};
use crate::report::{AgentClient, Reporter};
use crate::session::{Identity, Notice, Report, Session, SessionError};
use crate::transports::Transports;

/// Notices and reports that wait to be taken.
const QUEUE: usize = 64;
/// How long the last status waits for its acknowledgement.
const LAST_WORD_WITHIN: Duration = Duration::from_mins(1);
/// How long logs and metrics of an ended task are delivered.
const DRAIN_WITHIN: Duration = Duration::from_mins(1);

/// Why an agent ended without a task's outcome.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody answers where the control plane should be.
    #[error("{0}; check -n/--notifier and whether flame-control or fiab runs there")]
    Unreachable(String),
    /// The control plane does not want this agent; the text says why.
    #[error("the control plane refused this agent: {0}")]
    Refused(String),
    /// The address of the apiserver is none.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<SessionError> for AgentError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Unreachable { .. } => Self::Unreachable(error.to_string()),
            SessionError::Refused(reason) => Self::Refused(reason),
        }
    }
}

/// Serves one task to its end. Cancelling `shutdown` ends the guest and the agent; the task stays open for a rejoin.
pub async fn run(
    config: AgentConfig,
    sandbox: Arc<Sandbox>,
    shutdown: CancellationToken,
) -> Result<Outcome, AgentError> {
    let client = Client::trusting(&config.apiserver, None, &config.trust)?;
    let (notices_in, mut notices) = mpsc::channel(QUEUE);
    let (reports, reports_out) = mpsc::channel(QUEUE);
    let (token_in, token) = watch::channel(None);
    let identity = Identity::of(&config).await?;
    let peers = Arc::new(Peers::new(&config.notifier));
    let session = Session::new(identity, notices_in, reports_out, token_in, Arc::clone(&peers));
    let mut session = AbortOnDropHandle::new(tokio::spawn(session.run()));
    let client = AgentClient::new(client, token);

    let mut task: Option<RunningTask> = None;
    loop {
        tokio::select! {
            ended = &mut session => return Err(session_end(ended)),
            notice = notices.recv() => match notice {
                Some(Notice::Event(event)) => match (event.r#type(), &task) {
                    (EventType::Start, None) => {
                        tracing::info!(task = %config.id, job = event.job, "starting");
                        task = Some(RunningTask::start(&config, &sandbox, &client, &peers, reports.clone()));
                    }
                    (EventType::Stop, Some(running)) => {
                        tracing::info!(task = %config.id, reason = event.reason, "stopping");
                        running.stop.cancel();
                    }
                    (EventType::Stop, None) => {
                        tracing::info!(task = %config.id, reason = event.reason, "ended before it was started");
                        return Ok(Outcome::Terminated);
                    }
                    (EventType::Start | EventType::Unspecified, _) => {}
                },
                Some(Notice::Acknowledged { fenced: true, .. }) => {
                    return Err(AgentError::Refused("another agent with the same key took the task over".into()));
                }
                Some(Notice::Acknowledged { .. }) => {}
                None => return Err(session_end((&mut session).await)),
            },
            ended = wait_for(&mut task) => {
                let ended = ended.unwrap_or_else(|_| Ended::failed("the agent failed while it ran the task"));
                tracing::info!(task = %config.id, outcome = ?ended.outcome, "ended");
                last_word(&ended, &reports, &mut notices, &mut session).await;
                forget(&config, &ended.outcome);
                return Ok(ended.outcome);
            }
            () = shutdown.cancelled() => {
                // Dropping the task ends the guest; the channel's will and the closed session tell the others.
                return Ok(Outcome::Terminated);
            }
        }
    }
}

/// Serves several tasks, each with a session of its own and all in one sandbox, to the end of the last. One that fails
/// ends no other. What became of each, in the order of the configurations.
pub async fn run_all(
    configs: Vec<AgentConfig>,
    sandbox: &Arc<Sandbox>,
    shutdown: &CancellationToken,
) -> Vec<(AgentId, Result<Outcome, AgentError>)> {
    let agents: Vec<_> = configs
        .into_iter()
        .map(|config| {
            let id = config.id.clone();
            let agent = tokio::spawn(run(config, Arc::clone(sandbox), shutdown.clone()));
            (id, AbortOnDropHandle::new(agent))
        })
        .collect();
    let mut ends = Vec::with_capacity(agents.len());
    for (id, agent) in agents {
        let end = agent.await.unwrap_or_else(|error| Err(AgentError::Refused(format!("the agent failed: {error}"))));
        ends.push((id, end));
    }
    ends
}

/// A task that will not run again keeps nothing. That of one that failed is left for who wants to look.
fn forget(config: &AgentConfig, outcome: &Outcome) {
    let (Some(folder), Ok(task)) = (&config.state_dir, crate::grant::end(config.id.as_str())) else { return };
    if !matches!(outcome, Outcome::Failed(_))
        && let Err(error) = flame_sandbox::remove_checkpoint(folder, &task)
    {
        tracing::warn!(%error, folder = %folder.display(), "the task's checkpoint could not be removed");
    }
}

async fn wait_for(task: &mut Option<RunningTask>) -> Result<Ended, oneshot::error::RecvError> {
    match task {
        Some(task) => (&mut task.ended).await,
        None => std::future::pending().await,
    }
}

fn session_end(ended: Result<Result<(), SessionError>, tokio::task::JoinError>) -> AgentError {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => AgentError::Refused("the session ended".into()),
        Err(error) => AgentError::Refused(format!("the session failed: {error}")),
    }
}

/// Sends the final status and waits until the control plane has it.
async fn last_word(
    ended: &Ended,
    reports: &mpsc::Sender<Report>,
    notices: &mut mpsc::Receiver<Notice>,
    session: &mut AbortOnDropHandle<Result<(), SessionError>>,
) {
    let Some(attempt) = ended.attempt else { return };
    let (state, reason) = match &ended.outcome {
        Outcome::Completed => (State::Completed, String::new()),
        Outcome::Failed(reason) => (State::Failed, reason.clone()),
        Outcome::Terminated => (State::Terminated, String::new()),
    };
    let said = async {
        if reports.send(Report { attempt, state, reason }).await.is_err() {
            return;
        }
        // The session numbers reports from 1: `running` was the first, this one is the second.
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    Some(Notice::Acknowledged { serial, .. }) if serial > ended.reports => return,
                    Some(_) => {}
                    None => return,
                },
                _ = &mut *session => return,
            }
        }
    };
    if tokio::time::timeout(LAST_WORD_WITHIN, said).await.is_err() {
        tracing::warn!("the control plane did not acknowledge the end of the task");
    }
}

/// How a task ended, and under which attempt.
#[derive(Debug)]
struct Ended {
    /// None where no attempt was granted.
    attempt: Option<u32>,
    /// Statuses that were sent before.
    reports: u64,
    outcome: Outcome,
}

impl Ended {
    fn failed(reason: impl Into<String>) -> Self {
        Self { attempt: None, reports: 0, outcome: Outcome::Failed(reason.into()) }
    }
}

/// A task that was started and has not ended.
struct RunningTask {
    stop: CancellationToken,
    ended: oneshot::Receiver<Ended>,
    _driver: AbortOnDropHandle<()>,
}

impl RunningTask {
    fn start(
        config: &AgentConfig,
        sandbox: &Arc<Sandbox>,
        client: &AgentClient,
        peers: &Arc<Peers>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (done, ended) = oneshot::channel();
        let with = (Arc::clone(sandbox), client.clone(), Arc::clone(peers));
        let run = run_task(config.clone(), with, reports, stop.clone());
        let driver = tokio::spawn(async move {
            // Nobody waits any more when the agent shuts down.
            let _ = done.send(run.await);
        });
        Self { stop, ended, _driver: AbortOnDropHandle::new(driver) }
    }
}

async fn run_task(
    config: AgentConfig,
    (sandbox, client, peers): (Arc<Sandbox>, AgentClient, Arc<Peers>),
    reports: mpsc::Sender<Report>,
    stop: CancellationToken,
) -> Ended {
    let grant = match client.retry(|client| async move { client.grant().await }).await {
        Ok(grant) => grant,
        // Its start and the end of its job have crossed on the way.
        Err(error) if stop.is_cancelled() || error.problem().is_some_and(|it| it.code == Code::WrongState) => {
            tracing::info!(task = %config.id, reason = %error, "ended before it was started");
            return Ended { attempt: None, reports: 0, outcome: Outcome::Terminated };
        }
        Err(error) => return Ended::failed(format!("the task could not be fetched: {error}")),
    };
    let attempt = grant.attempt;
    let metrics = TaskMetrics::new(&config.metrics, &config.id);
    let audit = config.audit.clone().map(|log| Arc::new(TaskAudit { log, task: config.id.to_string(), attempt }));
    let reporter = Arc::new(Reporter::new(client.clone(), attempt, audit.clone(), metrics.clone()));
    let delivered = CancellationToken::new();
    let delivery = tokio::spawn({
        let (reporter, delivered) = (Arc::clone(&reporter), delivered.clone());
        async move { reporter.deliver(delivered).await }
    });
    let mut statuses = 0;
    let outcome = match prepare(&config, (&sandbox, &client, &peers), grant, &reporter, audit.as_ref(), &stop).await {
        Ok((prepared, spec, transports)) => {
            metrics.granted(&spec.limits);
            let running = Report { attempt, state: State::Running, reason: String::new() };
            statuses = u64::from(reports.send(running).await.is_ok());
            let outcome = run_guest(&sandbox, prepared, spec, &transports, &reporter).await;
            transports.shutdown().await;
            note(audit.as_deref(), ended(&outcome));
            outcome
        }
        Err(_) if stop.is_cancelled() => Outcome::Terminated,
        Err(reason) => {
            reporter.log(flame_sandbox::Level::Error, reason.clone());
            note(audit.as_deref(), Event::Refused { reason: short(&reason) });
            Outcome::Failed(reason)
        }
    };
    // Results come before the end: whoever sees the task completed finds its metrics.
    reporter.drain(DRAIN_WITHIN).await;
    delivered.cancel();
    let _ = delivery.await;
    metrics.ended(&outcome);
    // An agent between tasks holds no models.
    flame_model::release_spare_memory();
    Ended { attempt: Some(attempt), reports: statuses, outcome }
}

/// Runs the guest to its end, or until it is sure that it has nobody to talk to.
async fn run_guest(
    sandbox: &Arc<Sandbox>,
    prepared: flame_sandbox::Prepared,
    spec: flame_sandbox::TaskSpec,
    transports: &Transports,
    reporter: &Reporter,
) -> Outcome {
    let stop = spec.stop.clone();
    let guest = sandbox.run(prepared, spec);
    tokio::pin!(guest);
    let cut_off = transports.cut_off(|text| reporter.log(flame_sandbox::Level::Error, text));
    tokio::select! {
        outcome = &mut guest => outcome,
        reason = cut_off => {
            stop.cancel();
            guest.await;
            Outcome::Failed(reason)
        }
    }
}

/// Records what has happened already; a log that fails now changes nothing any more.
fn note(audit: Option<&TaskAudit>, event: Event) {
    if let Some(Err(error)) = audit.map(|audit| audit.note(event)) {
        tracing::error!(%error, "the end of the task is not in the audit log");
    }
}

type Ready = (flame_sandbox::Prepared, flame_sandbox::TaskSpec, Transports);

/// Fetches and checks the code, connects what carries the channels and puts the task together.
async fn prepare(
    config: &AgentConfig,
    (sandbox, client, peers): (&Arc<Sandbox>, &AgentClient, &Arc<Peers>),
    grant: TaskGrant,
    reporter: &Arc<Reporter>,
    audit: Option<&Arc<TaskAudit>>,
    stop: &CancellationToken,
) -> Result<Ready, String> {
    let terms = effective(&config.policy, &config.datasets, &grant).map_err(|error| error.to_string())?;
    let code = client.retry(|client| async move { client.task_code().await });
    let code = code.await.map_err(|error| format!("the task's code could not be fetched: {error}"))?;
    let (preparing, role) = (Arc::clone(sandbox), grant.role.clone());
    let (granted, signers, deterministic) = (grant.code.clone(), config.policy.signers.clone(), grant.deterministic);
    let prepared = tokio::task::spawn_blocking(move || {
        // Before anything is compiled.
        code::check(&code, &granted, &signers).map_err(|error| error.to_string())?;
        preparing.prepare_as(&code, &role, deterministic).map_err(|error| error.to_string())
    });
    let prepared = prepared.await.map_err(|error| error.to_string())??;

    if grant.channels.is_empty() {
        return Err("the grant has no channel".into());
    }
    let transports = tokio::select! {
        connected = Transports::connect(&grant, config, peers) => connected?,
        () = stop.cancelled() => return Err("the job was stopped".into()),
    };
    let auditor = match audit {
        None => None,
        Some(audit) => {
            // What cannot be recorded is not run.
            audit.note(started(&grant, &terms)).map_err(|error| error.to_string())?;
            Some(Arc::clone(audit) as Arc<dyn Auditor>)
        }
    };
    let sink: Arc<dyn TaskSink> = reporter.clone();
    // Of its own: whoever ends the guest does not end the task's supervision.
    let state_dir = config.state_dir.clone();
    let spec = task_spec(grant, terms, &transports, sink, auditor, state_dir, stop.child_token());
    Ok((prepared, spec.map_err(|error| error.to_string())?, transports))
}

/// What the audit log tells of a task that begins.
fn started(grant: &TaskGrant, terms: &Effective) -> Event {
    Event::Started {
        job: grant.job.to_string(),
        role: short(&grant.role),
        code: short(&grant.code.sha256),
        signers: grant.code.signatures.iter().map(|signature| short(&signature.signer)).collect(),
        grant: terms.to_json(),
    }
}

/// What it tells of the end.
fn ended(outcome: &Outcome) -> Event {
    let (outcome, reason) = match outcome {
        Outcome::Completed => ("completed", String::new()),
        Outcome::Failed(reason) => ("failed", short(reason)),
        Outcome::Terminated => ("terminated", String::new()),
    };
    Event::Ended { outcome: outcome.to_owned(), reason }
}
