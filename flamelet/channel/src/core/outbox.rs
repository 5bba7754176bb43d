//! The sending half: what is not yet taken, what was acknowledged and what goes again.
//!
//! A message stays here until every addressed end's guest has taken it, was refused it, or it was cancelled for it.

use super::peers::PeerState;
use super::target::{Chunk, Load, OutMessage, Stage, Target, loads};
use super::{Core, Now, Outbound, ReceiptState};
use crate::error::ChannelError;
use crate::frame::Ack;

/// Most remembered refusals of messages that have left the outbox.
const REFUSALS: usize = 1024;

impl Core {
    /// Puts a message into the outbox for the ends at `targets`; `None` while the outbox is full.
    pub(crate) fn queue(
        &mut self,
        now: Now,
        targets: &[usize],
        message: &Outbound,
        broadcast: bool,
    ) -> Result<Option<u64>, ChannelError> {
        self.usable()?;
        let total = message.encoded.total_len;
        // The receiver holds it to its limit unpacked, too.
        let needed = total.max(message.encoded.raw_len);
        if needed > self.limits.max_message_bytes {
            return Err(ChannelError::LimitExceeded(format!(
                "max_message_bytes is {}, the message needs {needed}; raise the channel's limit",
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
        self.stats.raw_bytes_out += message.encoded.raw_len;
        let chunk = if self.beside { total.max(1) } else { self.chunk_for(targets.len()) };
        let mut out = OutMessage {
            encoded: message.encoded.clone(),
            beside: message.beside.clone(),
            round: message.round,
            broadcast,
            chunk,
            targets: Vec::new(),
        };
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
            if self.peers.get(index).is_some_and(|peer| peer.said_goodbye) {
                return;
            }
            return self.ask(now, index);
        }
        // A last acknowledgement may come behind the goodbye: brokers keep no order between topics.
        if self.peers.get(index).is_some_and(|peer| !peer.said_goodbye) {
            self.prove(now, index);
        }
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

    /// Ends addressed by a broadcast: everybody whom this end talks to, here or not.
    pub(crate) fn everybody(&self) -> Vec<usize> {
        (0..self.peers.len()).collect()
    }
}
