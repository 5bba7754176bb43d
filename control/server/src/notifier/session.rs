//! One open session, from its welcome to its end.

use std::net::IpAddr;
use std::sync::Arc;

use flame_api::AgentId;
use flame_api::notifier::{
    Event, EventType, FromAgent, State, StatusAck, TaskStatus, ToAgent, Welcome, from_agent, to_agent,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::peers::{self, Told};
use super::sessions::OpenSession;
use super::{DEAD_AFTER, HEARTBEAT, status};
use crate::controller::Controller;
use crate::controller::lifecycle::{Heard, Said, Wanted};
use crate::store::records::AgentRecord;

/// What a session's loop works with.
pub(super) struct Session {
    pub(super) controller: Arc<Controller>,
    pub(super) stopping: CancellationToken,
    pub(super) agent: AgentId,
    pub(super) record: AgentRecord,
    pub(super) open: OpenSession,
    pub(super) outgoing: mpsc::Sender<Result<ToAgent, Status>>,
    /// What the agent was told last.
    pub(super) sent: Option<Wanted>,
    /// Where it comes from.
    pub(super) from: Option<IpAddr>,
    /// What it was told of its peers.
    pub(super) peers: Told,
}

impl Session {
    /// Serves the agent until it leaves, is silent for too long, or is not to be served any more.
    pub(super) async fn run(mut self, incoming: Streaming<FromAgent>) {
        let end = match self.serve(incoming).await {
            Ok(()) => "the agent closed it".to_owned(),
            Err(status) => {
                let message = status.message().to_owned();
                // Where the agent does not read, the closed stream tells it.
                let _ = self.outgoing.try_send(Err(status));
                message
            }
        };
        tracing::info!(agent = %self.agent, "a session ended: {end}");
        let superseded = self.open.superseded.is_cancelled();
        // Closed before it is said that it is.
        drop(self.open);
        if superseded || self.stopping.is_cancelled() {
            return;
        }
        let agent = self.agent.clone();
        if let Err(problem) = self.controller.run(move |controller| controller.departed(&agent)).await {
            tracing::debug!(agent = %self.agent, "the end of a session is not recorded: {problem}");
        }
    }

    async fn serve(&mut self, mut incoming: Streaming<FromAgent>) -> Result<(), Status> {
        let token = self.open.token.expose().to_owned();
        let heartbeat_seconds = u32::try_from(HEARTBEAT.as_secs()).unwrap_or(1);
        self.send(to_agent::Body::Welcome(Welcome { token, heartbeat_seconds })).await?;
        self.say_what_is_wanted().await?;
        let mut silent_at = Instant::now() + DEAD_AFTER;
        loop {
            tokio::select! {
                () = self.open.superseded.cancelled() => {
                    return Err(Status::aborted("superseded by a newer session of this agent"));
                }
                () = self.stopping.cancelled() => return Err(Status::unavailable("the server is stopping")),
                () = tokio::time::sleep_until(silent_at) => {
                    return Err(Status::deadline_exceeded(format!("nothing was heard for {} s", DEAD_AFTER.as_secs())));
                }
                () = self.open.wake.notified() => self.say_what_is_wanted().await?,
                () = self.open.peers_moved.notified() => self.say_where_peers_are().await?,
                message = incoming.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    silent_at = Instant::now() + DEAD_AFTER;
                    match message.body {
                        Some(from_agent::Body::Status(said)) => self.hear(said).await?,
                        Some(from_agent::Body::Address(said)) => self.announce(&said.address).await?,
                        Some(from_agent::Body::Hello(_) | from_agent::Body::Heartbeat(_)) | None => {}
                    }
                }
            }
        }
    }

    async fn hear(&mut self, status_message: TaskStatus) -> Result<(), Status> {
        let said = match status_message.state() {
            State::Running => Said::Running,
            State::Completed => Said::Completed,
            State::Failed => Said::Failed(status_message.reason),
            State::Terminated => Said::Terminated,
            State::Unspecified => return Err(Status::invalid_argument("a status names a state")),
        };
        let ended = said != Said::Running;
        let (record, attempt) = (self.record.clone(), status_message.attempt);
        let heard = self.controller.run(move |controller| controller.status(&record, attempt, said)).await;
        let heard = heard.map_err(|problem| status(&problem))?;
        if ended && heard == Heard::Accepted {
            // It knows that the task has ended: it said so.
            let wanted = self.wanted().await?;
            self.sent = Some(wanted);
        }
        let ack = StatusAck { serial: status_message.serial, fenced: heard == Heard::Fenced };
        self.send(to_agent::Body::Ack(ack)).await
    }

    /// Takes an agent's word on where it listens, and tells it where its peers do.
    async fn announce(&mut self, address: &str) -> Result<(), Status> {
        let reach = peers::reach(address, self.from)?;
        if self.peers.of.is_none() {
            let record = self.record.clone();
            let peers = self.controller.run(move |controller| controller.peers(&record)).await;
            self.peers.of = Some(peers.map_err(|problem| status(&problem))?.into());
        }
        if let Some(of) = &self.peers.of {
            tracing::debug!(agent = %self.agent, ?reach, peers = of.len(), "an agent can be reached by its peers");
            self.controller.sessions.announce(&self.open, reach, of);
        }
        self.say_where_peers_are().await
    }

    async fn say_where_peers_are(&mut self) -> Result<(), Status> {
        let Some(of) = &self.peers.of else { return Ok(()) };
        let now = self.controller.sessions.reaches(of);
        for message in self.peers.news(now) {
            self.send(to_agent::Body::Peers(message)).await?;
        }
        Ok(())
    }

    async fn wanted(&self) -> Result<Wanted, Status> {
        let record = self.record.clone();
        let wanted = self.controller.run(move |controller| controller.wanted(&record)).await;
        wanted.map_err(|problem| status(&problem))
    }

    async fn say_what_is_wanted(&mut self) -> Result<(), Status> {
        let wanted = self.wanted().await?;
        if self.sent.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let job = self.record.job.to_string();
        let event = match &wanted {
            Wanted::Nothing => None,
            Wanted::Start => Some(Event { r#type: EventType::Start.into(), job, ..Event::default() }),
            Wanted::Stop { reason, grace_seconds } => Some(Event {
                r#type: EventType::Stop.into(),
                job,
                reason: reason.clone(),
                grace_seconds: *grace_seconds,
            }),
        };
        self.sent = Some(wanted);
        match event {
            Some(event) => self.send(to_agent::Body::Event(event)).await,
            None => Ok(()),
        }
    }

    async fn send(&self, body: to_agent::Body) -> Result<(), Status> {
        let message = ToAgent { body: Some(body) };
        match timeout(DEAD_AFTER, self.outgoing.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the agent closed it")),
            Err(_) => Err(Status::deadline_exceeded("the agent does not read what it is sent")),
        }
    }
}
