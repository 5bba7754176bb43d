//! A flamelet that speaks as one and runs nothing.

use flame_api::notifier::notifier_client::NotifierClient;
use flame_api::notifier::{
    Event, EventAck, EventType, FromAgent, Heartbeat, Hello, PeerAddress, Peers, State, StatusAck, TaskStatus, ToAgent,
    from_agent, to_agent,
};
use flame_api::{AgentId, Client, Secret, TaskGrant};
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::world::{World, within};

pub(crate) struct Agent {
    outgoing: mpsc::Sender<FromAgent>,
    incoming: Streaming<ToAgent>,
    events: VecDeque<Event>,
    peers: VecDeque<Peers>,
    serial: u64,
    /// The newest grant's.
    pub(crate) attempt: u32,
    /// With the session's token.
    pub(crate) client: Client,
}

impl Agent {
    pub(crate) async fn connect(world: &World, id: &AgentId, key: &str) -> Result<Self, Status> {
        Self::reconnect(world, id, key, 0).await
    }

    async fn channel(world: &World) -> tonic::transport::Channel {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", world.server.notifier_addr()));
        channel.unwrap().connect().await.unwrap()
    }

    /// A heartbeat where a hello belongs.
    pub(crate) async fn beat_without_hello(world: &World) -> Status {
        within(async {
            let channel = Self::channel(world).await;
            let (outgoing, stream) = mpsc::channel(16);
            outgoing.send(FromAgent { body: Some(from_agent::Body::Heartbeat(Heartbeat {})) }).await.unwrap();
            NotifierClient::new(channel).session(ReceiverStream::new(stream)).await.err().unwrap()
        })
        .await
    }

    /// The process that has read events up to `seen` connects.
    pub(crate) async fn reconnect(world: &World, id: &AgentId, key: &str, seen: u64) -> Result<Self, Status> {
        within(async {
            let channel = Self::channel(world).await;
            let (outgoing, stream) = mpsc::channel(16);
            let (version, hostname) = ("test".to_owned(), "h".to_owned());
            let hello =
                Hello { agent_id: id.to_string(), key: key.into(), version, hostname, seen, proof: String::new() };
            outgoing.send(FromAgent { body: Some(from_agent::Body::Hello(hello)) }).await.unwrap();
            let mut incoming = NotifierClient::new(channel).session(ReceiverStream::new(stream)).await?.into_inner();
            let Some(to_agent::Body::Welcome(welcome)) = incoming.message().await?.and_then(|message| message.body)
            else {
                panic!("a session begins with a welcome");
            };
            let client = world.client.with_token(Secret::new(welcome.token));
            Ok(Self {
                outgoing,
                incoming,
                events: VecDeque::new(),
                peers: VecDeque::new(),
                serial: 0,
                attempt: 0,
                client,
            })
        })
        .await
    }

    async fn message(&mut self) -> Result<to_agent::Body, Status> {
        let message = within(self.incoming.message()).await?;
        message.and_then(|message| message.body).ok_or_else(|| Status::unknown("closed"))
    }

    pub(crate) async fn event(&mut self) -> Result<Event, Status> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        match self.message().await? {
            to_agent::Body::Event(event) => Ok(event),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&self, body: from_agent::Body) {
        self.outgoing.send(FromAgent { body: Some(body) }).await.unwrap();
    }

    /// Says that it has read events up to a number.
    pub(crate) async fn read(&self, number: u64) {
        self.send(from_agent::Body::Read(EventAck { number })).await;
    }

    pub(crate) async fn beat(&self) {
        self.send(from_agent::Body::Heartbeat(Heartbeat {})).await;
    }

    /// A status without a state that there is.
    pub(crate) async fn say_nothing_known(&self) {
        let status = TaskStatus { serial: 1, attempt: 1, state: 99, reason: String::new() };
        self.send(from_agent::Body::Status(status)).await;
    }

    /// The server answers in order: once it has answered, it has heard what was said before.
    pub(crate) async fn until_heard(&mut self) {
        self.say(0, State::Running, "").await;
    }

    /// Says where it listens.
    pub(crate) async fn announce(&self, address: &str) {
        let body = from_agent::Body::Address(PeerAddress { address: address.into() });
        self.outgoing.send(FromAgent { body: Some(body) }).await.unwrap();
    }

    /// The next that it is told of its peers: whether it is all, and end, presence and address of each.
    pub(crate) async fn peers(&mut self) -> (bool, Vec<(String, bool, String)>) {
        let peers = loop {
            if let Some(peers) = self.peers.pop_front() {
                break peers;
            }
            match self.message().await.unwrap() {
                to_agent::Body::Peers(peers) => self.peers.push_back(peers),
                to_agent::Body::Event(event) => self.events.push_back(event),
                other => panic!("{other:?}"),
            }
        };
        (peers.all, peers.peers.into_iter().map(|peer| (peer.end, peer.here, peer.address)).collect())
    }

    pub(crate) async fn say(&mut self, attempt: u32, state: State, reason: &str) -> StatusAck {
        self.serial += 1;
        let status = TaskStatus { serial: self.serial, attempt, state: state.into(), reason: reason.into() };
        self.outgoing.send(FromAgent { body: Some(from_agent::Body::Status(status)) }).await.unwrap();
        loop {
            match self.message().await.unwrap() {
                to_agent::Body::Ack(ack) => {
                    assert_eq!(ack.serial, self.serial);
                    return ack;
                }
                to_agent::Body::Event(event) => self.events.push_back(event),
                to_agent::Body::Peers(peers) => self.peers.push_back(peers),
                other @ to_agent::Body::Welcome(_) => panic!("{other:?}"),
            }
        }
    }

    /// Says it, and gets no acknowledgement.
    pub(crate) async fn say_only(&mut self, attempt: u32, state: State) -> Status {
        self.serial += 1;
        let status = TaskStatus { serial: self.serial, attempt, state: state.into(), reason: String::new() };
        self.outgoing.send(FromAgent { body: Some(from_agent::Body::Status(status)) }).await.unwrap();
        loop {
            if let Err(status) = self.message().await {
                return status;
            }
        }
    }

    /// Waits for the start and runs the task.
    pub(crate) async fn run(&mut self) -> TaskGrant {
        let event = self.event().await.unwrap();
        assert_eq!(event.r#type(), EventType::Start);
        let grant = self.client.grant().await.unwrap();
        self.attempt = grant.attempt;
        assert!(!self.say(grant.attempt, State::Running, "").await.fenced);
        grant
    }

    pub(crate) async fn expect_stop(&mut self) -> Event {
        let event = self.event().await.unwrap();
        assert_eq!(event.r#type(), EventType::Stop, "{event:?}");
        event
    }
}
