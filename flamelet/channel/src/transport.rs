//! What carries packets: best effort, unordered for all that anyone relies on.
//!
//! A transport may lose, double and reorder; the core makes it good. It must never block its receiving side on its sending
//! side, and must never hold more than a bounded number of packets.

use async_trait::async_trait;
use bytes::Bytes;
use flame_model::{EndId, Message};
use tokio::sync::mpsc;

use crate::error::ChannelError;

/// A packet on its way out.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Where to.
    pub topic: String,
    /// The sealed frame.
    pub payload: Bytes,
    /// The message itself, handed over in memory; only on transports that share memory.
    pub beside: Option<Message>,
}

/// What a lane receives.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// A packet on one of the lane's topics.
    Packet(Packet),
    /// The lane's subscriptions stand; packets may carry payloads of up to `max_payload` bytes.
    LinkUp {
        /// Largest payload in bytes.
        max_payload: usize,
    },
    /// Nothing comes or goes until the next `LinkUp`.
    LinkDown,
    /// Of transports with a connection for each end: the one to this end stands now, or stands again. What was on its
    /// way to it may be lost.
    Reached(EndId),
    /// Of the same: the connection to this end broke, and did not come back in the time that a broker gives it.
    Lost(EndId),
}

/// One subscriber's view of a transport.
#[derive(Debug)]
pub struct Lane {
    /// Names the lane in [`Transport::close`].
    pub id: u64,
    /// Largest payload in bytes while the link is up already; otherwise a `LinkUp` will follow.
    pub up: Option<usize>,
    /// What arrives, in order of arrival. Bounded: a transport waits for a slow reader.
    pub incoming: mpsc::Receiver<Incoming>,
    /// SHA-256 of the secret that this end's will discloses.
    pub will: [u8; 32],
}

/// A carrier of packets.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Begins to receive what is published on topics that match `filters` (exact, or ending in `/+`).
    async fn open(&self, filters: Vec<String>) -> Result<Lane, ChannelError>;

    /// Ends a lane.
    async fn close(&self, lane: u64);

    /// Queues a packet; waits while the queue is full.
    async fn publish(&self, packet: Packet) -> Result<(), ChannelError>;

    /// Waits until what was queued has left this machine.
    async fn flush(&self) -> Result<(), ChannelError>;

    /// Bytes that may be on their way to one end without being dropped; more than any window where the carrier keeps all.
    fn window(&self) -> u64 {
        u64::MAX
    }

    /// Whether sender and receiver share memory, so that messages can travel beside their packets.
    fn shares_memory(&self) -> bool {
        false
    }
}
