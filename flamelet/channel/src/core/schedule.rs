//! Which chunk goes next, and to whom.
//!
//! Oldest message first, and each end one message after another. One chunk is one upload however many ends need it; an end
//! whose window is shut for long is left to catch up alone.

use std::time::Duration;

use super::peers::PeerState;
use super::target::{Chunk, Stage};
use super::{Core, Now, Outgoing};
use crate::frame::{Addressee, ChunkHead, Content};

/// An end whose window has been shut for so long does not hold up the others any more.
pub(super) const LAG_PATIENCE: Duration = Duration::from_millis(250);

impl Core {
    /// The next chunk that may go.
    pub(super) fn next_chunk(&mut self, now: Now) -> Option<Outgoing> {
        let (id, at, ends) = self.choose(now)?;
        self.send_chunk(id, at, &ends)
    }

    /// Picks message, chunk and the ends that get it together: oldest message first, each end one message after another.
    fn choose(&mut self, now: Now) -> Option<(u64, usize, Vec<usize>)> {
        let loads = self.loads();
        let most_addressees = self.most_addressees();
        let mut busy: Vec<bool> = self.peers.iter().map(|peer| !peer.present).collect();
        for (&id, message) in &mut self.outbox {
            let mut waiting: Vec<(usize, usize)> = Vec::new();
            for target in &mut message.targets {
                if busy.get(target.peer) == Some(&false)
                    && let Some(at) = target.first_waiting()
                {
                    waiting.push((at, target.peer));
                }
            }
            let mut candidates: Vec<usize> = waiting.iter().map(|&(at, _)| at).collect();
            candidates.sort_unstable();
            candidates.dedup();
            for at in candidates {
                let (_, len) = message.span(at);
                let open = |end: usize| {
                    let in_flight = loads.get(end).map_or(0, |load| load.in_flight);
                    self.peers.get(end).is_some_and(|peer| peer.has_room(in_flight, len))
                };
                let lagging =
                    |end: usize| self.peers.get(end).is_some_and(|peer| now >= peer.last_progress + LAG_PATIENCE);
                let needs = |end: usize| message.targets.iter().any(|t| t.peer == end && t.is_waiting(at));
                let ends = waiting.iter().map(|&(_, end)| end).filter(|&end| needs(end));
                let cancelling =
                    |end: usize| message.targets.iter().any(|t| t.peer == end && t.stage == Stage::Cancelling);
                let (go, hold): (Vec<usize>, Vec<usize>) = ends.partition(|&end| cancelling(end) || open(end));
                if let Some(&end) = go.iter().find(|&&end| cancelling(end)) {
                    return Some((id, at, vec![end]));
                }
                if !go.is_empty() && hold.into_iter().all(lagging) {
                    let go = go.into_iter().take(most_addressees).collect();
                    return Some((id, at, go));
                }
            }
            for (_, end) in waiting {
                if let Some(busy) = busy.get_mut(end) {
                    *busy = true;
                }
            }
        }
        None
    }

    fn send_chunk(&mut self, id: u64, at: usize, ends: &[usize]) -> Option<Outgoing> {
        let addressees: Vec<Addressee> = ends.iter().filter_map(|&end| self.addressee(id, end)).collect();
        let message = self.outbox.get_mut(&id)?;
        let (offset, len) = message.span(at);
        let mut cancelling = false;
        self.sent += 1;
        for target in message.targets.iter_mut().filter(|target| ends.contains(&target.peer)) {
            cancelling |= target.stage == Stage::Cancelling;
            if let Some(chunk) = target.chunks.get_mut(at) {
                *chunk = Chunk::Sent(self.sent);
            }
            target.started = true;
            target.in_flight += if target.stage == Stage::Cancelling { 0 } else { len };
        }
        let content = match (&message.beside, cancelling) {
            (_, true) => Content::Cancelled,
            (Some(_), _) => Content::Beside,
            (None, _) => Content::Bytes,
        };
        let head = ChunkHead {
            id,
            total: message.encoded.total_len,
            offset: if content == Content::Bytes { offset } else { 0 },
            content,
            addressees,
        };
        let size = if content == Content::Bytes { usize::try_from(len).ok()? } else { 0 };
        let encoded = &message.encoded;
        let write = |out: &mut Vec<u8>| encoded.append_range(offset, size, out);
        let (topic, sealed) = if let [end] = ends {
            let topic = self.topics.to(&self.peers.get(*end)?.peer.id, &self.me);
            let sealed = self.sealer.seal_to(&topic, *end, |out| head.write(out), size, write);
            (topic, sealed)
        } else {
            let topic = self.topics.all(&self.role, &self.me);
            let sealed = self.sealer.seal_all(&topic, ends, |out| head.write(out), size, write);
            (topic, sealed)
        };
        let beside = if content == Content::Beside { message.beside.clone() } else { None };
        for &end in ends {
            if let Some(peer) = self.peers.get_mut(end) {
                peer.probe = false;
            }
        }
        match sealed {
            Ok(payload) => Some(Outgoing { topic, payload, beside }),
            Err(error) => {
                tracing::error!(%error, "a chunk was not sealed");
                None
            }
        }
    }

    fn addressee(&self, id: u64, end: usize) -> Option<Addressee> {
        let peer = self.peers.get(end)?;
        // The predecessor: the last earlier message that this end has not reported as received.
        let after = self
            .outbox
            .range(..id)
            .rev()
            .find(|(_, earlier)| earlier.targets.iter().any(|t| t.peer == end && t.stage != Stage::Received))
            .map_or(0, |(&earlier, _)| earlier);
        Some(Addressee { tag: peer.tag, session: peer.session()?, after })
    }
}

impl PeerState {
    /// Whether `len` bytes more may go. With nothing on its way an open window lets any chunk pass.
    fn has_room(&self, in_flight: u64, len: u64) -> bool {
        if in_flight == 0 { self.window > 0 || self.probe } else { in_flight.saturating_add(len) <= self.window }
    }
}
