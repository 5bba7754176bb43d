//! The sending half: what is not yet taken, which chunk goes next and what goes again.
//!
//! A message stays here until every addressed end's guest has taken it, was refused it, or it was cancelled for it. One
//! chunk is one upload however many ends need it; an end whose window is shut for long is left to catch up alone.

use std::collections::BTreeMap;
use std::time::Duration;

use flame_model::Message;
use flame_model::wire::{self, Encoded};

use super::peers::PeerState;
use super::{Core, Now, Outgoing, ReceiptState};
use crate::error::ChannelError;
use crate::frame::{Ack, Addressee, ChunkHead, Content, Progress};

/// An end whose window has been shut for so long does not hold up the others any more.
pub(super) const LAG_PATIENCE: Duration = Duration::from_millis(250);
/// Most remembered refusals of messages that have left the outbox.
const REFUSALS: usize = 1024;

/// A message on its way.
pub(super) struct OutMessage {
    encoded: Encoded,
    beside: Option<Message>,
    round: u64,
    broadcast: bool,
    chunk: u64,
    targets: Vec<Target>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Waiting,
    /// On its way; the number orders what was sent to all ends.
    Sent(u64),
    Arrived,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    OnItsWay,
    /// The place must be given free, because the end has part of it.
    Cancelling,
    Received,
}

/// A message's way to one end.
struct Target {
    peer: usize,
    stage: Stage,
    chunks: Vec<Chunk>,
    /// No waiting chunk below this.
    hint: usize,
    in_flight: u64,
    /// The latest sent chunk that is known to have arrived: what was sent before it and is missing is lost.
    latest: u64,
    /// The end's present life may have seen a chunk of it.
    started: bool,
}

impl Target {
    fn new(peer: usize, count: usize) -> Self {
        let chunks = vec![Chunk::Waiting; count];
        Self { peer, stage: Stage::OnItsWay, chunks, hint: 0, in_flight: 0, latest: 0, started: false }
    }

    fn first_waiting(&mut self) -> Option<usize> {
        if self.stage == Stage::Received {
            return None;
        }
        while let Some(chunk) = self.chunks.get(self.hint) {
            if *chunk == Chunk::Waiting {
                return Some(self.hint);
            }
            self.hint += 1;
        }
        None
    }

    fn is_waiting(&self, at: usize) -> bool {
        self.stage != Stage::Received && self.chunks.get(at) == Some(&Chunk::Waiting)
    }

    /// What was sent and not acknowledged goes again; says how many chunks.
    fn unsend(&mut self) -> u64 {
        let mut count = 0;
        for chunk in self.chunks.iter_mut().filter(|chunk| matches!(chunk, Chunk::Sent(_))) {
            *chunk = Chunk::Waiting;
            count += 1;
        }
        self.hint = 0;
        self.in_flight = 0;
        count
    }

    fn restart(&mut self, count: usize) {
        *self = Self::new(self.peer, count);
    }
}

impl OutMessage {
    fn chunk_count(&self) -> usize {
        usize::try_from(self.encoded.total_len.div_ceil(self.chunk.max(1))).unwrap_or(usize::MAX).max(1)
    }

    /// Offset and length of a chunk; nothing of it travels when the message is handed over in memory.
    fn span(&self, at: usize) -> (u64, u64) {
        let offset = u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(self.chunk);
        (offset, self.chunk.min(self.encoded.total_len.saturating_sub(offset)))
    }
}

impl Core {
    /// Puts a message into the outbox for the ends at `targets`; `None` while the outbox is full.
    pub(crate) fn queue(
        &mut self,
        now: Now,
        targets: &[usize],
        message: &Message,
        broadcast: bool,
    ) -> Result<Option<u64>, ChannelError> {
        self.usable()?;
        wire::check(message).map_err(|error| ChannelError::InvalidArgument(error.to_string()))?;
        let encoded = wire::encode(message);
        let total = encoded.total_len;
        if total > self.limits.max_message_bytes {
            return Err(ChannelError::LimitExceeded(format!(
                "max_message_bytes is {}, the message needs {total}; raise the channel's limit",
                self.limits.max_message_bytes
            )));
        }
        if broadcast {
            self.supersede(message.round);
        }
        let full = self.outbox.len() >= self.limits.max_queued_messages
            || self.outbox_bytes.saturating_add(total) > self.limits.max_queued_bytes;
        if full && !self.outbox.is_empty() {
            return Ok(None);
        }
        // The wait for an acknowledgement begins now for ends that owed none.
        for (peer, load) in self.peers.iter_mut().zip(loads(&self.outbox, self.by_id.len())) {
            if !load.pending {
                peer.last_progress = now;
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        self.stats.messages_out += 1;
        self.stats.bytes_out += total;
        let chunk = if self.beside { total.max(1) } else { self.chunk_for(targets.len()) };
        let beside = self.beside.then(|| message.clone());
        let mut out = OutMessage { encoded, beside, round: message.round, broadcast, chunk, targets: Vec::new() };
        let count = out.chunk_count();
        out.targets = targets.iter().map(|&peer| Target::new(peer, count)).collect();
        if !out.targets.is_empty() {
            self.outbox_bytes += total;
            self.outbox.insert(id, out);
        }
        Ok(Some(id))
    }

    fn chunk_for(&self, addressees: usize) -> u64 {
        u64::try_from(self.chunk_limit(addressees)).unwrap_or(u64::MAX)
    }

    /// A newer round makes older broadcasts pointless for ends that are away.
    fn supersede(&mut self, round: u64) {
        let older: Vec<u64> = self
            .outbox
            .iter()
            .filter(|(_, message)| message.broadcast && message.round < round)
            .map(|(&id, _)| id)
            .collect();
        for id in older {
            self.cancel_where(id, |peer| !peer.present);
        }
    }

    /// Stops delivering to ends that do not have it yet.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.cancel_where(id, |_| true);
    }

    fn cancel_where(&mut self, id: u64, applies: impl Fn(&PeerState) -> bool) {
        let Some(message) = self.outbox.get_mut(&id) else { return };
        let peers = &self.peers;
        message.targets.retain_mut(|target| {
            let hit = peers.get(target.peer).is_some_and(&applies);
            if !hit || target.stage != Stage::OnItsWay {
                return true;
            }
            if target.started {
                target.stage = Stage::Cancelling;
                target.chunks = vec![Chunk::Waiting];
                target.hint = 0;
                target.in_flight = 0;
            }
            target.started
        });
        self.drop_finished();
        self.changed = true;
    }

    /// Where a message is on its way.
    pub(crate) fn receipt(&self, id: u64) -> ReceiptState {
        let id_of = |target: &Target| self.peers.get(target.peer).map(|peer| peer.peer.id.clone());
        let pending = self.outbox.get(&id).map_or_else(Vec::new, |message| {
            message.targets.iter().filter(|target| target.stage == Stage::OnItsWay).filter_map(id_of).collect()
        });
        ReceiptState { pending, refused: self.refusals.get(&id).cloned().unwrap_or_default() }
    }

    /// Whether ends that are here, or may turn out to be, have all that was sent to them.
    pub(crate) fn is_drained(&self, now: Now) -> bool {
        let mut targets = self.outbox.values().flat_map(|message| &message.targets);
        !targets.any(|target| target.stage == Stage::OnItsWay && self.may_be_here(now, target.peer))
    }

    /// A new life of an end gets everything again that it had not taken.
    pub(super) fn restart_targets(&mut self, index: usize) {
        for message in self.outbox.values_mut() {
            let count = message.chunk_count();
            message.targets.retain(|target| target.peer != index || target.stage != Stage::Cancelling);
            for target in message.targets.iter_mut().filter(|target| target.peer == index) {
                target.restart(count);
            }
        }
        self.drop_finished();
    }

    /// What is on its way to this end goes again.
    pub(super) fn unsend(&mut self, index: usize) {
        let mut count = 0;
        for target in self.targets_of(index) {
            count += target.unsend();
        }
        self.stats.chunks_resent += count;
    }

    pub(super) fn resend_everything(&mut self, now: Now) {
        for index in 0..self.peers.len() {
            self.unsend(index);
        }
        for peer in &mut self.peers {
            peer.last_progress = now;
            peer.resend_after = self.limits.resend_after;
        }
    }

    /// Cuts messages anew that were cut for a link that carried more.
    pub(super) fn rechunk(&mut self) {
        if self.beside {
            return;
        }
        let limits: Vec<u64> = self.outbox.values().map(|message| self.chunk_for(message.targets.len())).collect();
        for (message, limit) in self.outbox.values_mut().zip(limits) {
            if message.chunk > limit {
                message.chunk = limit;
                let count = message.chunk_count();
                for target in message.targets.iter_mut().filter(|target| target.stage == Stage::OnItsWay) {
                    let started = target.started;
                    target.restart(count);
                    target.started = started;
                }
            }
        }
    }

    fn targets_of(&mut self, index: usize) -> impl Iterator<Item = &mut Target> {
        self.outbox.values_mut().flat_map(|message| &mut message.targets).filter(move |t| t.peer == index)
    }

    /// What each peer has on its way and owes, in one pass.
    pub(super) fn loads(&self) -> Vec<Load> {
        loads(&self.outbox, self.peers.len())
    }

    /// Sends again what has not been acknowledged for too long, and asks what became of what was not taken: the
    /// acknowledgement of that is sent once, and may be lost.
    pub(super) fn resend_overdue(&mut self, now: Now) {
        for (index, load) in self.loads().into_iter().enumerate() {
            if load.untaken && self.peers.get(index).is_some_and(|peer| peer.present) {
                self.ask_every(now, index, self.limits.heartbeat);
            }
            let Some(peer) = self.peers.get(index) else { continue };
            if !peer.present || !load.pending || now < peer.last_progress + peer.resend_after {
                continue;
            }
            self.unsend(index);
            let most = self.limits.resend_after * 8;
            if let Some(peer) = self.peers.get_mut(index) {
                peer.last_progress = now;
                peer.resend_after = (peer.resend_after * 2).min(most);
                peer.probe = true;
            }
        }
    }

    pub(super) fn on_ack(&mut self, now: Now, index: usize, ack: &Ack) {
        if ack.session != self.life.session {
            return self.ask(now, index);
        }
        self.prove(now, index);
        self.note_refusals(index, ack);
        let (base, window) = (self.limits.resend_after, ack.window);
        let mut progress = false;
        let mut resent = 0;
        let mut finished = false;
        for (&id, message) in &mut self.outbox {
            let chunk = message.chunk;
            let total = message.encoded.total_len;
            let Some(target) = message.targets.iter_mut().find(|target| target.peer == index) else { continue };
            if id <= ack.delivered {
                if target.stage == Stage::OnItsWay {
                    self.changed = true;
                }
                progress |= target.stage != Stage::Received;
                let cancelled = target.stage == Stage::Cancelling;
                target.stage = Stage::Received;
                target.in_flight = 0;
                if id <= ack.taken || cancelled {
                    finished = true;
                    message.targets.retain(|target| target.peer != index);
                }
            } else if let Some(report) = ack.progress.iter().find(|report| report.id == id) {
                if target.stage == Stage::OnItsWay {
                    let (arrived, lost) = target.note(report, chunk, total);
                    progress |= arrived;
                    resent += lost;
                }
            } else if ack.resume {
                resent += target.unsend();
            }
        }
        self.stats.chunks_resent += resent;
        if let Some(peer) = self.peers.get_mut(index) {
            if progress || (window > 0 && peer.window == 0) {
                peer.last_progress = now;
                peer.resend_after = base.max(peer.resend_after / 2);
            }
            peer.window = window;
            peer.probe = false;
        }
        if finished {
            self.drop_finished();
            self.changed = true;
        }
    }

    fn note_refusals(&mut self, index: usize, ack: &Ack) {
        let Some(end) = self.peers.get(index).map(|peer| peer.peer.id.clone()) else { return };
        for id in &ack.refused {
            let Some(message) = self.outbox.get_mut(id) else { continue };
            let before = message.targets.len();
            message.targets.retain(|target| target.peer != index);
            if message.targets.len() < before {
                self.refusals.entry(*id).or_default().push(end.clone());
                self.changed = true;
            }
        }
        while self.refusals.len() > REFUSALS {
            self.refusals.pop_first();
        }
        self.drop_finished();
    }

    fn drop_finished(&mut self) {
        let bytes = &mut self.outbox_bytes;
        self.outbox.retain(|_, message| {
            let keep = !message.targets.is_empty();
            if !keep {
                *bytes = bytes.saturating_sub(message.encoded.total_len);
            }
            keep
        });
    }

    /// The next chunk that may go.
    pub(super) fn next_chunk(&mut self, now: Now) -> Option<Outgoing> {
        let (id, at, ends) = self.choose(now)?;
        self.send_chunk(now, id, at, &ends)
    }

    /// Picks message, chunk and the ends that get it together: oldest message first, each end one message after another.
    fn choose(&mut self, now: Now) -> Option<(u64, usize, Vec<usize>)> {
        let loads = self.loads();
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

    fn send_chunk(&mut self, now: Now, id: u64, at: usize, ends: &[usize]) -> Option<Outgoing> {
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
        let topic = match ends {
            [end] => self.topics.to(&self.peers.get(*end)?.peer.id, &self.me),
            _ => {
                self.last_broadcast = now;
                self.topics.all(&self.me)
            }
        };
        let size = if content == Content::Bytes { usize::try_from(len).ok()? } else { 0 };
        let encoded = &message.encoded;
        let sealed = self.sealer.seal(&topic, ChunkHead::size(head.addressees.len()) + size, |out| {
            head.write(out);
            let start = out.len();
            out.resize(start + size, 0);
            if let Some(room) = out.get_mut(start..) {
                encoded.copy_range(offset, room);
            }
        });
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

    /// Ends addressed by a broadcast: everybody whom this end talks to, here or not.
    pub(crate) fn everybody(&self) -> Vec<usize> {
        (0..self.peers.len()).collect()
    }
}

impl Target {
    /// Marks what a report says; whether something new arrived and how many chunks are lost.
    fn note(&mut self, report: &Progress, chunk: u64, total: u64) -> (bool, u64) {
        let span = |at: usize| {
            let start = u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(chunk);
            (start, start.saturating_add(chunk).min(total))
        };
        let is_missing = |(start, end)| report.missing.iter().any(|&(from, to)| from < end && start < to);
        let mut news = false;
        for (at, state) in self.chunks.iter_mut().enumerate() {
            let (start, end) = span(at);
            if end > report.upto || *state == Chunk::Arrived || is_missing((start, end)) {
                continue;
            }
            news = true;
            if let Chunk::Sent(number) = *state {
                self.in_flight = self.in_flight.saturating_sub(end - start);
                self.latest = self.latest.max(number);
            }
            *state = Chunk::Arrived;
        }
        let mut lost = 0;
        for (at, state) in self.chunks.iter_mut().enumerate() {
            let (start, end) = span(at);
            if let Chunk::Sent(number) = *state
                && number < self.latest
                && end <= report.upto
                && is_missing((start, end))
            {
                self.in_flight = self.in_flight.saturating_sub(end - start);
                *state = Chunk::Waiting;
                self.hint = self.hint.min(at);
                lost += 1;
            }
        }
        (news, lost)
    }
}

/// What one end has on its way and owes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    in_flight: u64,
    /// Something has not been received.
    pub(super) pending: bool,
    /// Something that others need too has not been received.
    pub(super) shared: bool,
    /// Something was received and not taken.
    untaken: bool,
}

fn loads(outbox: &BTreeMap<u64, OutMessage>, peers: usize) -> Vec<Load> {
    let mut loads = vec![Load::default(); peers];
    for message in outbox.values() {
        let shared = message.targets.len() > 1;
        for target in &message.targets {
            let Some(load) = loads.get_mut(target.peer) else { continue };
            if target.stage == Stage::Received {
                load.untaken = true;
            } else {
                load.in_flight += target.in_flight;
                load.pending = true;
                load.shared |= shared;
            }
        }
    }
    loads
}

impl PeerState {
    /// Whether `len` bytes more may go. With nothing on its way an open window lets any chunk pass.
    fn has_room(&self, in_flight: u64, len: u64) -> bool {
        if in_flight == 0 { self.window > 0 || self.probe } else { in_flight.saturating_add(len) <= self.window }
    }
}
