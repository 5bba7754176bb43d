//! Reading a stream that stands.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::link::{Peer, Taken};
use super::state::State;
use super::wire::{Beat, Parcel, parcel};
use crate::transport::{Incoming, Packet};

/// How often something is sent at least.
const BEAT: Duration = Duration::from_secs(10);
/// Silence after which a stream counts as dead. Whatever comes breaks it: a transfer is never cut for being long. The
/// channels' own heartbeat is quicker; this is for streams that nobody would miss.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// Most filters of a peer: three for each channel.
const FILTERS: usize = 1024;

/// Reads until the stream ends, breaks or is replaced. `filters`: what the other side said already.
pub(super) async fn serve(
    state: Arc<State>,
    peer: Arc<Peer>,
    taken: Taken,
    mut incoming: Streaming<Parcel>,
    greeted: bool,
) {
    tracing::info!(job = state.job, peer = %peer.id, "a peer-to-peer stream stands");
    let why = tokio::select! {
        ended = read(&state, &peer, &taken, &mut incoming, greeted) => ended.err().map(|status| status.message().to_owned()),
        () = taken.replaced.cancelled() => Some("another stream took its place".to_owned()),
        () = state.stop.cancelled() => None,
    };
    peer.release(taken.number);
    if let Some(why) = why {
        tracing::info!(job = state.job, peer = %peer.id, why, "a peer-to-peer stream broke");
    } else {
        tracing::debug!(job = state.job, peer = %peer.id, "a peer-to-peer stream ended");
    }
}

async fn read(
    state: &State,
    peer: &Peer,
    taken: &Taken,
    incoming: &mut Streaming<Parcel>,
    mut greeted: bool,
) -> Result<(), Status> {
    if greeted {
        state.lanes.tell(Incoming::Reached(peer.id.clone())).await;
    }
    let mut beat = tokio::time::interval(BEAT);
    let mut dead_at = Instant::now() + DEAD_AFTER;
    loop {
        let next = tokio::select! {
            next = incoming.message() => next?,
            _ = beat.tick() => {
                if let Some(queue) = peer.queue().filter(|queue| queue.is_empty()) {
                    queue.push(parcel::Body::Beat(Beat {}));
                }
                continue;
            }
            () = tokio::time::sleep_until(dead_at) => {
                return Err(Status::deadline_exceeded(format!("nothing came for {} s", DEAD_AFTER.as_secs())));
            }
        };
        let Some(parcel) = next else { return Ok(()) };
        match parcel.body {
            Some(parcel::Body::Packet(packet)) => {
                let packet = Packet { topic: packet.topic, payload: packet.payload, beside: None };
                state.arrived(&peer.id, packet).await;
            }
            Some(parcel::Body::Subscriptions(subscriptions)) => {
                peer.subscribed(taken.number, checked(subscriptions.filters)?);
                if !std::mem::replace(&mut greeted, true) {
                    state.lanes.tell(Incoming::Reached(peer.id.clone())).await;
                }
            }
            Some(parcel::Body::Beat(_)) => {}
            _ => return Err(Status::invalid_argument("a handshake is over when it is over")),
        }
        // Counted from when it could be taken: a lane that is slow is not the other side's silence.
        dead_at = Instant::now() + DEAD_AFTER;
    }
}

/// Filters that a peer may name.
pub(super) fn checked(filters: Vec<String>) -> Result<Vec<String>, Status> {
    if filters.len() > FILTERS {
        return Err(Status::invalid_argument(format!("{} subscriptions, and {FILTERS} are the most", filters.len())));
    }
    Ok(filters)
}
