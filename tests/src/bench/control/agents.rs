//! Ten thousand sessions, each on a connection of its own, that beat and count what they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flame_api::AgentId;
use flame_api::notifier::notifier_client::NotifierClient;
use flame_api::notifier::{EventAck, EventType, FromAgent, Heartbeat, Hello, from_agent, to_agent};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Sessions that are opened at a time.
const OPENING: usize = 64;

/// The sessions. They end when it is dropped.
pub(super) struct Crowd {
    size: u32,
    heard: Arc<Heard>,
    _sessions: JoinSet<()>,
}

#[derive(Default)]
struct Heard {
    started: Count,
    stopped: Count,
}

struct Count {
    count: AtomicU32,
    changed: watch::Sender<u32>,
}

impl Default for Count {
    fn default() -> Self {
        Self { count: AtomicU32::new(0), changed: watch::Sender::new(0) }
    }
}

impl Count {
    fn one_more(&self) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.changed.send_if_modified(|known| {
            let more = count > *known;
            *known = count.max(*known);
            more
        });
    }

    async fn until(&self, size: u32) {
        let mut changed = self.changed.subscribe();
        let reached = changed.wait_for(|count| *count >= size);
        tokio::time::timeout(Duration::from_mins(2), reached)
            .await
            .expect("all agents hear of it")
            .expect("it is there");
    }
}

impl Crowd {
    /// Opens a session for each agent, as participants who join for the first time.
    pub(super) async fn open(notifier: SocketAddr, agents: Vec<AgentId>) -> Self {
        super::server::allow_many_files();
        let size = u32::try_from(agents.len()).expect("not that many");
        let (heard, opening) = (Arc::new(Heard::default()), Arc::new(Semaphore::new(OPENING)));
        let (opened, mut all) = mpsc::channel(OPENING);
        let mut sessions = JoinSet::new();
        for (n, agent) in agents.into_iter().enumerate() {
            let (heard, opening, opened) = (Arc::clone(&heard), Arc::clone(&opening), opened.clone());
            sessions.spawn(async move {
                let permit = opening.acquire_owned().await.expect("nobody closes it");
                let session = open(notifier, &agent, n).await;
                drop(permit);
                opened.send(()).await.expect("somebody waits");
                serve(session, &heard).await;
            });
        }
        drop(opened);
        for _ in 0..size {
            all.recv().await.expect("every session opens");
        }
        Self { size, heard, _sessions: sessions }
    }

    pub(super) async fn all_started(&self) {
        self.heard.started.until(self.size).await;
    }

    pub(super) async fn all_stopped(&self) {
        self.heard.stopped.until(self.size).await;
    }
}

type Session = (mpsc::Sender<FromAgent>, tonic::Streaming<flame_api::notifier::ToAgent>, Duration);

async fn open(notifier: SocketAddr, agent: &AgentId, n: usize) -> Session {
    let endpoint = Endpoint::from_shared(format!("http://{notifier}")).expect("an address").tcp_nodelay(true);
    let channel = endpoint.connect().await.expect("the notifier accepts");
    let (outgoing, stream) = mpsc::channel(4);
    // As a flamelet has stretched its key; to the server one proof is as good as another.
    let hello =
        Hello { agent_id: agent.to_string(), proof: format!("{n:064x}"), version: "bench".into(), ..Hello::default() };
    outgoing.send(FromAgent { body: Some(from_agent::Body::Hello(hello)) }).await.expect("there is room");
    let answer = NotifierClient::new(channel).session(ReceiverStream::new(stream)).await;
    let mut incoming = answer.unwrap_or_else(|status| panic!("{agent}: {status}")).into_inner();
    let first = incoming.message().await.expect("a session begins").and_then(|message| message.body);
    let Some(to_agent::Body::Welcome(welcome)) = first else { panic!("a session begins with a welcome") };
    (outgoing, incoming, Duration::from_secs(u64::from(welcome.heartbeat_seconds)))
}

async fn serve((outgoing, mut incoming, heartbeat): Session, heard: &Heard) {
    let mut beat = tokio::time::interval(heartbeat);
    loop {
        let body = tokio::select! {
            _ = beat.tick() => from_agent::Body::Heartbeat(Heartbeat {}),
            message = incoming.message() => {
                let Ok(Some(message)) = message else { return };
                let Some(to_agent::Body::Event(event)) = message.body else { continue };
                match event.r#type() {
                    EventType::Start => heard.started.one_more(),
                    EventType::Stop => heard.stopped.one_more(),
                    EventType::Unspecified => {}
                }
                from_agent::Body::Read(EventAck { number: event.number })
            }
        };
        if outgoing.send(FromAgent { body: Some(body) }).await.is_err() {
            return;
        }
    }
}
