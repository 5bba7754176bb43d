//! A pair of ends, and the one stream that it has at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flame_model::EndId;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handshake::LinkSecret;
use super::queue::Queue;
use super::wire::{Packet, Subscriptions, parcel};
use crate::topics;

/// Two streams that come up within this time were dialled by both ends at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The other end of a pair.
pub(super) struct Peer {
    pub(super) id: EndId,
    pub(super) secret: LinkSecret,
    slot: Mutex<Slot>,
    /// The number of the stream that stands.
    pub(super) standing: watch::Sender<Option<u64>>,
    /// It was linked, or could not be at the first try.
    pub(super) tried: watch::Sender<bool>,
}

#[derive(Default)]
struct Slot {
    live: Option<Live>,
    streams: u64,
    /// The newest attempt of this end that was here.
    newest: u32,
}

struct Live {
    number: u64,
    terms: Terms,
    since: Instant,
    queue: Arc<Queue>,
    /// What the other side listens to.
    filters: Vec<String>,
    replaced: CancellationToken,
}

/// What decides between two streams of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// The attempt that the other end is in.
    pub(super) incarnation: u32,
    /// The end with the lower id has dialled it.
    pub(super) by_lower: bool,
}

/// Why a stream is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A newer attempt of the end is, or was, here.
    Outdated,
    /// Both ends dialled, and the other stream is kept.
    Doubled,
}

/// A stream that was taken.
pub(super) struct Taken {
    pub(super) number: u64,
    /// Cancelled when another stream takes its place.
    pub(super) replaced: CancellationToken,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Queued,
    /// There is no stream, or the other side does not listen to the topic.
    NotWanted,
    /// The queue is full.
    Dropped,
}

/// Whether a new stream takes the place of the one that stands. Both sides decide alike, so a pair that dials at once
/// keeps one stream and not none: the lower end's. Otherwise the newer one counts: who dials again has lost the old one.
fn replaces(new: Terms, old: Terms, age: Duration) -> bool {
    new.incarnation > old.incarnation || new.by_lower || !old.by_lower || age >= AT_ONCE
}

impl Peer {
    pub(super) fn new(id: EndId, secret: LinkSecret) -> Self {
        Self {
            id,
            secret,
            slot: Mutex::default(),
            standing: watch::Sender::new(None),
            tried: watch::Sender::new(false),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stands(&self) -> bool {
        self.standing.borrow().is_some()
    }

    /// Whether a stream of this attempt may still be opened.
    pub(super) fn is_outdated(&self, incarnation: u32) -> bool {
        incarnation < self.slot().newest
    }

    /// Makes a stream the pair's, unless the one that stands is better.
    pub(super) fn take(&self, queue: &Arc<Queue>, filters: Vec<String>, terms: Terms) -> Result<Taken, Refusal> {
        let mut slot = self.slot();
        if terms.incarnation < slot.newest {
            return Err(Refusal::Outdated);
        }
        if slot.live.as_ref().is_some_and(|old| !replaces(terms, old.terms, old.since.elapsed())) {
            return Err(Refusal::Doubled);
        }
        slot.streams += 1;
        slot.newest = terms.incarnation;
        let (number, replaced) = (slot.streams, CancellationToken::new());
        let live = Live {
            number,
            terms,
            since: Instant::now(),
            queue: Arc::clone(queue),
            filters,
            replaced: replaced.clone(),
        };
        if let Some(old) = slot.live.replace(live) {
            old.replaced.cancel();
            old.queue.cut(None);
        }
        // Told under the lock, so that what is told last holds.
        self.standing.send_replace(Some(number));
        drop(slot);
        self.tried.send_replace(true);
        Ok(Taken { number, replaced })
    }

    /// A stream has ended.
    pub(super) fn release(&self, number: u64) {
        let mut slot = self.slot();
        if slot.live.as_ref().is_some_and(|live| live.number == number) {
            if let Some(live) = slot.live.take() {
                live.queue.cut(None);
            }
            self.standing.send_replace(None);
        }
    }

    /// The other side says what it listens to.
    pub(super) fn subscribed(&self, number: u64, filters: Vec<String>) {
        if let Some(live) = self.slot().live.as_mut().filter(|live| live.number == number) {
            live.filters = filters;
        }
    }

    /// Tells the other side what this one listens to.
    pub(super) fn subscribe(&self, filters: Vec<String>) {
        if let Some(live) = &self.slot().live {
            live.queue.push(parcel::Body::Subscriptions(Subscriptions { filters }));
        }
    }

    pub(super) fn offer(&self, topic: &str, payload: &Bytes) -> Offer {
        let slot = self.slot();
        let Some(live) = &slot.live else { return Offer::NotWanted };
        if !live.filters.iter().any(|filter| topics::matches(filter, topic)) {
            return Offer::NotWanted;
        }
        let packet = Packet { topic: topic.to_owned(), payload: payload.clone() };
        if live.queue.push(parcel::Body::Packet(packet)) { Offer::Queued } else { Offer::Dropped }
    }

    /// What waits to be sent, while a stream stands.
    pub(super) fn queue(&self) -> Option<Arc<Queue>> {
        self.slot().live.as_ref().map(|live| Arc::clone(&live.queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Duration = Duration::from_millis(10);

    fn terms(incarnation: u32, by_lower: bool) -> Terms {
        Terms { incarnation, by_lower }
    }

    #[test]
    fn of_two_streams_that_are_dialled_at_once_both_sides_keep_the_same() {
        let (low, high) = (terms(1, true), terms(1, false));
        // One side sees them in one order, the other in the other.
        assert!(replaces(low, high, EARLY));
        assert!(!replaces(high, low, EARLY));
    }

    #[test]
    fn who_dials_again_has_lost_the_old_stream() {
        assert!(replaces(terms(1, false), terms(1, true), AT_ONCE));
        assert!(replaces(terms(1, true), terms(1, true), EARLY));
        assert!(replaces(terms(1, false), terms(1, false), EARLY));
    }

    #[test]
    fn a_newer_attempt_takes_the_place_and_an_older_one_is_refused() {
        let id = EndId::new(&"1".repeat(40)).unwrap();
        let peer = Peer::new(id.clone(), LinkSecret::derive("job", &id, &id, []));
        let queue = Queue::new(1000);
        let first = peer.take(&queue, Vec::new(), terms(1, true)).ok().unwrap();
        let second = peer.take(&Queue::new(1000), Vec::new(), terms(2, false)).ok().unwrap();
        assert!(first.replaced.is_cancelled() && queue.is_empty());
        assert_eq!(peer.take(&Queue::new(1000), Vec::new(), terms(1, true)).err(), Some(Refusal::Outdated));
        peer.release(first.number);
        assert!(peer.stands());
        peer.release(second.number);
        assert!(!peer.stands() && peer.is_outdated(1));
    }
}
