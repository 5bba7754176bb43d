//! Who may begin a message: room is promised before memory is taken.
//!
//! Small messages flow while there is room. Large ones (more than a window) queue: one is assembled at a time, the next
//! begins with the last window of the one before it. Whoever is turned away stands in line, and is told when it is its turn.
//!
//! A large message that was taken keeps its room until the guest lets go of it. While that leaves too little for the next
//! one, that begins when the guest asks for something and finds nothing: it may need more than it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::inbox::{ACK_DELAY, Begun, Inbox};
use super::{Core, Now};

/// A large message to which nothing was added for so long does not keep others from beginning.
const STALLED: Duration = Duration::from_millis(500);
/// How often the speed of a large message is looked at.
const PACE: Duration = Duration::from_millis(250);
/// Small messages have this part of the queue for themselves, however full it is of large ones.
const SMALL_PART: u64 = 8;

/// What has been promised, and to whom the guest listens.
#[derive(Default)]
pub(super) struct Room {
    /// Messages that were begun or wait for the guest.
    pub(super) messages: usize,
    /// Their bytes.
    pub(super) bytes: u64,
    small_bytes: u64,
    large: usize,
    /// Bytes of large messages that the guest has taken and not let go.
    pub(super) lent: u64,
    /// When it last took one.
    lent_at: Now,
    /// The guest has waited for something since it last took a message.
    guest_waits: bool,
    /// Who was turned away, first come first.
    line: Vec<Turned>,
    /// Guest calls that wait for these very ends.
    waits: BTreeMap<u64, Vec<usize>>,
    next_wait: u64,
}

/// A message that waits for room.
pub(super) struct Turned {
    /// Position of its sender.
    index: usize,
    pub(super) id: u64,
    pub(super) total: u64,
    /// It had been begun, and was thrown away.
    pub(super) start_over: bool,
}

impl Room {
    /// The message of an end that waits for room.
    pub(super) fn turned(&self, index: usize) -> Option<&Turned> {
        self.line.iter().find(|turned| turned.index == index)
    }

    /// A message waits no longer, or all that an end has sent.
    pub(super) fn leave_line(&mut self, index: usize, id: Option<u64>) {
        self.line.retain(|turned| turned.index != index || id.is_some_and(|id| id != turned.id));
    }
}

impl Begun {
    /// Notes the speed at which it comes in.
    pub(super) fn pace(&mut self, now: Now, window: u64) {
        if now >= self.mark.0 + PACE {
            self.slow = self.have.len().saturating_sub(self.mark.1) < window;
            self.mark = (now, self.have.len());
        }
    }

    /// Whether a large message that comes in quickly has more than a window to come: until then it has the way for itself.
    /// A slow one does not fill the way; others may go beside it.
    fn has_the_way(&self, now: Now, window: u64) -> bool {
        self.total.saturating_sub(self.have.len()) > window && !self.slow && now < self.touched + STALLED
    }
}

impl Core {
    const fn is_large(&self, total: u64) -> bool {
        total > self.limits.window_bytes
    }

    /// Promises room for a message, or puts its sender in line.
    pub(super) fn make_room(&mut self, now: Now, index: usize, id: u64, after: u64, total: u64) -> bool {
        let Some(peer) = self.peers.get(index) else { return false };
        if !peer.inbox.knows(after) {
            // Its predecessor is missing: it comes again behind it.
            if let Some(peer) = self.peers.get_mut(index) {
                peer.inbox.due(now + ACK_DELAY);
            }
            return false;
        }
        let place = self.room.line.iter().position(|turned| turned.index == index && turned.id == id);
        let ahead = self.room.line.get(..place.unwrap_or(self.room.line.len())).unwrap_or_default();
        let in_turn =
            !ahead.iter().any(|turned| self.is_large(turned.total) == self.is_large(total) && self.is_here(turned));
        if self.is_awaited(index) || (in_turn && self.fits(now, total)) {
            let start_over = place.and_then(|place| self.room.line.get(place)).is_some_and(|turned| turned.start_over);
            self.promise(now, &Turned { index, id, total, start_over });
            return !start_over;
        }
        let Some(peer) = self.peers.get_mut(index) else { return false };
        if place.is_some() {
            peer.inbox.due(now + ACK_DELAY);
        } else {
            tracing::debug!(from = %peer.peer.id, id, total, "turned away for want of room");
            // At once, so that not much comes for nothing.
            peer.inbox.due(now);
            self.room.leave_line(index, None);
            self.room.line.push(Turned { index, id, total, start_over: false });
        }
        false
    }

    fn is_here(&self, turned: &Turned) -> bool {
        self.peers.get(turned.index).is_some_and(|peer| peer.present)
    }

    /// Whether there is room for a message of `total` bytes now.
    fn fits(&self, now: Now, total: u64) -> bool {
        let (room, limits) = (&self.room, &self.limits);
        let counts = room.messages < limits.max_queued_messages;
        let bytes = room.bytes.saturating_add(total) <= limits.max_inbox_bytes;
        if self.is_large(total) {
            let beside = room.bytes.saturating_add(room.lent).saturating_add(total) <= limits.max_inbox_bytes;
            let turn = beside || self.is_wanted(now);
            return turn && (room.large == 0 || (counts && bytes && !self.is_way_taken(now)));
        }
        let reserve = room.small_bytes.saturating_add(total) <= limits.max_inbox_bytes / SMALL_PART;
        room.messages == 0 || (counts && (bytes || reserve))
    }

    /// Whether a large message may begin whatever the guest holds: once it has waited, or has held the last one for so long
    /// that it may never let go.
    fn is_wanted(&self, now: Now) -> bool {
        let room = &self.room;
        room.lent == 0 || room.guest_waits || now >= room.lent_at + self.limits.dead_after
    }

    fn is_way_taken(&self, now: Now) -> bool {
        let window = self.limits.window_bytes;
        let here = self.peers.iter().filter(|peer| peer.present);
        here.flat_map(|peer| peer.inbox.begun.values()).any(|begun| begun.has_the_way(now, window))
    }

    /// A guest that waits for these very ends must get a message of one of them, whatever others have filled the queue with.
    fn is_awaited(&self, index: usize) -> bool {
        let idle = |index: &usize| self.peers.get(*index).is_some_and(|peer| peer.inbox.is_idle());
        self.room.waits.values().any(|ends| ends.contains(&index) && ends.iter().all(idle))
    }

    fn promise(&mut self, now: Now, turned: &Turned) {
        self.room.leave_line(turned.index, None);
        let large = self.is_large(turned.total);
        let Some(peer) = self.peers.get_mut(turned.index) else { return };
        peer.inbox.begun.insert(turned.id, Begun::new(now, turned));
        peer.inbox.due(now);
        self.room.messages += 1;
        self.room.bytes = self.room.bytes.saturating_add(turned.total);
        if large {
            self.room.large += 1;
        } else {
            self.room.small_bytes += turned.total;
        }
    }

    pub(super) fn release(&mut self, total: u64) {
        let large = self.is_large(total);
        let room = &mut self.room;
        room.messages = room.messages.saturating_sub(1);
        room.bytes = room.bytes.saturating_sub(total);
        if large {
            room.large = room.large.saturating_sub(1);
        } else {
            room.small_bytes = room.small_bytes.saturating_sub(total);
        }
    }

    /// The guest takes a message; the bytes that stay promised until [`Core::give_back`].
    pub(super) fn lend(&mut self, now: Now, wire_bytes: u64, raw_bytes: u64) -> u64 {
        self.release(wire_bytes);
        self.room.guest_waits = false;
        // What is handed over in memory is the sender's.
        if self.beside || !self.is_large(raw_bytes) {
            return 0;
        }
        self.room.lent = self.room.lent.saturating_add(raw_bytes);
        self.room.lent_at = now;
        raw_bytes
    }

    /// The guest has let go of what was lent to it.
    pub(crate) fn give_back(&mut self, now: Now, bytes: u64) {
        self.room.lent = self.room.lent.saturating_sub(bytes);
        self.grant_next(now);
    }

    /// The guest waits for something that is not there; whether that gave somebody room.
    pub(crate) fn guest_waits(&mut self, now: Now) -> bool {
        if self.room.guest_waits {
            return false;
        }
        self.room.guest_waits = true;
        let before = self.room.line.len();
        self.grant_next(now);
        self.room.line.len() < before
    }

    /// Promises room to those in line whose turn it is, and tells them.
    pub(super) fn grant_next(&mut self, now: Now) {
        while self.is_anyone_in_line() {
            if let Some(place) = self.next_in_line(now) {
                let turned = self.room.line.remove(place);
                self.promise(now, &turned);
            } else if self.is_way_taken(now) || !self.is_wanted(now) || !self.evict(now) {
                return;
            }
        }
    }

    fn is_anyone_in_line(&self) -> bool {
        self.room.line.iter().any(|turned| self.is_here(turned))
    }

    /// The place in line of whoever may begin now.
    fn next_in_line(&self, now: Now) -> Option<usize> {
        let here = || self.room.line.iter().enumerate().filter(|(_, turned)| self.is_here(turned));
        let awaited = here().find(|(_, turned)| self.is_awaited(turned.index));
        let first = |large: bool| here().find(|(_, turned)| self.is_large(turned.total) == large);
        let fits = |(_, turned): &(usize, &Turned)| self.fits(now, turned.total);
        let next = awaited.or_else(|| first(false).filter(fits)).or_else(|| first(true).filter(fits));
        next.map(|(place, _)| place)
    }

    /// Takes the room of what an end has begun that is away, or that has added nothing to it for as long as it takes to be
    /// taken for dead: others wait for it. It begins anew when it is back.
    fn evict(&mut self, now: Now) -> bool {
        let dead_after = self.limits.dead_after;
        let idle = |peer: &super::PeerState| {
            let begun = &peer.inbox.begun;
            !begun.is_empty() && (!peer.present || begun.values().all(|begun| now >= begun.touched + dead_after))
        };
        let Some(index) = self.peers.iter().position(idle) else { return false };
        let Some(peer) = self.peers.get_mut(index) else { return false };
        let begun = std::mem::take(&mut peer.inbox.begun);
        tracing::debug!(from = %peer.peer.id, "the room of a message that does not come is given to another end");
        self.room.leave_line(index, None);
        if let Some((&id, first)) = begun.first_key_value() {
            self.room.line.push(Turned { index, id, total: first.total, start_over: true });
        }
        for begun in begun.values() {
            self.release(begun.total);
        }
        true
    }

    /// A guest call begins to wait for a message of one of `ends`.
    pub(crate) fn want(&mut self, now: Now, ends: &[usize]) -> u64 {
        self.room.next_wait += 1;
        let wait = self.room.next_wait;
        if !ends.is_empty() {
            self.room.waits.insert(wait, ends.to_vec());
            self.grant_next(now);
        }
        wait
    }

    /// A guest call has ended.
    pub(crate) fn unwant(&mut self, wait: u64) {
        self.room.waits.remove(&wait);
    }

    /// When to look whether those in line may begin although nothing came.
    pub(super) fn line_wake(&self, now: Now) -> Option<Now> {
        self.is_anyone_in_line().then_some(now + STALLED)
    }

    /// Bytes that a sender may have on their way: all of the window for a large message that was begun, and otherwise a
    /// share of what all may send unasked.
    pub(super) fn window_of(&self, inbox: &Inbox) -> u64 {
        let window = self.limits.window_bytes;
        if inbox.begun.values().any(|begun| self.is_large(begun.total)) {
            return window;
        }
        let chunk = u64::try_from(self.limits.chunk_bytes).unwrap_or(u64::MAX);
        let packets = u64::try_from(super::schedule::UNASKED_PACKETS / self.peers.len().max(1)).unwrap_or(u64::MAX);
        chunk.saturating_mul(packets).clamp(chunk.min(window), window)
    }
}
