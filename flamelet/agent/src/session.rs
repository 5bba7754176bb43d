//! The session with the notifier: one stream, opened again whenever it breaks.
//!
//! Events go to the supervisor; statuses wait here until the control plane has acknowledged them, across reconnects.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flame_api::notifier::notifier_client::NotifierClient;
use flame_api::notifier::{Event, StatusAck};
use flame_api::notifier::{
    EventAck, FromAgent, Heartbeat, Hello, PeerAddress, State, TaskStatus, ToAgent, from_agent, to_agent,
};
use flame_api::{AgentId, KeyError, RANDOM_KEY, Secret, Trust, stretch};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::AgentConfig;
use crate::peers::Peers;

/// Time until an attempt to connect counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause between attempts; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long an agent that was never connected keeps trying: an address may be wrong, or a server still starting.
const FIRST_CONNECT_WITHIN: Duration = Duration::from_mins(1);
/// Messages on the stream that are not sent yet.
const OUTGOING: usize = 16;

/// Who opens the session.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    id: AgentId,
    shown: Shown,
    /// `host:port`.
    notifier: String,
    /// Decides whether the notifier is spoken to over TLS.
    apiserver: String,
    trust: Trust,
}

/// What is shown of the key.
#[derive(Debug, Clone)]
enum Shown {
    /// The platform made it, and knows it.
    Key(Secret),
    /// A person chose it, and it stays here.
    Proof(Secret),
}

impl Identity {
    /// Stretches the key, which takes some tens of milliseconds.
    pub(crate) async fn of(config: &AgentConfig) -> Result<Self, KeyError> {
        let (id, key) = (config.id.clone(), config.key.clone());
        let shown = if key.expose().starts_with(RANDOM_KEY) {
            Shown::Key(key)
        } else {
            let agent = id.clone();
            // Where the thread is lost the process is ending; a proof of nothing opens nothing.
            let proof = tokio::task::spawn_blocking(move || stretch(&agent, &key)).await;
            Shown::Proof(proof.unwrap_or_else(|_| Ok(Secret::new("")))?)
        };
        let (notifier, apiserver) = (config.notifier.clone(), config.apiserver.clone());
        Ok(Self { id, shown, notifier, apiserver, trust: config.trust.clone() })
    }
}

/// What the supervisor wants to be known.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) attempt: u32,
    pub(crate) state: State,
    pub(crate) reason: String,
}

/// What the supervisor hears.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The control plane wants something of the agent.
    Event(Event),
    /// A status is durable there, or was refused because a newer attempt holds the task.
    Acknowledged { serial: u64, fenced: bool },
}

/// Why a session ended for good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// Nobody answered where the notifier should be.
    #[error("cannot reach the notifier at {notifier}: {reason}")]
    Unreachable { notifier: String, reason: String },
    /// The control plane does not want this agent.
    #[error("{0}")]
    Refused(String),
}

/// Keeps a session open until it is refused, or until nobody listens any more.
pub(crate) struct Session {
    identity: Identity,
    notices: mpsc::Sender<Notice>,
    reports: mpsc::Receiver<Report>,
    token: watch::Sender<Option<Secret>>,
    peers: Arc<Peers>,
    unacknowledged: VecDeque<TaskStatus>,
    serial: u64,
    /// Number of the newest event that was taken.
    seen: u64,
}

impl Session {
    pub(crate) fn new(
        identity: Identity,
        notices: mpsc::Sender<Notice>,
        reports: mpsc::Receiver<Report>,
        token: watch::Sender<Option<Secret>>,
        peers: Arc<Peers>,
    ) -> Self {
        Self { identity, notices, reports, token, peers, unacknowledged: VecDeque::new(), serial: 0, seen: 0 }
    }

    pub(crate) async fn run(mut self) -> Result<(), SessionError> {
        let give_up = Instant::now() + FIRST_CONNECT_WITHIN;
        let (mut pause, mut was_open) = (FIRST_PAUSE, false);
        loop {
            let lost = match self.open().await {
                Ok((outgoing, incoming, heartbeat)) => {
                    if was_open {
                        tracing::info!("the session with the control plane is open again");
                    }
                    (pause, was_open) = (FIRST_PAUSE, true);
                    match self.serve(outgoing, incoming, heartbeat).await {
                        Ok(()) => return Ok(()),
                        Err(status) => status,
                    }
                }
                Err(status) => status,
            };
            if is_final(lost.code()) {
                return Err(SessionError::Refused(lost.message().to_owned()));
            }
            let reason = cause(&lost);
            if !was_open && Instant::now() > give_up {
                return Err(SessionError::Unreachable { notifier: self.identity.notifier, reason });
            }
            tracing::warn!(notifier = %self.identity.notifier, "no session with the control plane ({reason}); trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn open(&mut self) -> Result<(mpsc::Sender<FromAgent>, Streaming<ToAgent>, Duration), Status> {
        let identity = &self.identity;
        let endpoint = identity
            .trust
            .endpoint(&identity.notifier, &identity.apiserver)
            .map_err(|error| Status::invalid_argument(format!("{}: {}", identity.notifier, root_cause(&error))))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(root_cause(&error)))?;
        let (outgoing, stream) = mpsc::channel(OUTGOING);
        let (key, proof) = match &identity.shown {
            Shown::Key(key) => (key.expose().to_owned(), String::new()),
            Shown::Proof(proof) => (String::new(), proof.expose().to_owned()),
        };
        let hello = Hello {
            agent_id: identity.id.to_string(),
            key,
            proof,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: hostname(),
            seen: self.seen,
        };
        send(&outgoing, from_agent::Body::Hello(hello)).await?;
        let answer = NotifierClient::new(channel).session(ReceiverStream::new(stream)).await?;
        let mut incoming = answer.into_inner();
        let first = tokio::time::timeout(CONNECT_TIMEOUT, incoming.message()).await;
        let first = first.map_err(|_| Status::unavailable("it does not greet back"))??;
        let Some(to_agent::Body::Welcome(welcome)) = first.and_then(|message| message.body) else {
            return Err(Status::unavailable("it answers as no Flame notifier does"));
        };
        self.token.send_replace(Some(Secret::new(welcome.token)));
        for status in &self.unacknowledged {
            send(&outgoing, from_agent::Body::Status(status.clone())).await?;
        }
        let heartbeat = Duration::from_secs(u64::from(welcome.heartbeat_seconds.clamp(1, 3_600)));
        Ok((outgoing, incoming, heartbeat))
    }

    /// Ok when the supervisor is gone.
    async fn serve(
        &mut self,
        outgoing: mpsc::Sender<FromAgent>,
        mut incoming: Streaming<ToAgent>,
        heartbeat: Duration,
    ) -> Result<(), Status> {
        let mut beat = tokio::time::interval(heartbeat);
        let mut announcement = self.peers.announcement();
        // What an earlier session announced ended with it.
        announcement.mark_changed();
        loop {
            tokio::select! {
                Ok(()) = announcement.changed() => {
                    let address = announcement.borrow_and_update().clone();
                    if let Some(address) = address {
                        send(&outgoing, from_agent::Body::Address(PeerAddress { address })).await?;
                    }
                }
                message = incoming.message() => {
                    let message = message?.ok_or_else(|| Status::unavailable("the control plane closed the session"))?;
                    let Some(notice) = self.notice(message) else { continue };
                    let number = match &notice {
                        // It was sent again because nobody knew that it had come.
                        Notice::Event(event) if event.number != 0 && event.number <= self.seen => None,
                        Notice::Event(event) => Some(event.number),
                        Notice::Acknowledged { .. } => Some(0),
                    };
                    if let Some(number) = number {
                        if self.notices.send(notice).await.is_err() {
                            return Ok(());
                        }
                        self.seen = self.seen.max(number);
                    }
                    if number.is_none_or(|number| number > 0) {
                        send(&outgoing, from_agent::Body::Read(EventAck { number: self.seen })).await?;
                    }
                }
                report = self.reports.recv() => {
                    let Some(report) = report else { return Ok(()) };
                    self.serial += 1;
                    let status = TaskStatus {
                        serial: self.serial,
                        attempt: report.attempt,
                        state: report.state.into(),
                        reason: report.reason,
                    };
                    self.unacknowledged.push_back(status.clone());
                    send(&outgoing, from_agent::Body::Status(status)).await?;
                }
                _ = beat.tick() => send(&outgoing, from_agent::Body::Heartbeat(Heartbeat {})).await?,
            }
        }
    }

    fn notice(&mut self, message: ToAgent) -> Option<Notice> {
        match message.body? {
            to_agent::Body::Event(event) => Some(Notice::Event(event)),
            to_agent::Body::Ack(StatusAck { serial, fenced }) => {
                self.unacknowledged.retain(|status| status.serial > serial);
                Some(Notice::Acknowledged { serial, fenced })
            }
            to_agent::Body::Peers(peers) => {
                self.peers.hear(&peers);
                None
            }
            to_agent::Body::Welcome(_) => None,
        }
    }
}

async fn send(outgoing: &mpsc::Sender<FromAgent>, body: from_agent::Body) -> Result<(), Status> {
    let message = FromAgent { body: Some(body) };
    outgoing.send(message).await.map_err(|_| Status::unavailable("the session was cut"))
}

/// Trying again cannot help against these.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::InvalidArgument
            | Code::Aborted
            | Code::FailedPrecondition
    )
}

fn cause(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => root_cause(source),
        None => status.message().to_owned(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
