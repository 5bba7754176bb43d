//! The channels of a connection, and who of them gets what.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::mpsc;

use crate::topics;
use crate::transport::{Incoming, Packet};

/// Packets that wait in a lane for its channel.
const LANE: usize = 8;

/// All lanes of one connection.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Mutex<Vec<Lane>>,
}

#[derive(Debug, Clone)]
struct Lane {
    id: u64,
    filters: Vec<String>,
    queue: mpsc::Sender<Incoming>,
}

impl Lanes {
    fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new lane, which gets what is on topics that match its filters.
    pub(super) fn open(&self, id: u64, filters: Vec<String>) -> mpsc::Receiver<Incoming> {
        let (queue, incoming) = mpsc::channel(LANE);
        self.lanes().push(Lane { id, filters, queue });
        incoming
    }

    /// Ends a lane; the filters that no other one has.
    pub(super) fn close(&self, id: u64) -> Vec<String> {
        let mut lanes = self.lanes();
        let closed: Vec<Lane> = lanes.extract_if(.., |lane| lane.id == id).collect();
        let used: BTreeSet<&String> = lanes.iter().flat_map(|lane| &lane.filters).collect();
        closed.iter().flat_map(|lane| &lane.filters).filter(|filter| !used.contains(filter)).cloned().collect()
    }

    /// Ends all: their channels learn that nothing comes any more.
    pub(super) fn clear(&self) {
        self.lanes().clear();
    }

    /// What all of them want to receive.
    pub(super) fn filters(&self) -> BTreeSet<String> {
        self.lanes().iter().flat_map(|lane| lane.filters.clone()).collect()
    }

    /// Hands a packet to whom it concerns.
    pub(super) async fn deliver(&self, publish: Publish) {
        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else { return };
        let hit = |lane: &Lane| lane.filters.iter().any(|filter| topics::matches(filter, &topic));
        let to = self.queues(hit);
        let packet = Incoming::Packet(Packet { topic, payload: publish.payload, beside: None });
        send(to, packet).await;
    }

    /// Tells all of them.
    pub(super) async fn tell(&self, incoming: Incoming) {
        send(self.queues(|_| true), incoming).await;
    }

    fn queues(&self, applies: impl Fn(&Lane) -> bool) -> Vec<mpsc::Sender<Incoming>> {
        self.lanes().iter().filter(|lane| applies(lane)).map(|lane| lane.queue.clone()).collect()
    }
}

/// Waits for slow lanes: the socket fills, and the broker holds back.
async fn send(to: Vec<mpsc::Sender<Incoming>>, incoming: Incoming) {
    for queue in to {
        let _ = queue.send(incoming.clone()).await;
    }
}
