//! The gRPC edge: one session per agent. Events go down, what the agent says of its task comes up.
//!
//! What an agent is to do is derived from the durable state and written down with it, as a numbered letter in the agent's
//! mailbox (the controller's `mail`). A session sends what its agent has not read, and goes on until it has: nothing is
//! lost by a restart on either side.

mod peers;
mod session;
mod sessions;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flame_api::notifier::notifier_server::{Notifier, NotifierServer};
use flame_api::notifier::{FromAgent, Hello, ToAgent, from_agent};
use flame_api::{AgentId, Code, Problem, Secret};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::apiserver::audit::{Audit, Change};
use crate::apiserver::limits::{Guesses, network, seconds};
use crate::apiserver::metrics::Metrics;
use crate::controller::Controller;
use crate::crypto::Presented;
use crate::store::records::AgentRecord;
pub use sessions::Sessions;

/// How often an agent sends something.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Silence after which a session counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(35);
/// Time for the first message.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Messages that wait to be sent to an agent.
const OUTGOING: usize = 16;
/// Longest message of an agent: an id, a key, a reason.
const MAX_MESSAGE: usize = 256 << 10;

/// The service.
pub(crate) struct Service {
    controller: Arc<Controller>,
    stopping: CancellationToken,
    /// Who owns the sessions.
    tracker: TaskTracker,
    guard: Guard,
}

/// Slows down who tries wrong keys, and writes down who joins.
pub(crate) struct Guard {
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    /// By agent and address, so that a stranger cannot lock a participant out.
    keys: Guesses<(AgentId, IpAddr)>,
    /// By address, whatever the agent.
    addresses: Guesses<IpAddr>,
}

impl Guard {
    pub(crate) fn new(metrics: Arc<Metrics>, audit: Arc<Audit>) -> Self {
        Self { metrics, audit, keys: Guesses::new(5), addresses: Guesses::new(50) }
    }

    fn may(&self, who: &(AgentId, IpAddr)) -> Result<(), Status> {
        let now = Instant::now();
        let wait = self.keys.may(who, now).and_then(|()| self.addresses.may(&who.1, now));
        wait.map_err(|wait| {
            self.metrics.throttled("keys");
            let seconds = seconds(wait);
            Status::resource_exhausted(format!("too many wrong keys came from this address; try again in {seconds} s"))
        })
    }

    fn wrong(&self, who: (AgentId, IpAddr)) {
        let now = Instant::now();
        self.addresses.wrong(who.1, now);
        self.keys.wrong(who, now);
    }
}

impl Service {
    pub(crate) fn new(
        controller: Arc<Controller>,
        stopping: CancellationToken,
        tracker: TaskTracker,
        guard: Guard,
    ) -> NotifierServer<Self> {
        NotifierServer::new(Self { controller, stopping, tracker, guard })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl Notifier for Service {
    type SessionStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn session(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::SessionStream>, Status> {
        let from = request.remote_addr().map(|address| address.ip());
        let mut incoming = request.into_inner();
        let hello = hello(&mut incoming).await?;
        let id: AgentId = hello.agent_id.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let presented = match hello.proof.as_str() {
            "" => Presented::Key(Secret::new(hello.key)),
            _ => Presented::Proof(Secret::new(hello.proof)),
        };
        let record = self.admit(&id, presented, from).await?;
        if self.stopping.is_cancelled() {
            return Err(Status::unavailable("the server is stopping"));
        }
        let session = self.controller.sessions.open(&id).map_err(|problem| status(&problem))?;
        let facts = |text: String| -> String { text.chars().filter(|c| !c.is_control()).take(80).collect() };
        let (version, host) = (facts(hello.version), facts(hello.hostname));
        tracing::info!(agent = %id, job = %record.job, version, host, "an agent opened a session");
        let agent = id.clone();
        let arrived = self.controller.run(move |controller| controller.arrived(&agent, version, host)).await;
        arrived.map_err(|problem| status(&problem))?;
        let (outgoing, stream) = tokio::sync::mpsc::channel(OUTGOING);
        let session = session::Session {
            controller: Arc::clone(&self.controller),
            stopping: self.stopping.clone(),
            agent: id,
            record,
            open: session,
            outgoing,
            told: hello.seen,
            has_ended: false,
            from,
            peers: peers::Told::default(),
        };
        self.tracker.spawn(session.run(incoming));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Service {
    /// Whether the key is right. The first of a participant is written down.
    async fn admit(&self, id: &AgentId, presented: Presented, from: Option<IpAddr>) -> Result<AgentRecord, Status> {
        let who = (id.clone(), network(from.unwrap_or(IpAddr::from([0, 0, 0, 0]))));
        self.guard.may(&who)?;
        let (record, joined) = match self.controller.authenticate(id, presented).await {
            Ok(admitted) => admitted,
            Err(problem) => {
                if matches!(problem.code, Code::Unauthenticated | Code::NotFound) {
                    self.guard.wrong(who);
                }
                return Err(status(&problem));
            }
        };
        self.guard.keys.right(&who);
        if joined {
            let change = Change {
                who: format!("agent:{id}"),
                token: None,
                address: from,
                what: "join".into(),
                made: record.job.to_string(),
                status: 200,
            };
            let audit = Arc::clone(&self.guard.audit);
            let noted = self.controller.run(move |_| audit.note(change).map_err(crate::failure::store)).await;
            noted.map_err(|problem| status(&problem))?;
        }
        Ok(record)
    }
}

async fn hello(incoming: &mut Streaming<FromAgent>) -> Result<Hello, Status> {
    let first = tokio::time::timeout(HELLO_WITHIN, incoming.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("a session opens with a hello, and none came"))??;
    match first.and_then(|message| message.body) {
        Some(from_agent::Body::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("a session opens with a hello")),
    }
}

/// A problem as gRPC says it; the hint goes along.
fn status(problem: &Problem) -> Status {
    let text = if problem.hint.is_empty() {
        problem.message.clone()
    } else {
        format!("{}: {}", problem.message, problem.hint)
    };
    match problem.code {
        Code::InvalidRequest | Code::Refused | Code::TooLarge => Status::invalid_argument(text),
        Code::Unauthenticated => Status::unauthenticated(text),
        Code::Forbidden => Status::permission_denied(text),
        Code::NotFound => Status::not_found(text),
        Code::AlreadyExists | Code::InUse | Code::WrongState | Code::Fenced | Code::Changed => {
            Status::failed_precondition(text)
        }
        Code::TooManyRequests => Status::resource_exhausted(text),
        Code::Internal => Status::internal(text),
        Code::Unavailable => Status::unavailable(text),
    }
}
