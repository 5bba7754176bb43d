//! What an acknowledgement changes in the outbox. Everything in it is a state: the newest holds, and one that was overtaken is
//! no news.

use super::target::Stage;
use super::{Core, Now};
use crate::frame::{ACK_LIST, Ack};

/// Most remembered refusals of messages that have left the outbox.
const REFUSALS: usize = 1024;

impl Core {
    pub(super) fn on_ack(&mut self, now: Now, index: usize, counter: u64, ack: &Ack) {
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
        let Some(peer) = self.peers.get_mut(index).filter(|peer| peer.newest_ack < counter) else { return };
        peer.newest_ack = counter;
        self.note_refusals(index, ack);
        let received = self.note_received(index, ack);
        let arrived = self.note_progress(index, ack);
        self.note_lost(index);
        let (base, most) = (self.limits.resend_after, self.limits.window_bytes);
        if let Some(peer) = self.peers.get_mut(index) {
            if received || arrived || ack.resume {
                peer.last_progress = now;
                peer.resend_after = base.max(peer.resend_after / 2);
            }
            // More than this side's carrier keeps for one end would be dropped.
            peer.window = ack.window.min(most);
        }
    }

    fn note_refusals(&mut self, index: usize, ack: &Ack) {
        let Some(end) = self.peers.get(index).map(|peer| peer.peer.id.clone()) else { return };
        for &id in &ack.refused {
            if self.outbox.get(&id).is_some_and(|message| message.target(index).is_some()) {
                self.drop_target(id, index);
                self.refusals.entry(id).or_default().push(end.clone());
            }
        }
        while self.refusals.len() > REFUSALS {
            self.refusals.pop_first();
        }
    }

    /// What the end's host has, and what its guest has taken; whether it is more than before.
    fn note_received(&mut self, index: usize, ack: &Ack) -> bool {
        let Some(peer) = self.peers.get(index) else { return false };
        let received: Vec<u64> = peer.load.owed.range(..=ack.delivered).copied().collect();
        for &id in &received {
            self.changed = true;
            let cancelled = self.change(id, index, |target, _, _| {
                let cancelled = target.stage == Stage::Cancelling;
                target.receive();
                cancelled
            });
            if cancelled == Some(true) {
                self.drop_target(id, index);
            }
        }
        let Some(peer) = self.peers.get(index) else { return false };
        let taken: Vec<u64> = peer.load.untaken.range(..=ack.taken).copied().collect();
        for id in taken {
            self.drop_target(id, index);
        }
        !received.is_empty()
    }

    /// What the end has of messages that it has not whole; whether it is more than before.
    fn note_progress(&mut self, index: usize, ack: &Ack) -> bool {
        let mut arrived = false;
        let mut held = None;
        for report in &ack.progress {
            let (id, nothing) = (report.id, report.upto == 0);
            let resent = if nothing && ack.resume {
                self.change(id, index, |target, _, _| {
                    let again = target.start_over();
                    target.heard = true;
                    again
                })
            } else if nothing {
                held = Some(id);
                self.change(id, index, |target, _, _| target.unsend())
            } else {
                let news = self.change(id, index, |target, chunk, total| target.note(report, chunk, total));
                arrived |= news == Some(true);
                None
            };
            self.stats.chunks_resent += resent.unwrap_or_default();
        }
        if ack.resume {
            // Nothing is there of what it does not name, unless its list was too short to name it.
            let last = ack.progress.iter().map(|report| report.id).max().unwrap_or_default();
            let unnamed = |id: &u64| {
                (*id > last || ack.progress.len() < ACK_LIST) && ack.progress.iter().all(|report| report.id != *id)
            };
            let again: Vec<u64> = self.owed(index).into_iter().filter(unnamed).collect();
            for id in again {
                let resent = self.change(id, index, |target, _, _| target.start_over());
                self.stats.chunks_resent += resent.unwrap_or_default();
            }
        }
        if let Some(peer) = self.peers.get_mut(index) {
            peer.load.held = held.filter(|id| peer.load.owed.contains(id));
        }
        arrived
    }

    /// What left before something that has arrived, and has not arrived itself, goes again.
    fn note_lost(&mut self, index: usize) {
        let mut from = 0;
        loop {
            let Some(load) = self.peers.get(index).map(|peer| &peer.load) else { return };
            let latest = load.latest;
            let Some(&id) = load.owed.range(from..).next() else { return };
            from = id + 1;
            let lost = self.change(id, index, |target, chunk, total| {
                let lost = target.note_lost(latest, chunk, total);
                (lost, target.is_all_there())
            });
            // Messages leave in order: behind one without losses there are none.
            let Some((1.., _) | (_, true)) = lost else { return };
            self.stats.chunks_resent += lost.map_or(0, |(lost, _)| lost);
        }
    }
}
