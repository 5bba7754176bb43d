//! The sending half: what is not yet taken, what was acknowledged and what goes again.
//!
//! A message stays here until every addressed end's guest has taken it, was refused it, or it was cancelled for it.

use super::peers::PeerState;
use super::schedule::LAG_PATIENCE;
use super::target::{OutMessage, Stage, Target};
use super::{Core, Now, Outbound, ReceiptState};
use crate::error::ChannelError;

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
            self.supersede(now, message.round, total);
        }
        if self.is_full(total) && !self.outbox.is_empty() {
            return Ok(None);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.stats.messages_out += 1;
        self.stats.bytes_out += total;
        self.stats.raw_bytes_out += message.encoded.raw_len;
        let chunk = if self.beside { total.max(1) } else { self.chunk_for(targets.len()) };
        let mut out = OutMessage {
            encoded: message.encoded.clone(),
            bytes: total,
            beside: message.beside.clone(),
            round: message.round,
            broadcast,
            large: total > self.limits.window_bytes,
            chunk,
            targets: Vec::new(),
        };
        let count = out.chunk_count();
        out.targets = targets.iter().map(|&peer| Target::new(peer, count)).collect();
        for target in &out.targets {
            let Some(peer) = self.peers.get_mut(target.peer) else { continue };
            if peer.load.owed.is_empty() {
                // The wait for an acknowledgement begins now for an end that owed none.
                peer.last_progress = now;
            }
            peer.load.add(id, target);
        }
        if !out.targets.is_empty() {
            self.outbox_bytes += total;
            self.outbox.insert(id, out);
        }
        Ok(Some(id))
    }

    fn is_full(&self, total: u64) -> bool {
        let with_memory = self.outbox.values().filter(|message| message.bytes > 0);
        with_memory.count() >= self.limits.max_queued_messages
            || self.outbox_bytes.saturating_add(total) > self.limits.max_queued_bytes
    }

    fn chunk_for(&self, addressees: usize) -> u64 {
        u64::try_from(self.chunk_limit(addressees.min(self.most_addressees()))).unwrap_or(u64::MAX)
    }

    /// A newer round makes older broadcasts pointless for ends that are away. Once they are many bytes, they are given up
    /// for ends that do not come on, too.
    fn supersede(&mut self, now: Now, round: u64, total: u64) {
        self.give_up_rounds(round, |peer, target| !peer.present && target.stage == Stage::OnItsWay);
        if self.outbox_bytes.saturating_add(total) > self.limits.max_inbox_bytes || self.is_full(total) {
            let behind = |peer: &PeerState| peer.load.held.is_some() || now >= peer.last_progress + LAG_PATIENCE;
            self.give_up_rounds(round, |peer, target| behind(peer) && !target.is_coming_in());
        }
    }

    /// The outbox has been full for long: broadcasts of rounds before `round` stay only for ends that are in the middle of
    /// receiving them.
    pub(crate) fn give_up_rounds_before(&mut self, round: u64) {
        self.give_up_rounds(round, |_, target| !target.is_coming_in());
    }

    fn give_up_rounds(&mut self, round: u64, applies: impl Fn(&PeerState, &Target) -> bool) {
        let older = self.outbox.iter().filter(|(_, message)| message.broadcast && message.round < round);
        let hit = |target: &&Target| self.peers.get(target.peer).is_some_and(|peer| applies(peer, target));
        let hits: Vec<(u64, usize)> = older
            .flat_map(|(&id, message)| message.targets.iter().filter(hit).map(move |target| (id, target.peer)))
            .collect();
        for (id, index) in hits {
            self.cancel_for(id, index);
        }
    }

    /// Stops delivering to ends that do not have it yet.
    pub(crate) fn cancel(&mut self, id: u64) {
        let on_its_way = |target: &&Target| target.stage == Stage::OnItsWay;
        let ends: Vec<usize> = self.outbox.get(&id).map_or_else(Vec::new, |message| {
            message.targets.iter().filter(on_its_way).map(|target| target.peer).collect()
        });
        for index in ends {
            self.cancel_for(id, index);
        }
        self.changed = true;
    }

    /// A message is not for this end any more; of one that it may have part of, it must learn that its place is free.
    fn cancel_for(&mut self, id: u64, index: usize) {
        let target = self.outbox.get(&id).and_then(|message| message.target(index));
        if target.is_some_and(|target| target.stage == Stage::OnItsWay && target.started) {
            self.change(id, index, |target, _, _| target.cancel());
            if let Some(peer) = self.peers.get_mut(index) {
                peer.load.held.take_if(|held| *held == id);
            }
            self.strip(id);
        } else {
            self.drop_target(id, index);
        }
        self.changed = true;
    }

    /// A message that is cancelled for all its ends keeps its place, and no memory.
    fn strip(&mut self, id: u64) {
        let Some(message) = self.outbox.get_mut(&id) else { return };
        if message.targets.iter().all(|target| target.stage == Stage::Cancelling) {
            self.outbox_bytes = self.outbox_bytes.saturating_sub(message.bytes);
            message.bytes = 0;
            message.beside = None;
            message.encoded = flame_model::wire::encode(&flame_model::Message::default());
        }
    }

    /// Changes one end's way of a message (given the length of its chunks and of all of it), and its load with it.
    pub(super) fn change<T>(
        &mut self,
        id: u64,
        index: usize,
        change: impl FnOnce(&mut Target, u64, u64) -> T,
    ) -> Option<T> {
        let message = self.outbox.get_mut(&id)?;
        let (chunk, total) = (message.chunk, message.encoded.total_len);
        let target = message.target_mut(index)?;
        Some(self.peers.get_mut(index)?.load.change(id, target, |target| change(target, chunk, total)))
    }

    /// The message is not this end's business any more; without ends it leaves the outbox.
    pub(super) fn drop_target(&mut self, id: u64, index: usize) {
        let Some(message) = self.outbox.get_mut(&id) else { return };
        if let Ok(at) = message.targets.binary_search_by_key(&index, |target| target.peer) {
            let target = message.targets.remove(at);
            if let Some(peer) = self.peers.get_mut(index) {
                peer.load.remove(id, &target);
            }
        }
        if message.targets.is_empty() {
            self.outbox_bytes = self.outbox_bytes.saturating_sub(message.bytes);
            self.outbox.remove(&id);
        }
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
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.load.held = None;
        let ids: Vec<u64> = peer.load.owed.union(&peer.load.untaken).copied().collect();
        for id in ids {
            let Some(message) = self.outbox.get(&id) else { continue };
            let count = message.chunk_count();
            if message.target(index).is_some_and(|target| target.stage == Stage::Cancelling) {
                self.drop_target(id, index);
            } else {
                self.change(id, index, |target, _, _| target.restart(count));
            }
        }
    }

    /// What is on its way to this end goes again.
    pub(super) fn unsend(&mut self, index: usize) {
        for id in self.owed(index) {
            self.stats.chunks_resent += self.change(id, index, |target, _, _| target.unsend()).unwrap_or_default();
        }
    }

    /// Messages that an end has not received, oldest first.
    pub(super) fn owed(&self, index: usize) -> Vec<u64> {
        self.peers.get(index).map_or_else(Vec::new, |peer| peer.load.owed.iter().copied().collect())
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
        let ids: Vec<u64> = self.outbox.keys().copied().collect();
        for id in ids {
            let Some(message) = self.outbox.get(&id) else { continue };
            let limit = self.chunk_for(message.targets.len());
            if message.chunk <= limit {
                continue;
            }
            let on_its_way = |target: &&Target| target.stage == Stage::OnItsWay;
            let ends: Vec<usize> = message.targets.iter().filter(on_its_way).map(|target| target.peer).collect();
            let Some(message) = self.outbox.get_mut(&id) else { continue };
            message.chunk = limit;
            let count = message.chunk_count();
            for index in ends {
                self.change(id, index, |target, _, _| target.recut(count));
            }
        }
    }

    /// Sends again what has not been acknowledged for too long, and asks what became of what was not taken: the
    /// acknowledgement of that is sent once, and may be lost.
    pub(super) fn resend_overdue(&mut self, now: Now) {
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers.get(index).filter(|peer| peer.present) else { continue };
            let load = &peer.load;
            let overdue = !load.owed.is_empty() && now >= peer.last_progress + peer.resend_after;
            let (held, untaken, pause) = (load.held.is_some(), !load.untaken.is_empty(), peer.resend_after);
            if untaken {
                self.ask_every(now, index, self.limits.heartbeat);
            }
            if !overdue {
                continue;
            }
            // The oldest chunk is enough: the answer says what else is missing. An end that has no room is only asked.
            if held || !self.resend_oldest(index) {
                self.ask_every(now, index, pause);
            }
            let most = self.limits.resend_after * 8;
            if let Some(peer) = self.peers.get_mut(index) {
                peer.last_progress = now;
                peer.resend_after = (peer.resend_after * 2).min(most);
            }
        }
    }

    fn resend_oldest(&mut self, index: usize) -> bool {
        let resent = self.owed(index).into_iter().any(|id| self.change(id, index, Target::resend_oldest) == Some(true));
        self.stats.chunks_resent += u64::from(resent);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.load.probe |= resent;
        }
        resent
    }

    /// Ends addressed by a broadcast: everybody whom this end talks to, here or not.
    pub(crate) fn everybody(&self) -> Vec<usize> {
        (0..self.peers.len()).collect()
    }
}
