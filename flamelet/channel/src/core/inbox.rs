//! The receiving half: reassembly, order, the guest's queues and acknowledgements.
//!
//! A message is only begun when its declared length is within the grant and [`super::room`] has room, and messages are begun
//! in order, so that a later one can never take the room that an earlier one needs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use flame_model::wire::{self, Packed, WireError};
use flame_model::{EndId, Message, SharedBuffer, SharedBufferMut};

use super::room::Turned;
use super::{Core, Now, Outgoing};
use crate::frame::{ACK_LIST, Ack, ChunkHead, Content, Progress};
use crate::ranges::RangeSet;
use crate::seal::{Life, SealedBody};

/// How long an acknowledgement may wait for company.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(20);
/// The same for a chunk of a large message with room: its sender has a whole window to go on with.
const LARGE_ACK_DELAY: Duration = Duration::from_millis(50);
/// Packets that are acknowledged at once when so many have come since the last time.
const ACK_PACKETS: usize = 16;
/// Bytes of an acknowledgement without its list of gaps: its other lists full.
const ACK_ROOM: usize = 1200;

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
    /// Bytes of room that it keeps after it was taken, until they are given back.
    pub(crate) lent: u64,
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
#[derive(Default, Debug)]
pub(super) struct Inbox {
    life: Option<Life>,
    /// The last message of this life that was put in order.
    delivered: u64,
    /// Messages that have room and are not whole.
    pub(super) begun: BTreeMap<u64, Begun>,
    /// Whole messages whose predecessor is missing.
    ready: BTreeMap<u64, Ready>,
    pub(super) queue: VecDeque<Inbound>,
    pub(super) ack_due: Option<Now>,
    unreported: u64,
    unreported_packets: usize,
    refused: VecDeque<u64>,
}

/// A message that has room.
#[derive(Debug)]
pub(super) struct Begun {
    /// Memory is taken when the first byte is here.
    buffer: Option<SharedBufferMut>,
    pub(super) have: RangeSet,
    pub(super) total: u64,
    /// The sender may believe that some of it is here: it counts from its first byte on.
    start_over: bool,
    /// When it was last added to.
    pub(super) touched: Now,
    /// When its speed was last looked at, and what there was of it.
    pub(super) mark: (Now, u64),
    pub(super) slow: bool,
}

#[derive(Debug)]
struct Ready {
    after: u64,
    total: u64,
    /// `None`: cancelled or refused; only its place counts.
    what: Option<Whole>,
}

#[derive(Debug)]
enum Whole {
    Wire(SharedBuffer),
    Beside(Box<Message>),
}

/// Why a chunk was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// It is no part of the message as it stands here.
    Misplaced,
    /// Its body does not open.
    Forged,
}

impl Begun {
    pub(super) fn new(now: Now, turned: &Turned) -> Self {
        Self {
            buffer: None,
            have: RangeSet::default(),
            total: turned.total,
            start_over: turned.start_over,
            touched: now,
            mark: (now, 0),
            slow: false,
        }
    }

    /// Takes the memory at the first call; there may be none although the limits allow it.
    fn has_memory(&mut self) -> bool {
        if self.buffer.is_none() {
            // Nobody reads it before all of it has come.
            self.buffer = usize::try_from(self.total).ok().and_then(|len| SharedBufferMut::for_overwrite(len).ok());
        }
        self.buffer.is_some()
    }

    /// Opens a chunk into its place; how many bytes are new, and whether there is a gap before them. What is there already
    /// is not touched by what does not open.
    fn add(&mut self, now: Now, head: &ChunkHead, body: &SealedBody<'_>) -> Result<(u64, bool), Unfit> {
        if self.total != head.total || (self.start_over && head.offset > 0) {
            return Err(Unfit::Misplaced);
        }
        let (start, end) = (head.offset, head.offset.saturating_add(u64::try_from(body.len()).unwrap_or(u64::MAX)));
        let opens = if self.have.overlaps(start, end) {
            let mut bytes = vec![0; body.len()];
            let buffer = self.buffer.as_mut().ok_or(Unfit::Misplaced)?;
            body.open_into(&mut bytes) && buffer.write_at(start, &bytes).is_ok()
        } else {
            body.open_into(self.place(start, end).ok_or(Unfit::Misplaced)?)
        };
        if !opens {
            return Err(Unfit::Forged);
        }
        self.start_over = false;
        self.touched = now;
        let gap = start > self.have.highest();
        Ok((self.have.insert(start, end), gap))
    }

    fn place(&mut self, start: u64, end: u64) -> Option<&mut [u8]> {
        let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        self.buffer.as_mut()?.as_mut_bytes().get_mut(range)
    }

    /// What there is and what is missing, in at most `most` gaps.
    fn progress(&self, id: u64, most: usize) -> Progress {
        let missing = self.have.gaps(most);
        let upto = match missing.last() {
            Some(&(_, end)) if missing.len() == most => end,
            _ => self.have.highest(),
        };
        Progress { id, upto, missing }
    }
}

impl Inbox {
    pub(super) fn begin_life(&mut self, life: Life) {
        self.life = Some(life);
        self.delivered = 0;
        self.ack_due = None;
        self.unreported = 0;
        self.unreported_packets = 0;
        self.refused.clear();
    }

    /// Nothing of this sender is on its way to the guest.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.begun.is_empty() && self.ready.is_empty()
    }

    /// Whether the sender shall go on with what it was told to hold, and what there is of messages that are not in order or
    /// not whole, in about `room` entries. A message with nothing here is to be held, or sent if it shall go on.
    fn progress(&self, room: usize, turned: Option<u64>) -> (bool, Vec<Progress>) {
        let begun = self.begun.iter().filter(|(_, begun)| begun.have.len() > 0);
        let most = (room / begun.clone().count().clamp(1, ACK_LIST)).clamp(1, ACK_LIST);
        let begun = begun.map(|(&id, begun)| begun.progress(id, most));
        let whole = self.ready.iter().filter(|(_, ready)| ready.what.is_some());
        let whole = whole.map(|(&id, ready)| Progress { id, upto: ready.total, missing: Vec::new() });
        let mut progress: Vec<Progress> = begun.chain(whole).collect();
        progress.sort_unstable_by_key(|report| report.id);
        progress.truncate(ACK_LIST - 1);
        let granted = self.begun.iter().filter(|(_, begun)| begun.have.len() == 0).map(|(&id, _)| id).next_back();
        let waits = granted.or(turned);
        progress.extend(waits.map(|id| Progress { id, upto: 0, missing: Vec::new() }));
        (granted.is_some(), progress)
    }

    /// All of this life up to here was taken by the guest, or had nothing to take.
    fn taken(&self) -> u64 {
        let first = self.queue.iter().find(|inbound| Some(inbound.life) == self.life);
        first.map_or(self.delivered, |inbound| inbound.id.saturating_sub(1).min(self.delivered))
    }

    pub(super) fn knows(&self, id: u64) -> bool {
        id <= self.delivered || self.begun.contains_key(&id) || self.ready.contains_key(&id)
    }

    /// Names a message that is over this end's limit in every acknowledgement from now on.
    fn name_refused(&mut self, id: u64) {
        if self.refused.len() == ACK_LIST {
            self.refused.pop_front();
        }
        self.refused.push_back(id);
    }

    pub(super) fn due(&mut self, at: Now) {
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
        if head.id <= inbox.delivered {
            // It came before, so the acknowledgement got lost or is late.
            return inbox.due(now + ACK_DELAY);
        }
        if let Some(ready) = inbox.ready.get_mut(&head.id) {
            ready.after = ready.after.min(to.after);
            inbox.due(now + ACK_DELAY);
            return self.deliver(now, index);
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
                self.refuse(index, head.id, to.after);
            }
            Content::Bytes => self.on_bytes(now, index, head, to.after, body),
            Content::Beside => {
                let Some(message) = beside else { return };
                let begun = inbox.begun.contains_key(&head.id);
                if begun || self.make_room(now, index, head.id, to.after, head.total) {
                    let what = Some(Whole::Beside(Box::new(message)));
                    self.put_ready(index, head.id, Ready { after: to.after, total: head.total, what });
                }
            }
        }
        self.deliver(now, index);
        self.grant_next(now);
    }

    fn on_bytes(&mut self, now: Now, index: usize, head: &ChunkHead, after: u64, body: &SealedBody<'_>) {
        let begun = self.peers.get(index).is_some_and(|peer| peer.inbox.begun.contains_key(&head.id));
        if !begun && !self.make_room(now, index, head.id, after, head.total) {
            return;
        }
        let Some(peer) = self.peers.get(index) else { return };
        let granted = self.window_of(&peer.inbox);
        let window = self.limits.window_bytes;
        let Some(peer) = self.peers.get_mut(index) else { return };
        let inbox = &mut peer.inbox;
        let Some(begun) = inbox.begun.get_mut(&head.id) else { return };
        if !begun.has_memory() {
            tracing::warn!(from = %peer.peer.id, bytes = head.total, "a message was refused: there is no memory for it");
            return self.refuse(index, head.id, after);
        }
        let (new, gap) = match begun.add(now, head, body) {
            Ok(added) => added,
            Err(unfit) => {
                self.stats.dropped_forged += u64::from(unfit == Unfit::Forged);
                return inbox.due(now + ACK_DELAY);
            }
        };
        begun.pace(now, window);
        let whole = begun.have.len() == begun.total;
        inbox.unreported += new;
        inbox.unreported_packets += 1;
        let many = inbox.unreported >= granted / 4 || inbox.unreported_packets >= ACK_PACKETS;
        let pause = if begun.total > window { LARGE_ACK_DELAY } else { ACK_DELAY };
        inbox.due(if new == 0 || gap || many { now } else { now + pause });
        if whole && let Some(begun) = inbox.begun.remove(&head.id) {
            let what = begun.buffer.map(|buffer| Whole::Wire(buffer.freeze()));
            self.put_ready(index, head.id, Ready { after, total: begun.total, what });
        }
    }

    /// The sender learns that this message is not taken.
    fn refuse(&mut self, index: usize, id: u64, after: u64) {
        self.stats.refused += 1;
        if let Some(peer) = self.peers.get_mut(index) {
            peer.inbox.name_refused(id);
        }
        self.set_aside(index, id, after);
    }

    /// Gives a message's place free and drops what there is of it.
    fn set_aside(&mut self, index: usize, id: u64, after: u64) {
        self.room.leave_line(index, Some(id));
        let begun = self.peers.get_mut(index).and_then(|peer| peer.inbox.begun.remove(&id));
        if let Some(begun) = begun {
            self.release(begun.total);
        }
        self.put_ready(index, id, Ready { after, total: 0, what: None });
    }

    fn put_ready(&mut self, index: usize, id: u64, ready: Ready) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.inbox.begun.remove(&id);
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
            // A sender that goes on without an earlier message will not end it.
            let rest = inbox.begun.split_off(&id);
            let void = std::mem::replace(&mut inbox.begun, rest);
            let Some(life) = inbox.life else { return };
            let opened = match ready.what {
                Some(Whole::Beside(message)) => Some(Ok((Arrived::Whole(message), ready.total))),
                Some(Whole::Wire(buffer)) => Some(wire::open(buffer, self.limits.max_message_bytes).map(|packed| {
                    let raw_bytes = packed.raw_bytes();
                    (Arrived::Packed(Box::new(packed)), raw_bytes)
                })),
                None => None,
            };
            match opened {
                Some(Ok((arrived, raw_bytes))) => {
                    self.arrivals += 1;
                    self.stats.messages_in += 1;
                    self.stats.bytes_in += ready.total;
                    self.stats.raw_bytes_in += raw_bytes;
                    self.changed = true;
                    let (wire_bytes, arrival) = (ready.total, self.arrivals);
                    inbox.queue.push_back(Inbound { id, arrived, wire_bytes, raw_bytes, lent: 0, arrival, life });
                }
                Some(Err(error)) => {
                    tracing::warn!(from = %peer.peer.id, id, %error, "a message was refused");
                    if matches!(error, WireError::OverLimit { .. }) {
                        inbox.name_refused(id);
                    }
                    self.stats.refused += 1;
                    self.release(ready.total);
                }
                None => {}
            }
            for begun in void.values() {
                self.release(begun.total);
            }
        }
    }

    /// Drops what a life that is over had begun; whole messages stay for the guest.
    pub(super) fn forget_partials(&mut self, index: usize) {
        self.room.leave_line(index, None);
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

    /// Takes the first message to arrive of `sources` (positions; none means any). What it is lent is to be given back.
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
        let mut inbound = peer.inbox.queue.pop_front()?;
        let sender = peer.peer.id.clone();
        peer.inbox.due(now + ACK_DELAY);
        inbound.lent = self.lend(now, inbound.wire_bytes, inbound.raw_bytes);
        self.grant_next(now);
        Some((sender, inbound))
    }

    /// A message that was taken could not be unpacked, for which its sender is to blame.
    pub(crate) fn note_broken(&mut self, from: &EndId, id: u64, error: &WireError) {
        tracing::warn!(%from, id, %error, "a message was not unpacked");
        self.stats.refused += 1;
    }

    /// Whoever asks learns what was received and taken and what waits for room, if there was anything.
    pub(super) fn report(&mut self, now: Now, index: usize) {
        self.grant_next(now);
        let turned = self.room.turned(index).is_some();
        if let Some(peer) = self.peers.get_mut(index) {
            let inbox = &mut peer.inbox;
            if inbox.delivered > 0 || turned || !inbox.begun.is_empty() {
                inbox.due(now);
            }
        }
    }

    /// The kind of the next message of an end.
    pub(crate) fn peek(&self, index: usize) -> Option<String> {
        Some(self.peers.get(index)?.inbox.queue.front()?.arrived.kind().to_owned())
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
        let room = self.max_payload.saturating_sub(ACK_ROOM) / 16;
        let turned = self.room.turned(index).map(|turned| turned.id);
        let window = self.window_of(&self.peers.get(index)?.inbox);
        let peer = self.peers.get_mut(index)?;
        let session = peer.life?.session;
        let inbox = &mut peer.inbox;
        inbox.ack_due = None;
        inbox.unreported = 0;
        inbox.unreported_packets = 0;
        let (resume, progress) = inbox.progress(room, turned);
        let ack = Ack {
            session,
            delivered: inbox.delivered,
            taken: inbox.taken(),
            window,
            resume,
            refused: inbox.refused.iter().copied().collect(),
            progress,
        };
        self.seal_ack(index, ack)
    }
}
