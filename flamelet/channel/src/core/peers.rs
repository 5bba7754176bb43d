//! Presence: who is here, in which life.
//!
//! An end is here once it has proved that it lives now, by naming this end's session in a frame of its own; a replayed
//! `Hello` of a dead end brings nobody back. It is here until it says goodbye, its will comes or it falls silent.

use flame_model::EndId;

use super::inbox::Inbox;
use super::schedule::LAG_PATIENCE;
use super::target::Load;
use super::{Core, Now};
use crate::config::{ChannelLimits, Peer};
use crate::frame::{Commitment, Frame, commit};
use crate::replay::ReplayWindow;
use crate::seal::{Life, VERSION, short};

/// What this end knows of another.
#[expect(clippy::struct_excessive_bools, reason = "facts that hold or not, each by itself; not phases")]
pub(super) struct PeerState {
    pub(super) peer: Peer,
    pub(super) tag: u64,
    /// The newest life heard of.
    pub(super) life: Option<Life>,
    pub(super) replay: ReplayWindow,
    /// It has proved that it lives now.
    pub(super) present: bool,
    /// This life was here and went.
    pub(super) departed: bool,
    /// This life said goodbye.
    pub(super) said_goodbye: bool,
    /// A packet of another version came from it.
    pub(super) spoke_otherwise: bool,
    pub(super) commitment: Option<Commitment>,
    /// The life that `next` last told the guest of.
    pub(super) reported: Option<Life>,
    /// It was here once: a wait on it may end with `closed`.
    pub(super) was_present: bool,
    pub(super) last_heard: Now,
    pub(super) last_asked: Option<Now>,
    pub(super) inbox: Inbox,
    /// Bytes that it lets be on their way.
    pub(super) window: u64,
    pub(super) load: Load,
    /// Counter of the newest acknowledgement of this life.
    pub(super) newest_ack: u64,
    pub(super) last_progress: Now,
    pub(super) resend_after: Now,
}

/// How long to wait between two questions whether an end lives.
const ASK_AGAIN: Now = Now::from_millis(500);

impl PeerState {
    pub(super) fn new(peer: Peer, limits: &ChannelLimits) -> Self {
        Self {
            tag: short(&peer.id),
            peer,
            life: None,
            replay: ReplayWindow::default(),
            present: false,
            departed: false,
            said_goodbye: false,
            spoke_otherwise: false,
            commitment: None,
            reported: None,
            was_present: false,
            last_heard: Now::ZERO,
            last_asked: None,
            inbox: Inbox::default(),
            window: first_window(limits),
            load: Load::default(),
            newest_ack: 0,
            last_progress: Now::ZERO,
            resend_after: limits.resend_after,
        }
    }

    /// The session to address it by, while it is here.
    pub(super) fn session(&self) -> Option<u64> {
        self.life.filter(|_| self.present).map(|life| life.session)
    }
}

/// What may be on its way before the receiver has said anything.
fn first_window(limits: &ChannelLimits) -> u64 {
    let chunk = u64::try_from(limits.chunk_bytes).unwrap_or(u64::MAX);
    limits.window_bytes.min(chunk.saturating_mul(4))
}

impl Core {
    /// Whether a frame of `life` with `counter` is new and of the newest life; a newer life replaces the known one.
    pub(super) fn admit(&mut self, index: usize, life: Life, counter: u64) -> bool {
        let Some(peer) = self.peers.get_mut(index) else { return false };
        match peer.life {
            Some(known) if life < known => return false,
            Some(known) if life == known => {}
            _ => self.begin_life(index, life),
        }
        let Some(peer) = self.peers.get_mut(index) else { return false };
        peer.replay.admit(counter)
    }

    fn begin_life(&mut self, index: usize, life: Life) {
        self.forget_partials(index);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.life = Some(life);
            peer.replay = ReplayWindow::default();
            peer.present = false;
            // A wait on an end that is just coming back goes on.
            peer.was_present = false;
            peer.departed = false;
            peer.said_goodbye = false;
            peer.commitment = None;
            peer.last_asked = None;
            peer.inbox.begin_life(life);
            peer.window = first_window(&self.limits);
            peer.newest_ack = 0;
            peer.resend_after = self.limits.resend_after;
        }
        self.restart_targets(index);
        self.changed = true;
    }

    pub(super) fn on_hello(&mut self, now: Now, index: usize, commitment: Commitment) {
        if let Some(peer) = self.peers.get_mut(index) {
            peer.commitment = Some(commitment);
            if !peer.present {
                self.ask(now, index);
            }
        }
    }

    /// Asks an end of a life that is not proven to prove itself, and proves this one to it.
    pub(super) fn ask(&mut self, now: Now, index: usize) {
        self.ask_every(now, index, ASK_AGAIN);
    }

    pub(super) fn ask_every(&mut self, now: Now, index: usize, pause: Now) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.last_asked.is_some_and(|asked| now < asked + pause) {
            return;
        }
        peer.last_asked = Some(now);
        self.answer(index, true);
    }

    fn answer(&mut self, index: usize, reply: bool) {
        let Some(peer) = self.peers.get(index) else { return };
        let Some(life) = peer.life else { return };
        let frame = Frame::Here { session: life.session, reply, commitment: self.commitment };
        self.say_to(index, &frame);
    }

    pub(super) fn on_here(&mut self, now: Now, index: usize, session: u64, reply: bool, commitment: Commitment) {
        if session != self.life.session {
            // Meant for an earlier life of this end; the other side will hear of the new one.
            return self.ask(now, index);
        }
        if let Some(peer) = self.peers.get_mut(index) {
            peer.commitment = Some(commitment);
        }
        self.prove(now, index);
        if reply {
            self.answer(index, false);
            self.report(now, index);
        }
    }

    /// The end has named this end's session: it lives now.
    pub(super) fn prove(&mut self, now: Now, index: usize) {
        if let Some(peer) = self.peers.get_mut(index)
            && !peer.present
        {
            peer.present = true;
            peer.departed = false;
            peer.was_present = true;
            peer.last_heard = now;
            peer.last_progress = now;
            self.changed = true;
        }
    }

    pub(super) fn on_gone(&mut self, index: usize) {
        if let Some(peer) = self.peers.get_mut(index) {
            peer.said_goodbye = true;
        }
        self.depart(index);
    }

    /// Counts a packet of another version, and says once which of two releases are too far apart. Anybody can make such a
    /// packet, so nothing else follows from it.
    pub(super) fn on_other_version(&mut self, index: usize, theirs: u8) {
        self.stats.dropped_forged += 1;
        let Some(peer) = self.peers.get_mut(index) else { return };
        if !std::mem::replace(&mut peer.spoke_otherwise, true) {
            tracing::warn!(
                end = %peer.peer.id,
                "its packets say version {theirs} of the channel protocol and this flamelet speaks version {VERSION}: \
                 run the same release of Flame at both ends"
            );
        }
    }

    pub(super) fn on_will(&mut self, from: &EndId, token: &[u8]) {
        let Some(&index) = self.by_id.get(from) else { return };
        if self.peers.get(index).is_some_and(|peer| peer.commitment == Some(commit(token))) {
            self.depart(index);
        } else {
            self.stats.dropped_forged += 1;
        }
    }

    pub(super) fn depart(&mut self, index: usize) {
        if let Some(peer) = self.peers.get_mut(index)
            && peer.present
        {
            peer.present = false;
            peer.departed = true;
            peer.last_asked = None;
            self.changed = true;
            self.unsend(index);
        }
    }

    pub(super) fn expire_silent(&mut self, now: Now) {
        let dead_after = self.limits.dead_after;
        let dead = |peer: &PeerState| peer.present && now >= peer.last_heard + dead_after;
        let silent: Vec<usize> =
            self.peers.iter().enumerate().filter(|(_, peer)| dead(peer)).map(|(index, _)| index).collect();
        for index in silent {
            self.depart(index);
        }
    }

    /// Whether an end is here, or may turn out to be: it was heard of and has not proved itself yet, or those who are
    /// here have not had the time to answer.
    pub(super) fn may_be_here(&self, now: Now, index: usize) -> bool {
        self.peers.get(index).is_some_and(|peer| match peer.life {
            _ if peer.present => true,
            None => !self.link_up || now < self.answers_until,
            Some(_) => !peer.departed && !peer.said_goodbye && now < peer.last_heard + self.limits.dead_after,
        })
    }

    /// Ends that are here, in roster order.
    pub(crate) fn ends(&self) -> Vec<EndId> {
        self.presence().filter(|(_, here)| *here).map(|(peer, _)| peer.id.clone()).collect()
    }

    /// Whether this end was here, is not any more and has nothing queued: a wait on it cannot succeed.
    pub(crate) fn is_gone(&self, index: usize) -> bool {
        self.peers.get(index).is_some_and(|peer| peer.was_present && !peer.present && peer.inbox.queue.is_empty())
    }

    /// The next change of presence that the guest was not told of: `true` for a join.
    pub(crate) fn next_presence(&mut self, joins: bool) -> Option<(EndId, bool)> {
        for peer in &mut self.peers {
            let now = peer.life.filter(|_| peer.present);
            if now == peer.reported {
                continue;
            }
            let join = peer.reported.is_none();
            if join && joins {
                peer.reported = now;
                return Some((peer.peer.id.clone(), true));
            }
            // What it had sent comes first.
            if !join && !joins && peer.inbox.queue.is_empty() {
                peer.reported = None;
                return Some((peer.peer.id.clone(), false));
            }
        }
        None
    }

    /// When something is due for this peer.
    pub(super) fn peer_wake(&self, now: Now, peer: &PeerState) -> Option<Now> {
        if !peer.present {
            return None;
        }
        let death = peer.last_heard + self.limits.dead_after;
        let ack = peer.inbox.ack_due;
        let load = &peer.load;
        let resend = (!load.owed.is_empty()).then_some(peer.last_progress + peer.resend_after);
        // From then on it does not hold up the others of a broadcast any more.
        let lag = Some(peer.last_progress + LAG_PATIENCE).filter(|&at| !load.open.is_empty() && now < at);
        [Some(death), ack, resend, lag].into_iter().flatten().min()
    }
}
