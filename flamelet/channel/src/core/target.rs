//! A message's way to its ends: which chunk waits, which is on its way, which has arrived; and what each end has of it all.

use std::collections::BTreeSet;

use flame_model::Message;
use flame_model::wire::Encoded;

use crate::frame::Progress;

/// A message on its way.
pub(super) struct OutMessage {
    pub(super) encoded: Encoded,
    /// Bytes that it takes of the outbox.
    pub(super) bytes: u64,
    pub(super) beside: Option<Message>,
    pub(super) round: u64,
    pub(super) broadcast: bool,
    /// Larger than a window: it begins with a few chunks, until the receiver has room for it.
    pub(super) large: bool,
    pub(super) chunk: u64,
    /// By position of the end.
    pub(super) targets: Vec<Target>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Waiting,
    /// On its way; the number orders what was sent to all ends.
    Sent(u64),
    Arrived,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    OnItsWay,
    /// The place must be given free, because the end has part of it.
    Cancelling,
    Received,
}

/// A message's way to one end.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) peer: usize,
    pub(super) stage: Stage,
    /// The end's present life may have seen a chunk of it.
    pub(super) started: bool,
    /// The end has made room for it and said so.
    pub(super) heard: bool,
    chunks: Vec<Chunk>,
    /// No waiting chunk below this.
    hint: usize,
    /// All chunks below this have arrived.
    floor: usize,
    /// No chunk from here on has been sent.
    top: usize,
    waiting: usize,
    packets: usize,
    pub(super) in_flight: u64,
    /// The latest sent chunk that is known to have arrived.
    pub(super) latest: u64,
}

impl Target {
    pub(super) fn new(peer: usize, count: usize) -> Self {
        Self {
            peer,
            stage: Stage::OnItsWay,
            started: false,
            heard: false,
            chunks: vec![Chunk::Waiting; count],
            hint: 0,
            floor: 0,
            top: 0,
            waiting: count,
            packets: 0,
            in_flight: 0,
            latest: 0,
        }
    }

    pub(super) fn first_waiting(&mut self) -> Option<usize> {
        if self.waiting == 0 || self.stage == Stage::Received {
            return None;
        }
        while self.chunks.get(self.hint).is_some_and(|chunk| *chunk != Chunk::Waiting) {
            self.hint += 1;
        }
        (self.hint < self.chunks.len()).then_some(self.hint)
    }

    pub(super) fn is_waiting(&self, at: usize) -> bool {
        self.stage != Stage::Received && self.chunks.get(at) == Some(&Chunk::Waiting)
    }

    /// Chunk `at`, of `len` bytes, goes as the `number`-th of all.
    pub(super) fn send(&mut self, at: usize, number: u64, len: u64) {
        self.started = true;
        if let Some(chunk) = self.chunks.get_mut(at)
            && *chunk == Chunk::Waiting
        {
            *chunk = Chunk::Sent(number);
            self.waiting -= 1;
            self.top = self.top.max(at + 1);
            // Giving a place free takes no room on the way.
            if self.stage != Stage::Cancelling {
                self.packets += 1;
                self.in_flight += len;
            }
        }
    }

    /// Whole at the end.
    pub(super) fn receive(&mut self) {
        let sent = self.chunks.get(self.floor..self.top).unwrap_or_default();
        let numbers =
            sent.iter().filter_map(|chunk| if let Chunk::Sent(number) = chunk { Some(*number) } else { None });
        self.latest = numbers.max().unwrap_or_default().max(self.latest);
        self.stage = Stage::Received;
        self.chunks = Vec::new();
        self.nothing_on_its_way();
        self.waiting = 0;
    }

    /// Nothing but word that its place is free goes to the end any more.
    pub(super) fn cancel(&mut self) {
        let latest = self.latest;
        *self = Self { stage: Stage::Cancelling, started: true, latest, ..Self::new(self.peer, 1) };
    }

    /// What was sent and not acknowledged goes again; says how many chunks.
    pub(super) fn unsend(&mut self) -> u64 {
        let mut count = 0;
        for chunk in self.chunks.get_mut(self.floor..self.top).unwrap_or_default() {
            if matches!(chunk, Chunk::Sent(_)) {
                *chunk = Chunk::Waiting;
                count += 1;
            }
        }
        self.waiting += usize::try_from(count).unwrap_or_default();
        self.hint = self.hint.min(self.floor);
        self.nothing_on_its_way();
        count
    }

    /// All of it goes again; says how many chunks.
    pub(super) fn start_over(&mut self) -> u64 {
        if self.stage == Stage::Cancelling {
            return self.unsend();
        }
        let again = self.chunks.len() - self.waiting;
        *self = Self { started: self.started, latest: self.latest, ..Self::new(self.peer, self.chunks.len()) };
        u64::try_from(again).unwrap_or_default()
    }

    fn nothing_on_its_way(&mut self) {
        self.packets = 0;
        self.in_flight = 0;
    }

    /// Marks what a report says; whether something new arrived.
    pub(super) fn note(&mut self, report: &Progress, chunk: u64, total: u64) -> bool {
        self.heard = true;
        self.take_back(report, chunk);
        let mut news = false;
        let range = self.floor..self.top;
        for (at, state) in self.chunks.iter_mut().enumerate().take(range.end).skip(range.start) {
            let (start, end) = span(at, chunk, total);
            if end > report.upto {
                break;
            }
            if *state == Chunk::Arrived || report.missing.iter().any(|&(from, to)| from < end && start < to) {
                continue;
            }
            news = true;
            match *state {
                Chunk::Sent(number) => {
                    self.in_flight = self.in_flight.saturating_sub(end - start);
                    self.packets = self.packets.saturating_sub(1);
                    self.latest = self.latest.max(number);
                }
                _ => self.waiting = self.waiting.saturating_sub(1),
            }
            *state = Chunk::Arrived;
        }
        while self.chunks.get(self.floor) == Some(&Chunk::Arrived) {
            self.floor += 1;
        }
        news
    }

    /// What had arrived and is missing now goes again: its room was given to another end.
    fn take_back(&mut self, report: &Progress, chunk: u64) {
        let place = |offset: u64| usize::try_from(offset / chunk.max(1)).unwrap_or(usize::MAX);
        for &(from, to) in report.missing.iter().filter(|(from, to)| from < to) {
            let range = place(from)..place(to - 1).saturating_add(1).min(self.top);
            for (at, state) in self.chunks.iter_mut().enumerate().take(range.end).skip(range.start) {
                if *state == Chunk::Arrived {
                    *state = Chunk::Waiting;
                    self.waiting += 1;
                    self.hint = self.hint.min(at);
                    self.floor = self.floor.min(at);
                }
            }
        }
    }

    /// What was sent before the `latest` chunk that is known to have arrived, and has not arrived, is lost and goes again;
    /// says how many chunks.
    pub(super) fn note_lost(&mut self, latest: u64, chunk: u64, total: u64) -> u64 {
        let mut lost = 0;
        let range = self.floor..self.top;
        for (at, state) in self.chunks.iter_mut().enumerate().take(range.end).skip(range.start) {
            if let Chunk::Sent(number) = *state
                && number < latest
            {
                let (start, end) = span(at, chunk, total);
                if self.stage != Stage::Cancelling {
                    self.in_flight = self.in_flight.saturating_sub(end - start);
                    self.packets = self.packets.saturating_sub(1);
                }
                *state = Chunk::Waiting;
                self.waiting += 1;
                self.hint = self.hint.min(at);
                lost += 1;
            }
        }
        lost
    }

    pub(super) fn restart(&mut self, count: usize) {
        *self = Self::new(self.peer, count);
    }

    /// Its chunks were cut anew; a report may say that some of them are there already.
    pub(super) fn recut(&mut self, count: usize) {
        *self = Self { started: self.started, latest: self.latest, top: count, ..Self::new(self.peer, count) };
    }

    /// The oldest chunk on its way goes again, to learn what became of the others; whether there is one.
    pub(super) fn resend_oldest(&mut self, chunk: u64, total: u64) -> bool {
        let sent = self.chunks.get(self.floor..self.top).unwrap_or_default().iter();
        let oldest = sent.filter_map(|chunk| if let Chunk::Sent(number) = chunk { Some(*number) } else { None }).min();
        oldest.is_some_and(|number| self.note_lost(number + 1, chunk, total) > 0)
    }

    /// Whether the end is in the middle of it, or of learning that it is cancelled.
    pub(super) fn is_coming_in(&self) -> bool {
        match self.stage {
            Stage::OnItsWay => self.heard,
            Stage::Cancelling => true,
            Stage::Received => false,
        }
    }

    /// Whether nothing of it waits or is on its way.
    pub(super) fn is_all_there(&self) -> bool {
        self.waiting == 0 && self.packets == 0
    }
}

impl OutMessage {
    pub(super) fn chunk_count(&self) -> usize {
        usize::try_from(self.encoded.total_len.div_ceil(self.chunk.max(1))).unwrap_or(usize::MAX).max(1)
    }

    /// Offset and length of a chunk; nothing of it travels when the message is handed over in memory.
    pub(super) fn span(&self, at: usize) -> (u64, u64) {
        let (start, end) = span(at, self.chunk, self.encoded.total_len);
        (start, end.saturating_sub(start))
    }

    pub(super) fn target(&self, peer: usize) -> Option<&Target> {
        let at = self.targets.binary_search_by_key(&peer, |target| target.peer).ok()?;
        self.targets.get(at)
    }

    pub(super) fn target_mut(&mut self, peer: usize) -> Option<&mut Target> {
        let at = self.targets.binary_search_by_key(&peer, |target| target.peer).ok()?;
        self.targets.get_mut(at)
    }
}

/// Start and end of a chunk.
fn span(at: usize, chunk: u64, total: u64) -> (u64, u64) {
    let start = u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(chunk);
    (start, start.saturating_add(chunk).min(total))
}

/// What one end has on its way and owes: kept in step with its targets, so that a packet costs no walk over the outbox.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Messages of which a chunk waits to go to it, oldest first.
    pub(super) open: BTreeSet<u64>,
    /// Messages that it has not received.
    pub(super) owed: BTreeSet<u64>,
    /// Messages that it has received and its guest has not taken.
    pub(super) untaken: BTreeSet<u64>,
    pub(super) in_flight: u64,
    pub(super) packets: usize,
    /// The latest chunk that is known to have arrived.
    pub(super) latest: u64,
    /// One chunk may go whatever is on its way, to learn what became of that.
    pub(super) probe: bool,
    /// The message that it has no room for until it says so.
    pub(super) held: Option<u64>,
}

/// What of a target counts in its end's load.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Share {
    open: bool,
    owed: bool,
    untaken: bool,
    in_flight: u64,
    packets: usize,
}

impl Share {
    const NONE: Self = Self { open: false, owed: false, untaken: false, in_flight: 0, packets: 0 };

    fn of(target: &Target) -> Self {
        let owed = target.stage != Stage::Received;
        Self {
            open: owed && target.waiting > 0,
            owed,
            untaken: !owed,
            in_flight: target.in_flight,
            packets: target.packets,
        }
    }
}

impl Load {
    /// Takes on a new target of message `id`.
    pub(super) fn add(&mut self, id: u64, target: &Target) {
        self.shift(id, Share::NONE, Share::of(target));
    }

    /// Drops a target of message `id`.
    pub(super) fn remove(&mut self, id: u64, target: &Target) {
        self.shift(id, Share::of(target), Share::NONE);
        self.held.take_if(|held| *held == id);
    }

    /// Changes a target of message `id`.
    pub(super) fn change<T>(&mut self, id: u64, target: &mut Target, change: impl FnOnce(&mut Target) -> T) -> T {
        let before = Share::of(target);
        let result = change(target);
        self.shift(id, before, Share::of(target));
        self.latest = self.latest.max(target.latest);
        result
    }

    fn shift(&mut self, id: u64, before: Share, after: Share) {
        self.probe &= after.packets <= before.packets;
        self.in_flight = self.in_flight.saturating_sub(before.in_flight) + after.in_flight;
        self.packets = self.packets.saturating_sub(before.packets) + after.packets;
        put(&mut self.open, id, before.open, after.open);
        put(&mut self.owed, id, before.owed, after.owed);
        put(&mut self.untaken, id, before.untaken, after.untaken);
    }
}

fn put(set: &mut BTreeSet<u64>, id: u64, before: bool, after: bool) {
    match (before, after) {
        (false, true) => drop(set.insert(id)),
        (true, false) => drop(set.remove(&id)),
        _ => {}
    }
}
