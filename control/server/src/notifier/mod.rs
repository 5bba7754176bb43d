//! The gRPC edge: one session per agent. Events go down, what the agent says of its task comes up.
//!
//! Events are level-triggered: whenever something changes, and when a session opens, what the agent is to do is derived
//! from the durable state and sent if it is not what was sent last. So nothing is lost by a restart on either side.

mod peers;
mod session;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use flame_api::notifier::notifier_server::{Notifier, NotifierServer};
use flame_api::notifier::{FromAgent, Hello, ToAgent, from_agent};
use flame_api::{AgentId, Code, Problem, Secret};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::controller::Controller;
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
}

impl Service {
    pub(crate) fn new(
        controller: Arc<Controller>,
        stopping: CancellationToken,
        tracker: TaskTracker,
    ) -> NotifierServer<Self> {
        NotifierServer::new(Self { controller, stopping, tracker })
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
        let record =
            self.controller.authenticate(&id, Secret::new(hello.key)).await.map_err(|problem| status(&problem))?;
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
            sent: None,
            from,
            peers: peers::Told::default(),
        };
        self.tracker.spawn(session.run(incoming));
        Ok(Response::new(ReceiverStream::new(stream)))
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
        Code::Internal => Status::internal(text),
        Code::Unavailable => Status::unavailable(text),
    }
}
