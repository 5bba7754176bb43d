//! What a channel is told when it is joined. Read here once; everything below gets typed values.

use std::time::Duration;

use flame_model::EndId;

use crate::encoding::ChannelEncoding;
use crate::keys::ChannelKeys;

/// A worker that the job expects in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its identity.
    pub id: EndId,
    /// Its role in the schema.
    pub role: String,
    /// Its index within the role and group.
    pub index: u32,
}

/// The ends of `roster` that `me` talks to: those of other roles, or, where all have one role (a self-loop), the others.
pub(crate) fn talks_to<'a>(me: &'a Peer, roster: &'a [Peer]) -> impl Iterator<Item = &'a Peer> {
    let self_loop = roster.iter().all(|peer| peer.role == me.role);
    roster.iter().filter(move |peer| peer.id != me.id && (self_loop || peer.role != me.role))
}

/// Everything that one end of one channel needs to know.
#[derive(Clone)]
pub struct ChannelConfig {
    /// Job id; part of every topic.
    pub job: String,
    /// Channel name as in the schema.
    pub name: String,
    /// Group of the channel; groups never see each other.
    pub group: String,
    /// This end.
    pub me: EndId,
    /// The task's attempt; a higher one replaces a lower one of the same end.
    pub incarnation: u32,
    /// Everybody expected in the group, this end included. The order is the one of [`crate::Channel::ends`].
    pub roster: Vec<Peer>,
    /// Seal every frame and prove its sender; handed out by the control plane.
    pub keys: ChannelKeys,
    /// How messages travel. Each end decides for what it sends; any end reads everything.
    pub encoding: ChannelEncoding,
    /// Bounds and times.
    pub limits: ChannelLimits,
}

impl std::fmt::Debug for ChannelConfig {
    /// Leaves the key out: it must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelConfig")
            .field("job", &self.job)
            .field("name", &self.name)
            .field("group", &self.group)
            .field("me", &self.me)
            .field("incarnation", &self.incarnation)
            .field("roster", &self.roster.len())
            .field("encoding", &self.encoding)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Bounds and times of one channel end.
#[derive(Debug, Clone)]
pub struct ChannelLimits {
    /// Largest message that is sent or accepted, both as it travels and unpacked. Default 1 GiB and 16 MiB: models of 1 GiB
    /// with the largest header.
    pub max_message_bytes: u64,
    /// Messages in the outbox, and messages of all senders waiting for the guest. Default 256 each.
    pub max_queued_messages: usize,
    /// Bytes in the outbox; an empty one takes any message. Default 2 GiB.
    pub max_queued_bytes: u64,
    /// Bytes of messages that are received or wait for the guest, and of large ones that it holds. Default 128 MiB: a model
    /// of 100 MB and what of the next is on its way. A queue without a large message takes any up to `max_message_bytes`,
    /// as soon as the guest holds none or waits for more.
    pub max_inbox_bytes: u64,
    /// How often an end with nothing else to say says that it lives. Default 3 s.
    pub heartbeat: Duration,
    /// An end that was silent for so long has left. Default 10 s.
    pub dead_after: Duration,
    /// Bytes of a message in one packet; never above what the broker announces. Default 256 KiB.
    pub chunk_bytes: usize,
    /// Bytes on their way to one receiver and not yet acknowledged; never above what the transport keeps for one end.
    /// Default 16 MiB (64 chunks: far below the 1,000 messages that mosquitto queues for a client before it drops).
    pub window_bytes: u64,
    /// First wait for an acknowledgement before sending again; doubles up to eight times it. Default 2 s.
    pub resend_after: Duration,
    /// How long `send` waits for room in the outbox before it gives up with `Timeout`. Default 120 s.
    pub send_wait: Duration,
    /// How long `leave` waits until present ends have everything. Default 10 s.
    pub leave_wait: Duration,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self {
            max_message_bytes: (1 << 30) + (16 << 20),
            max_queued_messages: 256,
            max_queued_bytes: 2 << 30,
            max_inbox_bytes: 128 << 20,
            heartbeat: Duration::from_secs(3),
            dead_after: Duration::from_secs(10),
            chunk_bytes: 256 * 1024,
            window_bytes: 16 << 20,
            resend_after: Duration::from_secs(2),
            send_wait: Duration::from_mins(2),
            leave_wait: Duration::from_secs(10),
        }
    }
}
