//! Packets straight from flamelet to flamelet, for parties that can reach each other.
//!
//! Every pair of ends that share a channel has one bidirectional gRPC stream, which carries all their channels. Who knows
//! the other's address dials; if both listen, the end with the lower id does. So of two ends one has to listen. Both sides
//! show that they have the pair's secret; each tells the other which topics it listens to, and sends what the other
//! listens to. A broadcast is one upload per peer, from one sealed packet that the queues share.
//!
//! A lane's link counts as up from the beginning: there is no broker whose loss would silence everybody. What happens to a
//! single pair is told as [`Incoming::Reached`](crate::Incoming::Reached) and [`Incoming::Lost`](crate::Incoming::Lost): the core sends again to that end alone what was on
//! its way to it, or sees it leave.

mod accept;
mod dial;
mod handshake;
mod link;
mod queue;
mod resolver;
mod serve;
mod state;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flame_model::EndId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::error::ChannelError;
use crate::frame::commit;
use crate::lanes::Lanes;
use crate::topics;
use crate::transport::{Lane, Packet, Transport};
pub use handshake::LinkSecret;
use link::{Offer, Peer};
pub use resolver::{Directory, Place, Resolver};
use state::State;

/// Version of the carrier's protocol.
const VERSION: u32 = 1;
/// Largest payload of a packet: what a chunk size that anybody sets may need.
const MAX_PAYLOAD: usize = 1 << 20;
/// Largest message on a stream: a payload, its topic, and what surrounds them.
const MAX_MESSAGE: usize = MAX_PAYLOAD + (64 << 10);
/// Largest HTTP/2 frame. The default of 16 KiB would cut a chunk of 256 KiB into sixteen.
const FRAME: u32 = 512 << 10;
/// Time that dialling and showing who one is may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Packets that wait in a lane for its channel.
const LANE: usize = 64;
/// How long `connect` waits for ends that are here already.
const FIRST_LINKS: Duration = Duration::from_secs(2);
/// How long a flush waits for slow peers.
const FLUSH: Duration = Duration::from_secs(5);
/// How long a goodbye to all peers may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Who takes part, and where it listens.
#[derive(Debug, Clone)]
pub struct P2pSettings {
    /// The job.
    pub job: String,
    /// This end.
    pub me: EndId,
    /// The task's attempt: of two attempts of an end, the others serve the newer one.
    pub incarnation: u32,
    /// Where to listen. Without it this end only dials.
    pub listen: Option<Listen>,
    /// The ends that this one talks to.
    pub peers: BTreeMap<EndId, LinkSecret>,
}

/// Where to listen, and what to tell the others of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `host:port`; port 0 takes a free one.
    pub address: String,
    /// `host:port` under which the others reach it, where that differs; port 0 stands for the one listened on.
    pub advertise: Option<String>,
}

/// A task's streams to its peers. Dropping it breaks them; [`P2pTransport::shutdown`] ends them in order.
pub struct P2pTransport {
    state: Arc<State>,
    server: Option<AbortOnDropHandle<()>>,
    /// Kept, because places are watched through it.
    _resolver: Arc<dyn Resolver>,
}

impl P2pTransport {
    /// Listens, says so, and dials whom it finds. Waits for those who are here already (2 s at most); from then on pairs
    /// are linked, and linked again, in the background.
    pub async fn connect(settings: P2pSettings, resolver: Arc<dyn Resolver>) -> Result<Self, ChannelError> {
        let listener = match &settings.listen {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        let me = settings.me;
        let peers = settings.peers.into_iter().filter(|(end, _)| *end != me);
        let peers = peers.map(|(end, secret)| (end.clone(), Arc::new(Peer::new(end, secret)))).collect();
        let state = Arc::new(State {
            job: settings.job,
            me,
            incarnation: settings.incarnation,
            listens: listener.is_some(),
            peers,
            lanes: Lanes::new(LANE),
            unreachable: watch::Sender::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        state.tasks.close();
        let (server, address) = match listener {
            Some((listener, address)) => (Some(accept::listen(listener, &state)), Some(address)),
            None => (None, None),
        };
        // From here on an early return ends what was started.
        let transport = Self { state, server, _resolver: Arc::clone(&resolver) };
        resolver.announce(address.as_deref()).await?;
        for peer in transport.state.peers.values() {
            let (state, place) = (Arc::clone(&transport.state), resolver.watch(&peer.id));
            transport.state.tasks.spawn(dial::keep(state, Arc::clone(peer), place));
        }
        transport.state.tasks.spawn(end_lanes(Arc::clone(&transport.state)));
        let linked = async {
            for peer in transport.state.peers.values() {
                // The sender is in the peer, so it cannot be gone.
                let _ = peer.tried.subscribe().wait_for(|tried| *tried).await;
            }
        };
        let _ = tokio::time::timeout(FIRST_LINKS, linked).await;
        Ok(transport)
    }

    /// Ends that are here and cannot be linked, because neither they nor this one listen. [`no_way`] says it.
    pub fn unreachable(&self) -> watch::Receiver<BTreeSet<EndId>> {
        self.state.unreachable.subscribe()
    }

    /// Ends that a stream stands to.
    pub fn linked(&self) -> Vec<EndId> {
        self.state.peers.values().filter(|peer| peer.stands()).map(|peer| peer.id.clone()).collect()
    }

    /// Breaks all streams without a word, as a crash would.
    pub fn abort(&self) {
        self.state.stop.cancel();
    }

    /// Ends the streams after what is queued. Leave the channels first.
    pub async fn shutdown(&self) {
        let _ = self.flush().await;
        let peers: Vec<_> = self.state.peers.values().collect();
        for peer in &peers {
            if let Some(queue) = peer.queue() {
                queue.finish();
            }
        }
        let ended = async {
            for peer in peers {
                // The other side ends its half when it has read all of ours.
                let _ = peer.standing.subscribe().wait_for(Option::is_none).await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, ended).await;
        self.state.stop.cancel();
        self.state.tasks.wait().await;
    }
}

impl Drop for P2pTransport {
    fn drop(&mut self) {
        self.state.stop.cancel();
        // It ends by itself; connections of others need not wait for it.
        drop(self.server.take());
    }
}

/// What to tell people of a pair that cannot be linked.
pub fn no_way(me: &EndId, peer: &EndId) -> String {
    format!(
        "there can be no peer-to-peer stream between {me} and {peer}, because neither listens; start one of the two \
         flamelets with --p2p-listen HOST:PORT, at an address that the other reaches, or use the backend mqtt"
    )
}

/// Binds, and says what to advertise.
async fn bind(listen: &Listen) -> Result<(TcpListener, String), ChannelError> {
    let failed = |error: std::io::Error| {
        ChannelError::Unavailable(format!(
            "cannot listen for peers on {}: {error}; choose another address by --p2p-listen HOST:PORT",
            listen.address
        ))
    };
    let listener = TcpListener::bind(&listen.address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let address = match &listen.advertise {
        Some(advertise) => match advertise.rsplit_once(':') {
            Some((host, "0")) => format!("{host}:{}", bound.port()),
            Some(_) => advertise.clone(),
            None => format!("{advertise}:{}", bound.port()),
        },
        None => bound.to_string(),
    };
    Ok((listener, address))
}

/// Channels that are still there when the transport ends learn that nothing comes any more.
async fn end_lanes(state: Arc<State>) {
    state.stop.cancelled().await;
    state.lanes.clear();
}

fn gone() -> ChannelError {
    ChannelError::Unavailable("the peer-to-peer transport has been closed".into())
}

#[async_trait]
impl Transport for P2pTransport {
    async fn open(&self, filters: Vec<String>) -> Result<Lane, ChannelError> {
        if self.state.stop.is_cancelled() {
            return Err(gone());
        }
        let (id, incoming) = self.state.lanes.open(filters);
        self.state.subscribe();
        // No will is needed: a peer's own transport tells it that the stream broke. Nobody can disclose this token.
        let will = commit(&handshake::nonce()?);
        Ok(Lane { id, up: Some(MAX_PAYLOAD), incoming, will })
    }

    async fn close(&self, lane: u64) {
        self.state.lanes.close(lane);
        self.state.subscribe();
    }

    async fn publish(&self, packet: Packet) -> Result<(), ChannelError> {
        if self.state.stop.is_cancelled() {
            return Err(gone());
        }
        let offer = |peer: &Peer| {
            if peer.offer(&packet.topic, &packet.payload) == Offer::Dropped {
                tracing::debug!(peer = %peer.id, "its queue is full; a packet was dropped");
            }
        };
        match topics::addressee(&packet.topic) {
            Some(to) => {
                let to = EndId::new(to).map_err(|error| ChannelError::InvalidArgument(error.to_string()))?;
                if let Some(peer) = self.state.peers.get(&to) {
                    offer(peer);
                }
            }
            None => self.state.peers.values().for_each(|peer| offer(peer)),
        }
        Ok(())
    }

    fn window(&self) -> u64 {
        self.state.window().into()
    }

    async fn flush(&self) -> Result<(), ChannelError> {
        let queues: Vec<_> = self.state.peers.values().filter_map(|peer| peer.queue()).collect();
        let all = async {
            for queue in queues {
                queue.emptied().await;
            }
        };
        // A slow peer is no failure of the others.
        let _ = tokio::time::timeout(FLUSH, all).await;
        Ok(())
    }
}
