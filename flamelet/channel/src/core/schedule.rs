//! Which chunk goes next, and to whom.
//!
//! Oldest message first, and each end one message after another. One chunk is one upload however many ends need it, and the
//! quick ends set the pace: when they run dry, an end whose window is shut is not waited for any more. What the others get
//! lands in its queue at the broker all the same, so it is addressed, too, until that queue would overflow; what it misses from
//! then on it gets alone.

use std::time::Duration;

use super::peers::PeerState;
use super::target::{OutMessage, Stage, Target};
use super::{Core, Now, Outgoing};
use crate::frame::{Addressee, ChunkHead, Content};

/// An end that has been without progress for so long does not hold up the others any more.
pub(super) const LAG_PATIENCE: Duration = Duration::from_millis(250);

/// Packets that all senders together may have on their way to one end without having been asked for: brokers count packets,
/// and mosquitto drops what comes when a client's thousand are waiting.
pub(super) const UNASKED_PACKETS: usize = 400;
/// Packets of a message that the end has made room for. That is few messages at a time.
const ASKED_PACKETS: usize = 64;
/// Chunks of a large message before the end has made room for it: when it has none they have gone for nothing.
const OPENING_CHUNKS: u64 = 4;
/// Packets that may wait at the broker for an end that does not keep up: half of mosquitto's queue.
const BACKLOG_PACKETS: usize = 512;
/// Of so many chunks one goes to the oldest message; the others go to where they serve most ends.
const OLDEST_EVERY: u64 = 4;

/// An end, the oldest message that it waits for and the chunk of it that it needs first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    id: u64,
    at: usize,
    end: usize,
}

impl Core {
    /// The next chunk that may go.
    pub(super) fn next_chunk(&mut self, now: Now) -> Option<Outgoing> {
        let (id, at, ends) = self.choose(now)?;
        self.send_chunk(id, at, &ends)
    }

    /// Picks message, chunk and the ends that get it together. An end that has to catch up alone gets every fourth chunk at
    /// most while there is something for more ends than it.
    pub(super) fn choose(&mut self, now: Now) -> Option<(u64, usize, Vec<usize>)> {
        let needs = self.needs();
        let same = |a: &Need, b: &Need| (a.id, a.at) == (b.id, b.at);
        let largest = needs.chunk_by(same).rev().max_by_key(|group| group.len());
        let oldest_first = self.sent % OLDEST_EVERY == OLDEST_EVERY - 1;
        let first = largest.filter(|group| group.len() > 1 && !oldest_first);
        let groups = first.into_iter().chain(needs.chunk_by(same)).filter_map(|group| group.first());
        for need in groups {
            let start = needs.partition_point(|other| other.id < need.id);
            let whole = needs.get(start..).unwrap_or_default();
            // Those that need an earlier chunk first can do with this one, too.
            let able = whole.iter().take_while(|other| (other.id, other.at) <= (need.id, need.at));
            if let Some(ends) = self.ready_for(now, *need, able) {
                return Some((need.id, need.at, ends));
            }
        }
        None
    }

    /// What each end that is here needs next, oldest message and first chunk first.
    fn needs(&mut self) -> Vec<Need> {
        let mut needs = Vec::new();
        let mut current: Option<(u64, &mut OutMessage)> = None;
        let mut sorted = true;
        for (end, peer) in self.peers.iter().enumerate().filter(|(_, peer)| peer.present) {
            let Some(&id) = peer.load.open.first() else { continue };
            if current.as_ref().is_none_or(|(current, _)| *current != id) {
                current = self.outbox.get_mut(&id).map(|message| (id, message));
            }
            let Some(target) = current.as_mut().and_then(|(_, message)| message.target_mut(end)) else { continue };
            if peer.load.held == Some(id) && target.stage != Stage::Cancelling {
                continue;
            }
            if let Some(at) = target.first_waiting() {
                let need = Need { id, at, end };
                sorted &= needs.last().is_none_or(|last| *last < need);
                needs.push(need);
            }
        }
        if !sorted {
            needs.sort_unstable();
        }
        needs
    }

    /// The ends that get a chunk together; `None` while it waits for one of them.
    fn ready_for<'a>(&self, now: Now, need: Need, able: impl Iterator<Item = &'a Need>) -> Option<Vec<usize>> {
        let message = self.outbox.get(&need.id)?;
        let (_, len) = message.span(need.at);
        let (mut ends, mut slow) = (Vec::new(), Vec::new());
        let (mut waits, mut dry) = (false, true);
        for other in able {
            let (Some(target), Some(peer)) = (message.target(other.end), self.peers.get(other.end)) else { continue };
            if target.stage == Stage::Cancelling {
                return Some(vec![other.end]);
            }
            if !target.is_waiting(need.at) {
                continue;
            }
            let load = &peer.load;
            if self.has_room(peer, target, message.large, len) {
                ends.push(other.end);
                dry &= load.in_flight <= peer.window / 4;
            } else {
                if load.packets < BACKLOG_PACKETS {
                    slow.push(other.end);
                }
                let keeps_up = load.in_flight <= peer.window && now < peer.last_progress + LAG_PATIENCE;
                waits |= other.at == need.at && keeps_up;
            }
        }
        if ends.is_empty() || (waits && !dry) {
            return None;
        }
        ends.append(&mut slow);
        ends.truncate(self.most_addressees());
        Some(ends)
    }

    /// Whether `len` bytes more may be on their way. With nothing on its way any chunk passes.
    fn has_room(&self, peer: &PeerState, target: &Target, large: bool, len: u64) -> bool {
        let load = &peer.load;
        if load.packets == 0 || load.probe {
            return true;
        }
        let chunk = u64::try_from(self.limits.chunk_bytes).unwrap_or(u64::MAX);
        let opening = large && !target.heard;
        let packets = if large && target.heard { ASKED_PACKETS } else { self.unasked_packets() };
        load.packets < packets
            && load.in_flight.saturating_add(len) <= peer.window
            && (!opening || target.in_flight.saturating_add(len) <= chunk.saturating_mul(OPENING_CHUNKS))
    }

    /// This end's share of the packets that all of its role may send unasked.
    fn unasked_packets(&self) -> usize {
        (UNASKED_PACKETS / self.senders.max(1)).max(1)
    }

    fn send_chunk(&mut self, id: u64, at: usize, ends: &[usize]) -> Option<Outgoing> {
        let addressees: Vec<Addressee> = ends.iter().filter_map(|&end| self.addressee(id, end)).collect();
        let message = self.outbox.get(&id)?;
        let (offset, len) = message.span(at);
        let cancelling = |end: &usize| message.target(*end).is_some_and(|target| target.stage == Stage::Cancelling);
        let content = match &message.beside {
            _ if ends.iter().any(cancelling) => Content::Cancelled,
            Some(_) => Content::Beside,
            None => Content::Bytes,
        };
        self.mark_sent(id, at, len, ends);
        let message = self.outbox.get(&id)?;
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
        match sealed {
            Ok(payload) => Some(Outgoing { topic, payload, beside }),
            Err(error) => {
                tracing::error!(%error, "a chunk was not sealed");
                None
            }
        }
    }

    pub(super) fn mark_sent(&mut self, id: u64, at: usize, len: u64, ends: &[usize]) {
        self.sent += 1;
        let number = self.sent;
        for &end in ends {
            self.change(id, end, |target, _, _| target.send(at, number, len));
        }
    }

    fn addressee(&self, id: u64, end: usize) -> Option<Addressee> {
        let peer = self.peers.get(end)?;
        // The predecessor: the last earlier message that this end has not reported as received.
        let after = peer.load.owed.range(..id).next_back().copied().unwrap_or_default();
        Some(Addressee { tag: peer.tag, session: peer.session()?, after })
    }
}
