//! The receiving half: reassembly, order, the guest's queues and acknowledgements.
//!
//! Room is promised before memory is taken: a message is only begun when its declared length is within the grant and the
//! queue has room, and messages are begun in order, so that a later one can never take the room that an earlier one needs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use flame_model::wire::{self, Packed, WireError};
use flame_model::{EndId, Message, SharedBuffer, SharedBufferMut};

use super::{Core, Now, Outgoing};
use crate::frame::{ACK_LIST, Ack, ChunkHead, Content, Progress};
use crate::ranges::RangeSet;
use crate::seal::{Life, SealedBody};

/// How long an acknowledgement may wait for company.
const ACK_DELAY: Duration = Duration::from_millis(20);

/// Messages of one sender that are whole, cancelled or refused and wait for their predecessor. What is beyond is passed over;
/// its sender repeats it.
const MAX_READY: usize = 4096;

/// A message that waits for the guest.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) id: u64,
    pub(crate) arrived: Arrived,
    pub(crate) wire_bytes: u64,
    pub(crate) raw_bytes: u64,
    /// Order over all senders of the channel.
    pub(crate) arrival: u64,
    life: Life,
}

/// A message as it waits. What came over the wire is unpacked when it is taken and outside the core's lock: a queue takes
/// the memory that its messages took on the wire.
#[derive(Debug)]
pub(crate) enum Arrived {
    Packed(Box<Packed>),
    Whole(Box<Message>),
}

impl Arrived {
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Packed(packed) => packed.kind(),
            Self::Whole(message) => &message.kind,
        }
    }

    /// The message; an error when a sender has packed what cannot be unpacked.
    pub(crate) fn unpack(self) -> Result<Message, WireError> {
        match self {
            Self::Packed(packed) => packed.unpack(),
            Self::Whole(message) => Ok(*message),
        }
    }
}

/// What one sender has sent.
#[derive(Default)]
pub(super) struct Inbox {
    life: Option<Life>,
    /// The last message of this life that was put in order.
    delivered: u64,
    begun: BTreeMap<u64, Begun>,
    /// Whole messages whose predecessor is missing.
    ready: BTreeMap<u64, Ready>,
    pub(super) queue: VecDeque<Inbound>,
    pub(super) ack_due: Option<Now>,
    unreported: u64,
    /// Something was turned away for want of room.
    starved: bool,
    refused: VecDeque<u64>,
    /// Guest calls that wait for this very sender.
    pub(super) wanted: usize,
}

struct Begun {
    buffer: SharedBufferMut,
    have: RangeSet,
    total: u64,
    after: u64,
}

impl Begun {
    /// Opens a chunk into its place; whether it was whole. What is there already is not touched.
    fn write(&mut self, offset: u64, body: &SealedBody<'_>) -> bool {
        let len = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let Some(end) = offset.checked_add(len) else { return false };
        if self.have.overlaps(offset, end) {
            let mut bytes = vec![0; body.len()];
            return body.open_into(&mut bytes) && self.buffer.write_at(offset, &bytes).is_ok();
        }
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let place = range.and_then(|(start, end)| self.buffer.as_mut_bytes().get_mut(start..end));
        place.is_some_and(|place| body.open_into(place))
    }
}

struct Ready {
    after: u64,
    total: u64,
    /// `None`: cancelled or refused; only its place counts.
    what: Option<Whole>,
}

enum Whole {
    Wire(SharedBuffer),
    Beside(Box<Message>),
}

impl Inbox {
    pub(super) fn begin_life(&mut self, life: Life) {
        self.life = Some(life);
        self.delivered = 0;
        self.ack_due = None;
        self.unreported = 0;
        self.starved = false;
        self.refused.clear();
    }

    /// All of this life up to here was taken by the guest, or had nothing to take.
    fn taken(&self) -> u64 {
        let first = self.queue.iter().find(|inbound| Some(inbound.life) == self.life);
        first.map_or(self.delivered, |inbound| inbound.id.saturating_sub(1).min(self.delivered))
    }

    fn knows(&self, id: u64) -> bool {
        id <= self.delivered || self.begun.contains_key(&id) || self.ready.contains_key(&id)
    }

    /// Names a message that is over this end's limit in every acknowledgement from now on.
    fn refuse(&mut self, id: u64) {
        if self.refused.len() == ACK_LIST {
            self.refused.pop_front();
        }
        self.refused.push_back(id);
    }

    fn due(&mut self, at: Now) {
        self.ack_due = Some(self.ack_due.map_or(at, |due| due.min(at)));
    }
}

impl Core {
    pub(super) fn on_chunk(
        &mut self,
        now: Now,
        index: usize,
        head: &ChunkHead,
        body: &SealedBody<'_>,
        beside: Option<Message>,
    ) {
        let len = u64::try_from(body.len()).unwrap_or(u64::MAX);
        if head.offset.checked_add(len).is_none_or(|end| end > head.total)
            || (head.content != Content::Bytes && !body.is_empty())
        {
            self.stats.dropped_forged += 1;
            return;
        }
        let mine = |to: &&crate::frame::Addressee| to.tag == self.my_tag && to.session == self.life.session;
        let Some(&to) = head.addressees.iter().find(mine) else { return };
        self.prove(now, index);
        let Some(peer) = self.peers.get_mut(index) else { return };
        let inbox = &mut peer.inbox;
        if head.id <= inbox.delivered || inbox.ready.contains_key(&head.id) {
            // It came before, so the acknowledgement got lost or is late.
            return inbox.due(now + ACK_DELAY);
        }
        match head.content {
            Content::Cancelled => {
                self.set_aside(index, head.id, to.after);
            }
            _ if head.total > self.limits.max_message_bytes => {
                tracing::warn!(
                    from = %peer.peer.id, bytes = head.total, limit = self.limits.max_message_bytes,
                    "a message over max_message_bytes was refused"
                );
                inbox.refuse(head.id);
                self.stats.refused += 1;
                self.set_aside(index, head.id, to.after);
            }
            Content::Bytes => self.on_bytes(now, index, head, to.after, body),
            Content::Beside => {
                let Some(message) = beside else { return };
                if self.make_room(now, index, head.id, to.after, head.total) {
                    let what = Some(Whole::Beside(Box::new(message)));
                    self.put_ready(index, head.id, Ready { after: to.after, total: head.total, what });
                }
            }
        }
        self.deliver(now, index);
    }

    fn on_bytes(&mut self, now: Now, index: usize, head: &ChunkHead, after: u64, body: &SealedBody<'_>) {
        let begun = self.peers.get(index).is_some_and(|peer| peer.inbox.begun.contains_key(&head.id));
        if !begun {
            if !self.make_room(now, index, head.id, after, head.total) {
                return;
            }
            let buffer = usize::try_from(head.total).ok().and_then(|len| SharedBufferMut::with_len(len).ok());
            let Some(buffer) = buffer else {
                // The memory is not there although the grant allows it: turned away, tried again later.
                self.release(head.total);
                return;
            };
            if let Some(peer) = self.peers.get_mut(index) {
                let begun = Begun { buffer, have: RangeSet::default(), total: head.total, after };
                peer.inbox.begun.insert(head.id, begun);
            }
        }
        let step = self.limits.window_bytes / 4;
        let Some(inbox) = self.peers.get_mut(index).map(|peer| &mut peer.inbox) else { return };
        let Some(begun) = inbox.begun.get_mut(&head.id) else { return };
        let highest = begun.have.highest();
        let len = u64::try_from(body.len()).unwrap_or_default();
        if begun.total != head.total || !begun.write(head.offset, body) {
            return;
        }
        let new = begun.have.insert(head.offset, head.offset + len);
        begun.after = after;
        let whole = begun.have.len() == begun.total;
        inbox.unreported += new;
        let urgent = new == 0 || head.offset > highest || inbox.unreported >= step;
        inbox.due(if urgent { now } else { now + ACK_DELAY });
        if whole && let Some(begun) = inbox.begun.remove(&head.id) {
            let what = Some(Whole::Wire(begun.buffer.freeze()));
            self.put_ready(index, head.id, Ready { after, total: begun.total, what });
        }
    }

    /// Promises room for a message; what cannot be begun now is asked for again when there is room.
    fn make_room(&mut self, now: Now, index: usize, id: u64, after: u64, total: u64) -> bool {
        let Some(peer) = self.peers.get_mut(index) else { return false };
        let inbox = &mut peer.inbox;
        let in_order = inbox.knows(after);
        let idle = inbox.queue.is_empty() && inbox.begun.is_empty() && inbox.ready.is_empty();
        let fits = self.inbox_messages == 0
            || (self.inbox_messages < self.limits.max_queued_messages
                && self.inbox_bytes.saturating_add(total) <= self.limits.max_queued_bytes);
        // A guest that waits for this very end must get its next message, whatever others have filled the queue with.
        let admitted = in_order && (fits || (idle && inbox.wanted > 0));
        if admitted {
            self.inbox_messages += 1;
            self.inbox_bytes = self.inbox_bytes.saturating_add(total);
        } else {
            tracing::debug!(from = %peer.peer.id, id, total, in_order, "turned away for want of room");
            inbox.starved |= in_order;
            inbox.due(now + ACK_DELAY);
        }
        admitted
    }

    fn release(&mut self, total: u64) {
        self.inbox_messages = self.inbox_messages.saturating_sub(1);
        self.inbox_bytes = self.inbox_bytes.saturating_sub(total);
    }

    /// Gives a message's place free and drops what there is of it.
    fn set_aside(&mut self, index: usize, id: u64, after: u64) {
        let begun = self.peers.get_mut(index).and_then(|peer| peer.inbox.begun.remove(&id));
        if let Some(begun) = begun {
            self.release(begun.total);
        }
        self.put_ready(index, id, Ready { after, total: 0, what: None });
    }

    fn put_ready(&mut self, index: usize, id: u64, ready: Ready) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.inbox.ready.len() < MAX_READY {
            peer.inbox.ready.insert(id, ready);
        } else if ready.what.is_some() {
            self.release(ready.total);
        }
    }

    /// Moves what is next in order to the guest's queue.
    fn deliver(&mut self, now: Now, index: usize) {
        loop {
            let Some(peer) = self.peers.get_mut(index) else { return };
            let inbox = &mut peer.inbox;
            let Some(entry) = inbox.ready.first_entry() else { return };
            if entry.get().after > inbox.delivered {
                return;
            }
            let (id, ready) = entry.remove_entry();
            inbox.delivered = inbox.delivered.max(id);
            inbox.due(now);
            let Some(life) = inbox.life else { return };
            let opened = match ready.what {
                Some(Whole::Beside(message)) => Ok((Arrived::Whole(message), ready.total)),
                Some(Whole::Wire(buffer)) => wire::open(buffer, self.limits.max_message_bytes).map(|packed| {
                    let raw_bytes = packed.raw_bytes();
                    (Arrived::Packed(Box::new(packed)), raw_bytes)
                }),
                None => continue,
            };
            let (arrived, raw_bytes) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    tracing::warn!(from = %peer.peer.id, id, %error, "a message was refused");
                    if matches!(error, WireError::OverLimit { .. }) {
                        inbox.refuse(id);
                    }
                    self.stats.refused += 1;
                    self.release(ready.total);
                    continue;
                }
            };
            self.arrivals += 1;
            self.stats.messages_in += 1;
            self.stats.bytes_in += ready.total;
            self.stats.raw_bytes_in += raw_bytes;
            self.changed = true;
            let (wire_bytes, arrival) = (ready.total, self.arrivals);
            inbox.queue.push_back(Inbound { id, arrived, wire_bytes, raw_bytes, arrival, life });
        }
    }

    /// Drops what a life that is over had begun; whole messages stay for the guest.
    pub(super) fn forget_partials(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let begun = std::mem::take(&mut peer.inbox.begun);
        let ready = std::mem::take(&mut peer.inbox.ready);
        for begun in begun.values() {
            self.release(begun.total);
        }
        for ready in ready.values().filter(|ready| ready.what.is_some()) {
            self.release(ready.total);
        }
    }

    /// Takes the first message to arrive of `sources` (positions; none means any).
    pub(crate) fn take(&mut self, now: Now, sources: &[usize]) -> Option<(EndId, Inbound)> {
        let any = sources.is_empty();
        let first = self
            .peers
            .iter()
            .enumerate()
            .filter(|(index, _)| any || sources.contains(index))
            .filter_map(|(index, peer)| Some((peer.inbox.queue.front()?.arrival, index)))
            .min()?;
        let peer = self.peers.get_mut(first.1)?;
        let inbound = peer.inbox.queue.pop_front()?;
        let sender = peer.peer.id.clone();
        peer.inbox.due(now + ACK_DELAY);
        self.release(inbound.wire_bytes);
        for peer in &mut self.peers {
            if peer.inbox.starved {
                peer.inbox.due(now);
            }
        }
        Some((sender, inbound))
    }

    /// A message that was taken could not be unpacked, for which its sender is to blame.
    pub(crate) fn note_broken(&mut self, from: &EndId, id: u64, error: &WireError) {
        tracing::warn!(%from, id, %error, "a message was not unpacked");
        self.stats.refused += 1;
    }

    /// Whoever asks learns what was received and taken, if there was anything.
    pub(super) fn report(&mut self, now: Now, index: usize) {
        if let Some(peer) = self.peers.get_mut(index)
            && peer.inbox.delivered > 0
        {
            peer.inbox.due(now);
        }
    }

    /// The kind of the next message of an end.
    pub(crate) fn peek(&self, index: usize) -> Option<String> {
        Some(self.peers.get(index)?.inbox.queue.front()?.arrived.kind().to_owned())
    }

    /// A guest call begins (or ends) to wait for a message of this very end.
    pub(crate) fn want(&mut self, now: Now, index: usize, wanted: bool) {
        if let Some(peer) = self.peers.get_mut(index) {
            let inbox = &mut peer.inbox;
            inbox.wanted = if wanted { inbox.wanted + 1 } else { inbox.wanted.saturating_sub(1) };
            if wanted && inbox.starved {
                inbox.due(now);
            }
        }
    }

    /// Makes an acknowledgement due now to everybody that ever sent something.
    pub(super) fn all_acks_due(&mut self, now: Now) {
        for peer in &mut self.peers {
            if peer.inbox.delivered > 0 {
                peer.inbox.ack_due = Some(now);
            }
        }
    }

    /// The next acknowledgement that is due.
    pub(super) fn next_ack(&mut self, now: Now) -> Option<Outgoing> {
        let due = |peer: &super::PeerState| peer.present && peer.inbox.ack_due.is_some_and(|due| due <= now);
        let index = self.peers.iter().position(due)?;
        let window = self.grant();
        let chunk = u64::try_from(self.limits.chunk_bytes).unwrap_or(u64::MAX).min(self.limits.window_bytes);
        let peer = self.peers.get_mut(index)?;
        let session = peer.life?.session;
        let inbox = &mut peer.inbox;
        inbox.ack_due = None;
        inbox.unreported = 0;
        let room = window > 0 || inbox.wanted > 0;
        // What was begun has its room already.
        let window = if room || !inbox.begun.is_empty() { window.max(chunk) } else { 0 };
        let ack = Ack {
            session,
            delivered: inbox.delivered,
            taken: inbox.taken(),
            window,
            resume: inbox.starved && room,
            refused: inbox.refused.iter().copied().collect(),
            progress: inbox
                .begun
                .iter()
                .take(ACK_LIST)
                .map(|(&id, begun)| {
                    let missing = begun.have.gaps(ACK_LIST);
                    let upto = match missing.last() {
                        Some(&(_, end)) if missing.len() == ACK_LIST => end,
                        _ => begun.have.highest(),
                    };
                    Progress { id, upto, missing }
                })
                .collect(),
        };
        if ack.resume {
            inbox.starved = false;
        }
        self.seal_ack(index, ack)
    }

    /// Bytes that each sender may have on their way: the window, shared when many send at once.
    fn grant(&self) -> u64 {
        if self.inbox_messages > 0
            && (self.inbox_messages >= self.limits.max_queued_messages
                || self.inbox_bytes >= self.limits.max_queued_bytes)
        {
            return 0;
        }
        let senders = self.peers.iter().filter(|peer| !peer.inbox.begun.is_empty()).count();
        let senders = u64::try_from(senders.max(1)).unwrap_or(1);
        let chunk = u64::try_from(self.limits.chunk_bytes).unwrap_or(u64::MAX);
        let shared = self.limits.window_bytes.saturating_mul(4) / senders;
        shared.clamp(chunk.min(self.limits.window_bytes), self.limits.window_bytes)
    }
}
