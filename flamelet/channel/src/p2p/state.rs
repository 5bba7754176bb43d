//! What the parts of a transport share: lanes, peers and bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flame_model::EndId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::Peer;
use crate::lanes::Lanes;
use crate::topics;
use crate::transport::Packet;

/// What all queues to peers may hold together, and what all streams may have received and nobody read.
const ALL_PEERS: usize = 64 << 20;
/// Bounds of the share of one peer: what a window of the core needs, and what still makes progress.
const SHARE: (usize, usize) = (1 << 20, 16 << 20);

pub(super) struct State {
    pub(super) job: String,
    pub(super) me: EndId,
    pub(super) incarnation: u32,
    /// Others can dial this end.
    pub(super) listens: bool,
    pub(super) peers: BTreeMap<EndId, Arc<Peer>>,
    pub(super) lanes: Lanes,
    /// Ends that are here, and neither side listens.
    pub(super) unreachable: watch::Sender<BTreeSet<EndId>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl State {
    /// What this side listens to.
    pub(super) fn wanted(&self) -> Vec<String> {
        self.lanes.filters().into_iter().collect()
    }

    /// Tells all peers what this side listens to from now on.
    pub(super) fn subscribe(&self) {
        for peer in self.peers.values() {
            peer.subscribe(self.wanted());
        }
    }

    /// Hands a packet of `from` to its lanes. What claims to be of somebody else is dropped: a stream carries the packets
    /// of the end at its other side, and a will is nobody's to send here.
    pub(super) async fn arrived(&self, from: &EndId, packet: Packet) {
        if topics::publisher(&packet.topic) != Some(from.as_str()) {
            tracing::debug!(%from, "a packet that names another sender was dropped");
            return;
        }
        self.lanes.deliver(packet).await;
    }

    /// Notes whether a stream to this end is out of the question for now.
    pub(super) fn note_unreachable(&self, end: &EndId, unreachable: bool) {
        self.unreachable.send_if_modified(|ends| {
            if unreachable {
                let new = ends.insert(end.clone());
                if new {
                    tracing::error!("{}", super::no_way(&self.me, end));
                }
                new
            } else {
                ends.remove(end)
            }
        });
    }

    /// Bytes that may wait for one peer, and that one peer may have sent and nobody read.
    pub(super) fn share(&self) -> usize {
        (ALL_PEERS / self.peers.len().max(1)).clamp(SHARE.0, SHARE.1)
    }

    /// The share as HTTP/2 counts it.
    pub(super) fn window(&self) -> u32 {
        u32::try_from(self.share()).unwrap_or(u32::MAX >> 1)
    }
}
