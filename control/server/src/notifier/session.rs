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
use crate::controller::lifecycle::{Heard, Said};
use crate::store::records::{AgentRecord, Letter, Order};

/// What a session's loop works with.
pub(super) struct Session {
    pub(super) controller: Arc<Controller>,
    pub(super) stopping: CancellationToken,
    pub(super) agent: AgentId,
    pub(super) record: AgentRecord,
    pub(super) open: OpenSession,
    pub(super) outgoing: mpsc::Sender<Result<ToAgent, Status>>,
    /// Number of the newest letter that the agent was told.
    pub(super) told: u64,
    /// It said the last word on its task, and needs to be told nothing any more.
    pub(super) has_ended: bool,
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
        let (id, record, seen) = (self.agent.clone(), self.record.clone(), self.told);
        let letters = self.controller.run(move |controller| controller.letters(&id, &record, seen)).await;
        // From here on they come by the session, which was open before they were read.
        self.tell(letters.map_err(|problem| status(&problem))?).await?;
        let mut silent_at = Instant::now() + DEAD_AFTER;
        loop {
            tokio::select! {
                () = self.open.superseded.cancelled() => {
                    return Err(Status::aborted("superseded by a newer session of this agent"));
                }
                () = self.open.dismissed.cancelled() => {
                    return Err(Status::unavailable("the job has other tasks now, or is gone; come again"));
                }
                () = self.stopping.cancelled() => return Err(Status::unavailable("the server is stopping")),
                () = tokio::time::sleep_until(silent_at) => {
                    return Err(Status::deadline_exceeded(format!("nothing was heard for {} s", DEAD_AFTER.as_secs())));
                }
                () = self.open.wake.notified() => self.tell(self.open.letters()).await?,
                () = self.open.peers_moved.notified() => self.say_where_peers_are().await?,
                message = incoming.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    silent_at = Instant::now() + DEAD_AFTER;
                    match message.body {
                        Some(from_agent::Body::Status(said)) => self.hear(said).await?,
                        Some(from_agent::Body::Address(said)) => self.announce(&said.address).await?,
                        Some(from_agent::Body::Read(read)) => {
                            self.controller.has_read(&self.agent, &self.record, read.number);
                        }
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
        self.has_ended |= ended && heard == Heard::Accepted;
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

    /// Sends letters that it was not told yet, in the order of their numbers.
    async fn tell(&mut self, letters: Vec<Letter>) -> Result<(), Status> {
        for Letter { number, order } in letters {
            // Those that came while the mailbox was read are in it, too.
            if self.has_ended || number <= self.told {
                continue;
            }
            self.told = number;
            let event = Event { job: self.record.job.to_string(), number, ..Event::default() };
            let event = match order {
                Order::Start => Event { r#type: EventType::Start.into(), ..event },
                Order::Stop { reason, grace_seconds } => {
                    Event { r#type: EventType::Stop.into(), reason, grace_seconds, ..event }
                }
            };
            self.send(to_agent::Body::Event(event)).await?;
        }
        Ok(())
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
