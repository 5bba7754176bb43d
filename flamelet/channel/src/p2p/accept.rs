//! The listening side: streams of ends that show who they are.

use std::sync::Arc;
use std::time::Duration;

use flame_model::EndId;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::handshake::{Handshake, Party, Side, nonce};
use super::link::{Peer, Refusal, Taken, Terms};
use super::queue::{Accepted, Queue};
use super::serve::serve;
use super::state::State;
use super::wire::carrier_server::{Carrier, CarrierServer};
use super::wire::{Answer, Open, Parcel, parcel};
use super::{FRAME, HANDSHAKE, MAX_MESSAGE, VERSION};

/// Streams whose other side has not shown who it is.
const STRANGERS: usize = 64;
/// Streams of one connection; a flamelet opens one.
const STREAMS: u32 = 4;
/// After so much silence the system asks whether a connection still stands.
const TCP_KEEP_ALIVE: Duration = Duration::from_mins(1);

pub(super) struct Service {
    state: Arc<State>,
    strangers: Arc<Semaphore>,
}

/// Serves streams on a listener until the transport stops.
pub(super) fn listen(listener: TcpListener, state: &Arc<State>) -> AbortOnDropHandle<()> {
    let service = Service { state: Arc::clone(state), strangers: Arc::new(Semaphore::new(STRANGERS)) };
    let service = CarrierServer::new(service).max_decoding_message_size(MAX_MESSAGE);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(TCP_KEEP_ALIVE));
    let window = state.window();
    let server = Server::builder()
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS)
        .serve_with_incoming_shutdown(service, incoming, state.stop.clone().cancelled_owned());
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the peer-to-peer listener failed");
        }
    }))
}

#[tonic::async_trait]
impl Carrier for Service {
    type LinkStream = Accepted;

    async fn link(&self, request: Request<Streaming<Parcel>>) -> Result<Response<Accepted>, Status> {
        let full = |_| Status::resource_exhausted("too many streams are being opened; try again");
        let stranger = Arc::clone(&self.strangers).try_acquire_owned().map_err(full)?;
        let queue = Queue::new(self.state.share());
        let (state, outgoing) = (Arc::clone(&self.state), Arc::clone(&queue));
        self.state.tasks.spawn(async move {
            let mut incoming = request.into_inner();
            let known = tokio::time::timeout(HANDSHAKE, greet(&state, &outgoing, &mut incoming)).await;
            drop(stranger);
            let late = |_| Err(Status::deadline_exceeded("the handshake took too long"));
            match known.unwrap_or_else(late) {
                Ok((peer, taken)) => serve(state, peer, taken, incoming, false).await,
                Err(status) => {
                    tracing::debug!(why = status.message(), "a peer-to-peer stream was refused");
                    outgoing.cut(Some(status));
                }
            }
        });
        Ok(Response::new(Accepted(queue)))
    }
}

/// Learns who is there, and takes the stream.
async fn greet(
    state: &State,
    outgoing: &Arc<Queue>,
    incoming: &mut Streaming<Parcel>,
) -> Result<(Arc<Peer>, Taken), Status> {
    let Some(parcel::Body::Open(open)) = incoming.message().await?.and_then(|parcel| parcel.body) else {
        return Err(Status::invalid_argument("a stream begins with Open"));
    };
    let peer = addressed(state, &open)?;
    let stranger = Party {
        end: peer.id.clone(),
        incarnation: open.incarnation,
        nonce: open.nonce.try_into().map_err(|_| Status::invalid_argument("a nonce has 32 bytes"))?,
    };
    let nonce = nonce().map_err(|error| Status::internal(error.to_string()))?;
    let me = Party { end: state.me.clone(), incarnation: state.incarnation, nonce };
    let shake = Handshake { job: &state.job, dialler: &stranger, listener: &me };
    outgoing.push(parcel::Body::Answer(Answer {
        incarnation: me.incarnation,
        nonce: me.nonce.to_vec(),
        proof: shake.proof(&peer.secret, Side::Listener),
    }));
    let Some(parcel::Body::Proof(shown)) = incoming.message().await?.and_then(|parcel| parcel.body) else {
        return Err(Status::invalid_argument("Proof follows Answer"));
    };
    if !shake.holds(&peer.secret, Side::Dialler, &shown.proof) {
        return Err(Status::permission_denied("this pair has another secret"));
    }
    let terms = Terms { incarnation: open.incarnation, by_lower: peer.id < state.me };
    let taken = peer.take(outgoing, Vec::new(), terms).map_err(refused)?;
    // Behind `take`: a lane that opens meanwhile finds the stream, or is among the filters.
    peer.subscribe(state.wanted());
    Ok((peer, taken))
}

/// The peer that an opening names, if it is one of this end's.
fn addressed(state: &State, open: &Open) -> Result<Arc<Peer>, Status> {
    if open.version != VERSION {
        return Err(Status::failed_precondition(format!(
            "this flamelet speaks version {VERSION} of the peer-to-peer carrier, not {}",
            open.version
        )));
    }
    // One answer for all that is not here: a stranger learns nothing of jobs and ends.
    let nobody = || Status::not_found("nobody here takes this stream");
    if open.job != state.job || open.to != state.me.as_str() {
        return Err(nobody());
    }
    let end = EndId::new(&open.from).map_err(|_| nobody())?;
    let peer = state.peers.get(&end).ok_or_else(nobody)?;
    Ok(Arc::clone(peer))
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Outdated => Status::aborted("a newer attempt of this end is here"),
        Refusal::Doubled => Status::already_exists("the pair has a stream that was dialled from here"),
    }
}
