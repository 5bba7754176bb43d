//! A message's way to its ends: which chunk waits, which is on its way, which has arrived.

use std::collections::BTreeMap;

use flame_model::Message;
use flame_model::wire::Encoded;

use crate::frame::Progress;

/// A message on its way.
pub(super) struct OutMessage {
    pub(super) encoded: Encoded,
    pub(super) beside: Option<Message>,
    pub(super) round: u64,
    pub(super) broadcast: bool,
    pub(super) chunk: u64,
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
pub(super) struct Target {
    pub(super) peer: usize,
    pub(super) stage: Stage,
    pub(super) chunks: Vec<Chunk>,
    /// No waiting chunk below this.
    pub(super) hint: usize,
    pub(super) in_flight: u64,
    /// The latest sent chunk that is known to have arrived: what was sent before it and is missing is lost.
    pub(super) latest: u64,
    /// The end's present life may have seen a chunk of it.
    pub(super) started: bool,
}

impl Target {
    pub(super) fn new(peer: usize, count: usize) -> Self {
        let chunks = vec![Chunk::Waiting; count];
        Self { peer, stage: Stage::OnItsWay, chunks, hint: 0, in_flight: 0, latest: 0, started: false }
    }

    pub(super) fn first_waiting(&mut self) -> Option<usize> {
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

    pub(super) fn is_waiting(&self, at: usize) -> bool {
        self.stage != Stage::Received && self.chunks.get(at) == Some(&Chunk::Waiting)
    }

    /// What was sent and not acknowledged goes again; says how many chunks.
    pub(super) fn unsend(&mut self) -> u64 {
        let mut count = 0;
        for chunk in self.chunks.iter_mut().filter(|chunk| matches!(chunk, Chunk::Sent(_))) {
            *chunk = Chunk::Waiting;
            count += 1;
        }
        self.hint = 0;
        self.in_flight = 0;
        count
    }

    pub(super) fn restart(&mut self, count: usize) {
        *self = Self::new(self.peer, count);
    }
}

impl OutMessage {
    pub(super) fn chunk_count(&self) -> usize {
        usize::try_from(self.encoded.total_len.div_ceil(self.chunk.max(1))).unwrap_or(usize::MAX).max(1)
    }

    /// Offset and length of a chunk; nothing of it travels when the message is handed over in memory.
    pub(super) fn span(&self, at: usize) -> (u64, u64) {
        let offset = u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(self.chunk);
        (offset, self.chunk.min(self.encoded.total_len.saturating_sub(offset)))
    }
}

impl Target {
    /// Marks what a report says; whether something new arrived and how many chunks are lost.
    pub(super) fn note(&mut self, report: &Progress, chunk: u64, total: u64) -> (bool, u64) {
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
    pub(super) in_flight: u64,
    /// Something has not been received.
    pub(super) pending: bool,
    /// Something that others need too has not been received.
    pub(super) shared: bool,
    /// Something was received and not taken.
    pub(super) untaken: bool,
}

pub(super) fn loads(outbox: &BTreeMap<u64, OutMessage>, peers: usize) -> Vec<Load> {
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
