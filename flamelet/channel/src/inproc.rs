//! Ends within one process: packets go from queue to queue, messages by reference.
//!
//! No broker, no serialisation: a message's tensors are shared buffers, so a model changes hands without being copied.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::error::ChannelError;
use crate::frame::commit;
use crate::topics;
use crate::transport::{Incoming, Lane, Packet, Transport};

/// Packets that wait in one lane.
const LANE: usize = 256;
/// There is no broker that would set a limit.
const MAX_PAYLOAD: usize = 64 << 20;

/// Connects all channel ends of a process. Share one by `Arc`.
#[derive(Debug, Default)]
pub struct InprocHub {
    lanes: Mutex<Vec<Subscriber>>,
    next: AtomicU64,
}

#[derive(Debug, Clone)]
struct Subscriber {
    id: u64,
    filters: Vec<String>,
    queue: mpsc::Sender<Incoming>,
}

impl InprocHub {
    /// An empty hub.
    pub fn new() -> Self {
        Self::default()
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for InprocHub {
    async fn open(&self, filters: Vec<String>) -> Result<Lane, ChannelError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (queue, incoming) = mpsc::channel(LANE);
        self.lanes().push(Subscriber { id, filters, queue });
        // Nobody within the process dies without its channels being dropped, which says goodbye: no will is needed.
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(|error| ChannelError::Internal(error.to_string()))?;
        Ok(Lane { id, up: Some(MAX_PAYLOAD), incoming, will: commit(&token) })
    }

    async fn close(&self, lane: u64) {
        self.lanes().retain(|subscriber| subscriber.id != lane);
    }

    async fn publish(&self, packet: Packet) -> Result<(), ChannelError> {
        let hits = |subscriber: &&Subscriber| subscriber.filters.iter().any(|f| topics::matches(f, &packet.topic));
        let to: Vec<Subscriber> = self.lanes().iter().filter(hits).cloned().collect();
        for subscriber in to {
            // A closed lane is no error: its end has just left.
            let _ = subscriber.queue.send(Incoming::Packet(packet.clone())).await;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn shares_memory(&self) -> bool {
        true
    }
}
