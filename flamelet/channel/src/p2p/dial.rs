//! The dialling side, and the watch over what became of a pair's stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use super::handshake::{Handshake, Party, Side, nonce};
use super::link::{Peer, Refusal, Taken, Terms};
use super::queue::{Dialled, Queue};
use super::resolver::Place;
use super::serve::{checked, serve};
use super::state::State;
use super::wire::carrier_client::CarrierClient;
use super::wire::{Open, Parcel, Proof, parcel};
use super::{FRAME, HANDSHAKE, MAX_MESSAGE, VERSION};
use crate::transport::Incoming;

/// Pauses between attempts: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A stream that stood for so long is dialled again at once when it breaks.
const STEADY: Duration = Duration::from_secs(5);
/// How long the higher of two ends that both listen waits for the lower one to dial.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long after a break an end counts as gone. Who is back by then never left.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Keeps a pair linked as far as this side can, and says when the other end is lost.
pub(super) async fn keep(state: Arc<State>, peer: Arc<Peer>, place: watch::Receiver<Place>) {
    let work = async { tokio::join!(dial(&state, &peer, place), watch_over(&state, &peer)) };
    state.stop.run_until_cancelled(work).await;
}

/// Tells the lanes when a stream broke and did not come back.
async fn watch_over(state: &State, peer: &Peer) {
    let mut standing = peer.standing.subscribe();
    loop {
        if standing.wait_for(Option::is_some).await.is_err() || standing.wait_for(Option::is_none).await.is_err() {
            return;
        }
        if tokio::time::timeout(LOST_AFTER, standing.wait_for(Option::is_some)).await.is_err() {
            tracing::debug!(job = state.job, peer = %peer.id, "a peer is lost");
            state.lanes.tell(Incoming::Lost(peer.id.clone())).await;
        }
    }
}

/// When to try again: at once after a stream that stood for a while, ever later when nothing helps.
struct BackOff {
    pause: Duration,
    next: Instant,
}

impl BackOff {
    fn new() -> Self {
        Self { pause: BACK_OFF.0, next: Instant::now() }
    }

    /// Notes an attempt; whether it is the first one.
    fn tried(&mut self) -> bool {
        let first = self.pause == BACK_OFF.0;
        self.next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(BACK_OFF.1);
        first
    }
}

async fn dial(state: &Arc<State>, peer: &Arc<Peer>, mut place: watch::Receiver<Place>) {
    let mut standing = peer.standing.subscribe();
    let mut back_off = BackOff::new();
    let (mut number, mut since) = (None, Instant::now());
    // The address that the standing stream goes with; another one means that the end has moved.
    let mut known: Option<String> = None;
    loop {
        let before = std::mem::replace(&mut number, *standing.borrow_and_update());
        if number.is_some() && number != before {
            (known, since) = (None, Instant::now());
        } else if number.is_none() && before.is_some() && since.elapsed() >= STEADY {
            back_off = BackOff::new();
        }
        // Whom to dial, and when.
        let turn = match place.borrow_and_update().clone() {
            Place::At(address) if number.is_some() && known.as_ref().is_none_or(|known| *known == address) => {
                known = Some(address);
                None
            }
            // Both listen: the lower end dials, and the higher one where that does not work.
            Place::At(address) if state.listens && state.me > peer.id => {
                Some((address, back_off.next.max(Instant::now() + PATIENCE)))
            }
            Place::At(address) => Some((address, back_off.next)),
            here @ (Place::Hidden | Place::Unknown) => {
                state.note_unreachable(&peer.id, here == Place::Hidden && !state.listens && number.is_none());
                peer.tried.send_replace(true);
                None
            }
        };
        let (address, at) = turn.unzip();
        tokio::select! {
            biased;
            // Their senders live as long as the transport.
            _ = place.changed() => {
                back_off = BackOff::new();
                continue;
            }
            _ = standing.changed() => continue,
            () = sleep_until(at) => {}
        }
        let Some(address) = address else { continue };
        state.note_unreachable(&peer.id, false);
        let first = back_off.tried();
        let attempt = tokio::select! {
            attempt = tokio::time::timeout(HANDSHAKE, link(state, peer, &address)) => attempt,
            // Dialled by the other side meanwhile, or it has moved.
            _ = standing.changed() => continue,
            _ = place.changed() => continue,
        };
        let late = |_| Err(Status::deadline_exceeded("it does not answer"));
        let Err(failed) = attempt.unwrap_or_else(late) else { continue };
        known = Some(address.clone());
        peer.tried.send_replace(true);
        let why = cause(&failed);
        if failed.code() == Code::Aborted {
            tracing::warn!(job = state.job, peer = %peer.id, why, "this attempt of the task does not dial any more");
            return;
        }
        if first {
            tracing::warn!(job = state.job, peer = %peer.id, address, why, "no peer-to-peer stream yet; trying again");
        } else {
            tracing::debug!(job = state.job, peer = %peer.id, address, why, "no peer-to-peer stream yet");
        }
    }
}

/// For ever without a time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Opens a stream and hands it to its reader.
async fn link(state: &Arc<State>, peer: &Arc<Peer>, address: &str) -> Result<(), Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::invalid_argument(error.to_string()))?
        .connect_timeout(HANDSHAKE)
        .tcp_nodelay(true)
        .initial_stream_window_size(state.window())
        .initial_connection_window_size(state.window())
        .max_frame_size(FRAME);
    let channel = endpoint.connect().await.map_err(|error| Status::unavailable(root_cause(&error)))?;
    let queue = Queue::new(state.share());
    let me = Party {
        end: state.me.clone(),
        incarnation: state.incarnation,
        nonce: nonce().map_err(|error| Status::internal(error.to_string()))?,
    };
    queue.push(parcel::Body::Open(Open {
        version: VERSION,
        job: state.job.clone(),
        from: me.end.to_string(),
        to: peer.id.to_string(),
        incarnation: me.incarnation,
        nonce: me.nonce.to_vec(),
    }));
    let client = CarrierClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let mut incoming = { client }.link(Dialled(Arc::clone(&queue))).await?.into_inner();
    let taken = greet(state, peer, &me, &queue, &mut incoming).await?;
    state.tasks.spawn(serve(Arc::clone(state), Arc::clone(peer), taken, incoming, true));
    Ok(())
}

async fn greet(
    state: &State,
    peer: &Peer,
    me: &Party,
    queue: &Arc<Queue>,
    incoming: &mut Streaming<Parcel>,
) -> Result<Taken, Status> {
    let Some(parcel::Body::Answer(answer)) = incoming.message().await?.and_then(|parcel| parcel.body) else {
        return Err(Status::invalid_argument("it does not answer as a flamelet does"));
    };
    let other = Party {
        end: peer.id.clone(),
        incarnation: answer.incarnation,
        nonce: answer.nonce.try_into().map_err(|_| Status::invalid_argument("its nonce is none"))?,
    };
    let shake = Handshake { job: &state.job, dialler: me, listener: &other };
    if !shake.holds(&peer.secret, Side::Listener, &answer.proof) {
        return Err(Status::permission_denied("who answers there does not have this pair's secret"));
    }
    if peer.is_outdated(answer.incarnation) {
        return Err(Status::unavailable("an earlier attempt of the end answers there"));
    }
    queue.push(parcel::Body::Proof(Proof { proof: shake.proof(&peer.secret, Side::Dialler) }));
    // The listener has taken the stream once it says what it listens to.
    let Some(parcel::Body::Subscriptions(subscriptions)) = incoming.message().await?.and_then(|parcel| parcel.body)
    else {
        return Err(Status::invalid_argument("it does not greet as a flamelet does"));
    };
    let terms = Terms { incarnation: answer.incarnation, by_lower: state.me < peer.id };
    let taken = peer.take(queue, checked(subscriptions.filters)?, terms).map_err(|refusal| match refusal {
        Refusal::Outdated => Status::unavailable("an earlier attempt of the end answers there"),
        Refusal::Doubled => Status::already_exists("it has dialled at the same time"),
    })?;
    peer.subscribe(state.wanted());
    Ok(taken)
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
