//! The channel protocol as a state machine without I/O, clocks or tasks.
//!
//! In go packets, link notices, the time and what the guest asks for; out come packets to publish, messages to take and
//! presence. It never blocks, never reads a clock and never allocates what a peer merely claims. `docs/protocol.md` is its
//! description; `simulation` plays it over a link that loses, doubles and reorders.

mod acked;
mod direct;
#[cfg(test)]
mod fuzz;
mod inbox;
mod outbound;
mod outbox;
mod peers;
mod room;
mod schedule;
#[cfg(test)]
mod simulation;
mod target;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use flame_model::{EndId, Message};

use crate::config::{ChannelConfig, ChannelLimits, Peer, talks_to};
use crate::error::ChannelError;
use crate::frame::{ADDRESSEE, Ack, ChunkHead, Commitment, Frame};
use crate::seal::{Life, Opening, PROOF, Sealer, overhead, short};
use crate::topics::{Route, Topics};

pub(crate) use inbox::Inbound;
pub(crate) use outbound::Outbound;
use peers::PeerState;
use room::Room;
use target::OutMessage;

/// Time since the channel was joined, or any other clock that only goes forward.
pub(crate) type Now = Duration;

/// Most control frames that wait; all of them are repeated, so the oldest may go.
const MAX_CONTROL: usize = 4096;
/// How long after a connection those who are here have to answer.
const ANSWERS: Duration = Duration::from_secs(1);

/// A packet to publish.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// The message itself, on transports within one process.
    pub(crate) beside: Option<Message>,
}

/// What went over the channel so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelStats {
    /// Messages that the guest queued.
    pub messages_out: u64,
    /// Their encoded bytes, each broadcast counted once.
    pub bytes_out: u64,
    /// What those were before: with every tensor as it is and nothing compressed.
    pub raw_bytes_out: u64,
    /// Messages received whole.
    pub messages_in: u64,
    /// Their encoded bytes.
    pub bytes_in: u64,
    /// What those are unpacked.
    pub raw_bytes_in: u64,
    /// Packets published, retransmissions and acknowledgements included.
    pub packets_out: u64,
    /// Bytes published.
    pub packet_bytes_out: u64,
    /// Chunks that were published again.
    pub chunks_resent: u64,
    /// Packets dropped because they did not open: forged, damaged or of a stranger.
    pub dropped_forged: u64,
    /// Packets dropped because they came before, or from a life that has been replaced.
    pub dropped_replayed: u64,
    /// Messages refused because they were over a limit or could not be decoded.
    pub refused: u64,
}

/// Where a message is on its way to its ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReceiptState {
    pub(crate) pending: Vec<EndId>,
    pub(crate) refused: Vec<EndId>,
}

/// One end of one channel.
#[expect(clippy::struct_excessive_bools, reason = "facts that hold or not, each by itself; not phases")]
pub(crate) struct Core {
    pub(super) me: EndId,
    pub(super) role: String,
    pub(super) life: Life,
    pub(super) commitment: Commitment,
    pub(super) limits: ChannelLimits,
    pub(super) topics: Topics,
    pub(super) sealer: Sealer,
    pub(super) my_tag: u64,
    /// The ends that this one talks to, in roster order.
    peers: Vec<PeerState>,
    pub(super) by_id: HashMap<EndId, usize>,
    /// Ids in the roster that are not this end's to talk to.
    pub(super) others: Vec<EndId>,
    /// Ends that send to whom this one sends to, itself included.
    pub(super) senders: usize,
    outbox: BTreeMap<u64, OutMessage>,
    pub(super) outbox_bytes: u64,
    pub(super) refusals: BTreeMap<u64, Vec<EndId>>,
    pub(super) next_id: u64,
    /// Chunks sent so far; orders them.
    pub(super) sent: u64,
    /// Control frames that wait to be published.
    pub(super) control: VecDeque<Outgoing>,
    pub(super) link_up: bool,
    /// When everybody who is here has had the time to answer.
    pub(super) answers_until: Now,
    pub(super) max_payload: usize,
    pub(super) beside: bool,
    last_hello: Now,
    room: Room,
    pub(super) arrivals: u64,
    pub(super) left: bool,
    pub(super) fenced: bool,
    pub(super) changed: bool,
    /// Something came in that the sending side may have to do with.
    stirred: bool,
    asleep_until: Now,
    pub(super) stats: ChannelStats,
}

impl Core {
    /// An end as `config` says. `session` must grow from one to the next life of the same attempt.
    pub(crate) fn new(
        config: &ChannelConfig,
        session: u64,
        commitment: Commitment,
        beside: bool,
    ) -> Result<Self, ChannelError> {
        let me = config.roster.iter().find(|peer| peer.id == config.me).ok_or_else(|| {
            ChannelError::InvalidArgument(format!("channel {}: {} is not in its own roster", config.name, config.me))
        })?;
        let talks_to: HashSet<&EndId> = talks_to(me, &config.roster).map(|peer| &peer.id).collect();
        let mut peers = Vec::new();
        let mut others = Vec::new();
        let mut by_id = HashMap::new();
        let mut tags = HashSet::from([short(&config.me)]);
        let mut pairs = Vec::new();
        let mut own = None;
        if config.keys.pairs.len() != config.roster.len() {
            return Err(ChannelError::InvalidArgument(format!(
                "channel {}: {} keys of pairs for a roster of {}; one each is needed",
                config.name,
                config.keys.pairs.len(),
                config.roster.len()
            )));
        }
        for (peer, key) in config.roster.iter().zip(&config.keys.pairs) {
            if peer.id == config.me {
                own = Some(*key);
                continue;
            }
            if !tags.insert(short(&peer.id)) {
                return Err(ChannelError::InvalidArgument(format!(
                    "channel {}: {} is twice in the roster, or two ids begin with the same 16 digits",
                    config.name, peer.id
                )));
            }
            if talks_to.contains(&peer.id) {
                by_id.insert(peer.id.clone(), peers.len());
                peers.push(PeerState::new(peer.clone(), &config.limits));
                pairs.push((peer.id.clone(), *key));
            } else {
                others.push(peer.id.clone());
            }
        }
        if config.limits.chunk_bytes == 0 || config.limits.window_bytes == 0 {
            return Err(ChannelError::InvalidArgument("chunk_bytes and window_bytes must be above 0".into()));
        }
        // Ends of this one's role, which send to the same receivers.
        let self_loop = config.roster.iter().all(|peer| peer.role == me.role);
        let senders = if self_loop { peers.len() } else { others.len() + 1 };
        let life = Life { incarnation: config.incarnation, session };
        // This end's own key comes last: by it an older attempt of it hears of a newer one.
        pairs.extend(own.map(|key| (config.me.clone(), key)));
        Ok(Self {
            me: config.me.clone(),
            life,
            commitment,
            limits: config.limits.clone(),
            topics: Topics::new(&config.job, &config.name, &config.group),
            sealer: Sealer::new(&config.me, life, config.keys.group, pairs)?,
            role: me.role.clone(),
            my_tag: short(&config.me),
            peers,
            by_id,
            others,
            senders,
            outbox: BTreeMap::new(),
            outbox_bytes: 0,
            refusals: BTreeMap::new(),
            // Ids grow over all attempts, so that a base of an earlier attempt is never mistaken for a later message.
            next_id: (u64::from(config.incarnation) << 32) + 1,
            sent: 0,
            control: VecDeque::new(),
            link_up: false,
            answers_until: Now::ZERO,
            max_payload: config.limits.chunk_bytes + 4096,
            beside,
            last_hello: Now::ZERO,
            room: Room::default(),
            arrivals: 0,
            left: false,
            fenced: false,
            changed: false,
            stirred: false,
            asleep_until: Now::ZERO,
            stats: ChannelStats::default(),
        })
    }

    pub(crate) const fn stats(&self) -> ChannelStats {
        self.stats
    }

    /// Whether anything happened since the last call that a waiter could wait for.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Refuses what a left or replaced end cannot do any more.
    pub(crate) fn usable(&self) -> Result<(), ChannelError> {
        if self.left {
            return Err(ChannelError::Closed);
        }
        if self.fenced {
            return Err(ChannelError::NotPermitted(format!(
                "a newer attempt of {} has joined this channel; this one must end",
                self.me
            )));
        }
        Ok(())
    }

    /// The position of an end that this one may talk to.
    pub(crate) fn index_of(&self, id: &EndId) -> Result<usize, ChannelError> {
        self.by_id.get(id).copied().ok_or_else(|| {
            let why = if *id == self.me {
                "this end itself"
            } else if self.others.contains(id) {
                "an end of the same role as this one"
            } else {
                "not in the roster of this channel and group"
            };
            ChannelError::NotFound(format!("end {id}: {why}"))
        })
    }

    /// The link carries packets of at most `max_payload` bytes from now on, and this end's subscriptions stand.
    pub(crate) fn on_link_up(&mut self, now: Now, max_payload: usize) {
        self.link_up = true;
        self.answers_until = now + ANSWERS;
        self.max_payload = max_payload.max(1024);
        for peer in &mut self.peers {
            // Nobody could be heard while the link was down: silence starts to count now.
            peer.last_heard = now;
        }
        self.resend_everything(now);
        self.rechunk();
        self.say_hello(now);
    }

    /// Nothing comes and goes until the next `on_link_up`.
    pub(crate) fn on_link_down(&mut self) {
        self.link_up = false;
    }

    /// Takes in a packet.
    pub(crate) fn on_packet(&mut self, now: Now, topic: &str, payload: &[u8], beside: Option<Message>) {
        let (from, to_all) = match self.topics.parse(topic) {
            Some(Route::Gone { from }) => {
                self.stirred = true;
                return self.on_will(&from, payload);
            }
            Some(Route::All { from }) => (from, true),
            Some(Route::To { to, from }) if to == self.me => (from, false),
            _ => return,
        };
        if from == self.me {
            if !to_all {
                self.stirred = true;
                self.on_own(topic, payload);
            }
            return;
        }
        let Some(&index) = self.by_id.get(&from) else { return };
        let opened = match self.sealer.open(topic, index, to_all, payload) {
            Opening::Opened(opened) => opened,
            Opening::ForOthers => return,
            Opening::Forged => {
                self.stats.dropped_forged += 1;
                return;
            }
            Opening::OtherVersion(version) => return self.on_other_version(index, version),
        };
        if !self.admit(index, opened.life, opened.counter) {
            self.stats.dropped_replayed += 1;
            return;
        }
        let Some(frame) = Frame::read(opened.frame()) else {
            self.stats.dropped_forged += 1;
            return;
        };
        if let Some(peer) = self.peers.get_mut(index) {
            if peer.said_goodbye && !matches!(frame, Frame::Ack(_)) {
                return;
            }
            peer.last_heard = now;
        }
        self.stirred |= !matches!(frame, Frame::Chunk(_));
        match frame {
            Frame::Hello { commitment } => self.on_hello(now, index, commitment),
            Frame::Here { session, reply, commitment } => self.on_here(now, index, session, reply, commitment),
            Frame::Gone => self.on_gone(index),
            Frame::Chunk(head) => self.on_chunk(now, index, &head, &opened.body, beside),
            Frame::Ack(ack) => self.on_ack(now, index, opened.counter, &ack),
        }
    }

    /// Lets time pass: heartbeats, deaths, retransmissions.
    pub(crate) fn on_tick(&mut self, now: Now) {
        if !self.link_up || self.left || self.fenced {
            return;
        }
        if now >= self.last_hello + self.limits.heartbeat {
            self.say_hello(now);
        }
        if now >= self.answers_until && self.answers_until > Now::ZERO {
            self.answers_until = Now::ZERO;
            self.changed = true;
        }
        self.expire_silent(now);
        self.resend_overdue(now);
        self.grant_next(now);
    }

    /// The sending side sleeps until then, or until something happens; zero: it is awake, and looks again before it sleeps.
    pub(crate) fn sleeps_until(&mut self, at: Now) {
        self.asleep_until = at;
    }

    /// Whether the sending side has to be woken after a packet came in. Most chunks change nothing for it.
    pub(crate) fn wakes_sender(&mut self, now: Now) -> bool {
        std::mem::take(&mut self.stirred)
            || self.has_control()
            || self.next_wake(now).is_some_and(|wake| wake < self.asleep_until)
    }

    /// When `on_tick` and `poll_transmit` have something to do next, unless something else happens first.
    pub(crate) fn next_wake(&self, now: Now) -> Option<Now> {
        if !self.link_up || self.left || self.fenced {
            return None;
        }
        let beat = self.last_hello + self.limits.heartbeat;
        let wakes = self.peers.iter().filter_map(|peer| self.peer_wake(now, peer));
        let answers = Some(self.answers_until).filter(|at| *at > Now::ZERO);
        wakes.chain([beat]).chain(answers).chain(self.line_wake(now)).min()
    }

    /// The next packet to publish, if there is one.
    pub(crate) fn poll_transmit(&mut self, now: Now) -> Option<Outgoing> {
        if !self.link_up {
            return None;
        }
        let outgoing = self.control.pop_front().or_else(|| {
            if self.left || self.fenced { None } else { self.next_ack(now).or_else(|| self.next_chunk(now)) }
        })?;
        self.stats.packets_out += 1;
        self.stats.packet_bytes_out += u64::try_from(outgoing.payload.len()).unwrap_or_default();
        Some(outgoing)
    }

    /// Says goodbye, after telling everybody here what was received of them: they wait for no more than that. Nothing
    /// leaves after it.
    pub(crate) fn say_goodbye(&mut self, now: Now) {
        if self.left {
            return;
        }
        self.all_acks_due(now);
        let acks: Vec<_> = std::iter::from_fn(|| self.next_ack(now)).collect();
        self.left = true;
        self.changed = true;
        self.control.clear();
        self.control.extend(acks);
        self.say_to_all(&Frame::Gone);
    }

    /// Whether a goodbye still waits to be published.
    pub(crate) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    pub(crate) const fn is_link_up(&self) -> bool {
        self.link_up
    }

    fn say_hello(&mut self, now: Now) {
        self.last_hello = now;
        let hello = Frame::Hello { commitment: self.commitment };
        self.say_to_all(&hello);
        // An older attempt of this end hears of it there.
        let own = self.topics.to(&self.me, &self.me);
        let sealed = self.sealer.seal_to(&own, self.peers.len(), |out| hello.write(out), 0, |_| {});
        self.push_control(own, sealed);
    }

    /// Queues a control frame for everybody that this end talks to: in one packet, unless their proofs need more.
    fn say_to_all(&mut self, frame: &Frame) {
        let topic = self.topics.all(&self.role, &self.me);
        let everybody: Vec<usize> = (0..self.peers.len()).collect();
        let most = (self.max_payload.saturating_sub(overhead(0) + 64) / PROOF).clamp(1, usize::from(u16::MAX));
        for some in everybody.chunks(most) {
            let sealed = self.sealer.seal_all(&topic, some, |out| frame.write(out), 0, |_| {});
            self.push_control(topic.clone(), sealed);
        }
    }

    /// Queues a control frame for one end.
    pub(super) fn say_to(&mut self, index: usize, frame: &Frame) {
        if let Some(sealed) = self.seal_to(index, frame) {
            self.push_control(sealed.0, Ok(sealed.1));
        }
    }

    fn push_control(&mut self, topic: String, sealed: Result<Bytes, ChannelError>) {
        match sealed {
            Ok(payload) => {
                if self.control.len() >= MAX_CONTROL {
                    self.control.pop_front();
                }
                self.control.push_back(Outgoing { topic, payload, beside: None });
            }
            Err(error) => tracing::error!(%error, "a control frame was not sealed"),
        }
    }

    fn seal_to(&mut self, index: usize, frame: &Frame) -> Option<(String, Bytes)> {
        let topic = self.topics.to(&self.peers.get(index)?.peer.id, &self.me);
        let sealed = self.sealer.seal_to(&topic, index, |out| frame.write(out), 0, |_| {});
        let sealed = sealed.inspect_err(|error| tracing::error!(%error, "a control frame was not sealed")).ok()?;
        Some((topic, sealed))
    }

    pub(super) fn seal_ack(&mut self, index: usize, ack: Ack) -> Option<Outgoing> {
        let (topic, payload) = self.seal_to(index, &Frame::Ack(ack))?;
        Some(Outgoing { topic, payload, beside: None })
    }

    /// Ends that one chunk may address: their table may take a quarter of a packet.
    pub(super) fn most_addressees(&self) -> usize {
        let table = self.max_payload / 4;
        (table / (PROOF + ADDRESSEE)).clamp(1, usize::from(u16::MAX))
    }

    /// Bytes of a message that fit a packet for `addressees` ends.
    pub(super) fn chunk_limit(&self, addressees: usize) -> usize {
        let addressees = addressees.min(self.most_addressees());
        let overhead = overhead(addressees) + ChunkHead::size(addressees);
        self.limits.chunk_bytes.min(self.max_payload.saturating_sub(overhead)).max(64)
    }

    /// A packet that claims to be this end's own: an echo, or a newer life of it.
    fn on_own(&mut self, topic: &str, payload: &[u8]) {
        match self.sealer.open(topic, self.peers.len(), false, payload) {
            Opening::Opened(opened) if opened.life > self.life && !self.fenced => {
                tracing::warn!(end = %self.me, "a newer attempt of this end has joined; this one stops");
                self.fenced = true;
                self.changed = true;
            }
            Opening::Forged => self.stats.dropped_forged += 1,
            _ => {}
        }
    }

    /// All peers, with whether each is here.
    pub(crate) fn presence(&self) -> impl Iterator<Item = (&Peer, bool)> {
        self.peers.iter().map(|state| (&state.peer, state.present))
    }
}
