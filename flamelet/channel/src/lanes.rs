//! The subscribers of a transport, and who of them gets what.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::topics;
use crate::transport::{Incoming, Packet};

/// All lanes of one transport.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Packets that wait in a lane for its channel.
    room: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    lanes: Vec<Lane>,
}

#[derive(Debug, Clone)]
struct Lane {
    id: u64,
    filters: Vec<String>,
    queue: mpsc::Sender<Incoming>,
}

impl Lanes {
    /// None yet; each will hold up to `room` packets.
    pub(crate) fn new(room: usize) -> Self {
        Self { room, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new lane, by its id, which gets what is on topics that match its filters.
    pub(crate) fn open(&self, filters: Vec<String>) -> (u64, mpsc::Receiver<Incoming>) {
        let (queue, incoming) = mpsc::channel(self.room);
        let mut inner = self.inner();
        inner.last += 1;
        let id = inner.last;
        inner.lanes.push(Lane { id, filters, queue });
        (id, incoming)
    }

    /// Ends a lane; the filters that no other one has.
    pub(crate) fn close(&self, id: u64) -> Vec<String> {
        let mut inner = self.inner();
        let closed: Vec<Lane> = inner.lanes.extract_if(.., |lane| lane.id == id).collect();
        let used: BTreeSet<&String> = inner.lanes.iter().flat_map(|lane| &lane.filters).collect();
        closed.iter().flat_map(|lane| &lane.filters).filter(|filter| !used.contains(filter)).cloned().collect()
    }

    /// Ends all: their channels learn that nothing comes any more.
    pub(crate) fn clear(&self) {
        self.inner().lanes.clear();
    }

    /// What all of them want to receive.
    pub(crate) fn filters(&self) -> BTreeSet<String> {
        self.inner().lanes.iter().flat_map(|lane| lane.filters.clone()).collect()
    }

    /// Hands a packet to whom it concerns.
    pub(crate) async fn deliver(&self, packet: Packet) {
        let to = self.queues(|lane| lane.filters.iter().any(|filter| topics::matches(filter, &packet.topic)));
        send(to, Incoming::Packet(packet)).await;
    }

    /// Tells all of them.
    pub(crate) async fn tell(&self, incoming: Incoming) {
        send(self.queues(|_| true), incoming).await;
    }

    fn queues(&self, applies: impl Fn(&Lane) -> bool) -> Vec<mpsc::Sender<Incoming>> {
        self.inner().lanes.iter().filter(|lane| applies(lane)).map(|lane| lane.queue.clone()).collect()
    }
}

/// Waits for slow lanes: the connection fills, and its other side holds back. A closed lane is no error: its end has just
/// left.
async fn send(mut to: Vec<mpsc::Sender<Incoming>>, incoming: Incoming) {
    let Some(last) = to.pop() else { return };
    for queue in to {
        let _ = queue.send(incoming.clone()).await;
    }
    let _ = last.send(incoming).await;
}
