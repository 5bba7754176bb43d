//! The handle that the host gives to a guest: every wait has a deadline, and a stop ends every wait at once.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flame_model::{EndId, Message};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ChannelConfig, Peer, talks_to};
use crate::core::{ChannelStats, Core, Inbound, Outbound};
use crate::encoding::ChannelEncoding;
use crate::error::ChannelError;
use crate::receipt::Receipt;
use crate::tasks::{self, Shared};
use crate::transport::Transport;

/// How long a broadcast waits for room before it gives up earlier rounds of slow ends.
const ROUND_PATIENCE: Duration = Duration::from_secs(1);

/// A message that arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The sender's number of it; grows with every message of an end, over all its attempts.
    pub id: u64,
    /// Who sent it; the hosts' word.
    pub sender: EndId,
    /// Its content; the sending guest's word.
    pub message: Message,
    /// Bytes as it travelled.
    pub wire_bytes: u64,
    /// Bytes unpacked: what it takes in memory.
    pub raw_bytes: u64,
    /// Keep it for as long as anything of the message's storage is kept.
    pub lease: Lease,
}

/// The room that a large message takes of its channel, also after it was taken: with the last clone of it the next
/// message may come in its place.
#[derive(Debug, Clone)]
pub struct Lease {
    /// For its drop; small messages take none.
    _lent: Option<Arc<Lent>>,
}

struct Lent {
    shared: Weak<Shared>,
    bytes: u64,
}

impl Lease {
    fn new(shared: &Arc<Shared>, bytes: u64) -> Self {
        let lent = || Arc::new(Lent { shared: Arc::downgrade(shared), bytes });
        Self { _lent: (bytes > 0).then(lent) }
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.with_work(|core, now| core.give_back(now, self.bytes));
        }
    }
}

impl Received {
    /// Unpacks what was taken from the queue, outside the core's lock. `None` when it cannot be: it is dropped and counted.
    pub(crate) fn new(shared: &Arc<Shared>, (sender, inbound): (EndId, Inbound)) -> Option<Self> {
        let Inbound { id, arrived, wire_bytes, raw_bytes, lent, .. } = inbound;
        let lease = Lease::new(shared, lent);
        match arrived.unpack() {
            Ok(message) => Some(Self { id, sender, message, wire_bytes, raw_bytes, lease }),
            Err(error) => {
                shared.with(|core, _| core.note_broken(&sender, id, &error));
                None
            }
        }
    }
}

/// One end of one channel in one group. Cloning makes another handle of the same end; when the last one is dropped, the
/// end says goodbye (without waiting for what is on its way: that is [`Channel::leave`]).
///
/// Where the channel's encoding narrows or compresses, `send` and `recv` do that on the caller's thread, and take time in
/// proportion to the message; no other end and no acknowledgement waits for it.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    name: String,
    group: String,
    me: Peer,
    roster: Vec<Peer>,
    encoding: ChannelEncoding,
    send_wait: Duration,
    leave_wait: Duration,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.with_work(super::core::Core::say_goodbye);
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("name", &self.inner.name)
            .field("group", &self.inner.group)
            .field("me", &self.inner.me.id)
            .finish_non_exhaustive()
    }
}

/// Ends the notice that a guest waits for these very ends.
struct Wanting<'a>(&'a Shared, u64);

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.with(|core, _| core.unwant(self.1));
    }
}

impl Channel {
    /// Takes part. Returns as soon as the transport listens; nobody need be there.
    ///
    /// Fails with `InvalidArgument` when `me` is not in the roster or an id is there twice, and with the transport's
    /// error when it cannot listen.
    pub async fn join(mut config: ChannelConfig, transport: Arc<dyn Transport>) -> Result<Self, ChannelError> {
        let me = config.roster.iter().find(|peer| peer.id == config.me).cloned().ok_or_else(|| {
            ChannelError::InvalidArgument(format!("channel {}: {} is not in its own roster", config.name, config.me))
        })?;
        config.encoding.check()?;
        config.limits.window_bytes = config.limits.window_bytes.min(transport.window());
        let lane = transport.open(filters(&config, &me)).await?;
        let core = Core::new(&config, session(), lane.will, transport.shares_memory());
        let core = match core {
            Ok(core) => core,
            Err(error) => {
                transport.close(lane.id).await;
                return Err(error);
            }
        };
        let shared = Shared::new(core);
        if let Some(max_payload) = lane.up {
            shared.with(|core, now| core.on_link_up(now, max_payload));
        }
        // Both end by themselves once the last handle is gone: the sending task after the goodbye, the other with it.
        tokio::spawn(tasks::receive(Arc::clone(&shared), lane.incoming));
        tokio::spawn(tasks::send(Arc::clone(&shared), Arc::clone(&transport), lane.id));
        let inner = Inner {
            shared,
            transport,
            name: config.name,
            group: config.group,
            me,
            roster: config.roster,
            encoding: config.encoding,
            send_wait: config.limits.send_wait,
            leave_wait: config.limits.leave_wait,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The channel's name in the schema.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its group.
    pub fn group(&self) -> &str {
        &self.inner.group
    }

    /// This end.
    pub fn me(&self) -> &Peer {
        &self.inner.me
    }

    /// Everybody expected in the group, this end included, in the order given.
    pub fn roster(&self) -> &[Peer] {
        &self.inner.roster
    }

    /// The roster, with who is here. This end is; ends of its own role (unless all have it) are not watched and count
    /// as away.
    pub fn roster_presence(&self) -> Vec<(Peer, bool)> {
        let here = self.ends();
        let is_here = |peer: &Peer| peer.id == self.inner.me.id || here.contains(&peer.id);
        self.inner.roster.iter().map(|peer| (peer.clone(), is_here(peer))).collect()
    }

    /// Ends of the other role (on a self-loop: the other ends) that are here, in roster order.
    pub fn ends(&self) -> Vec<EndId> {
        self.inner.shared.with(|core, _| core.ends())
    }

    /// Waits until at least `minimum` ends are here; says which.
    pub async fn await_ends(&self, minimum: u32, within: Duration) -> Result<Vec<EndId>, ChannelError> {
        self.wait_for(within, |core, _| {
            let ends = core.ends();
            Ok(u32::try_from(ends.len()).is_ok_and(|here| here >= minimum).then_some(ends))
        })
        .await
    }

    /// Queues a message for the ends `to`, here or not. Waits while the outbox is full, at most `send_wait`.
    ///
    /// An end that is unknown or of this end's own role is `NotFound`; no end at all is `InvalidArgument`, and so are
    /// values that the channel's encoding cannot carry.
    pub async fn send(&self, to: &[EndId], message: Message) -> Result<Receipt, ChannelError> {
        if to.is_empty() {
            return Err(ChannelError::InvalidArgument("send needs at least one end; broadcast addresses all".into()));
        }
        self.queue(Some(to), &self.encode(&message)?, self.inner.send_wait).await
    }

    /// Queues a message for all ends, those that come later in the round included.
    ///
    /// A broadcast of a later round makes earlier ones void for ends that are away, and, when much is queued, for ends that do
    /// not come on; one that has found no room for a second gives up earlier rounds for all but those in the middle of
    /// receiving them. So one slow end never holds up the rounds of the others.
    pub async fn broadcast(&self, message: Message) -> Result<Receipt, ChannelError> {
        let (round, wait) = (message.round, self.inner.send_wait);
        let message = self.encode(&message)?;
        let patience = wait.min(ROUND_PATIENCE);
        match self.queue(None, &message, patience).await {
            Err(ChannelError::Timeout) => {}
            queued => return queued,
        }
        self.inner.shared.with_work(|core, _| core.give_up_rounds_before(round));
        self.queue(None, &message, wait.saturating_sub(patience)).await
    }

    fn encode(&self, message: &Message) -> Result<Outbound, ChannelError> {
        let inner = &self.inner;
        Outbound::new(message, inner.encoding.of(message.form), inner.transport.shares_memory())
    }

    async fn queue(&self, to: Option<&[EndId]>, message: &Outbound, wait: Duration) -> Result<Receipt, ChannelError> {
        let attempt = |core: &mut Core, now| {
            let targets = match to {
                None => core.everybody(),
                Some(to) => {
                    let mut targets = to.iter().map(|id| core.index_of(id)).collect::<Result<Vec<_>, _>>()?;
                    targets.sort_unstable();
                    targets.dedup();
                    targets
                }
            };
            core.queue(now, &targets, message, to.is_none())
        };
        let id = self.wait_for(wait, attempt).await?;
        self.inner.shared.work.notify_one();
        Ok(Receipt::new(id, Arc::clone(&self.inner.shared)))
    }

    /// The next message of `source`; `Closed` if it left and nothing of it is queued.
    pub async fn recv(&self, source: &EndId, within: Duration) -> Result<Received, ChannelError> {
        let index = self.inner.shared.with(|core, _| core.index_of(source))?;
        self.recv_of(&[index], within).await
    }

    /// The next message to arrive of any of `sources` (none named: of any end). `Closed` once all that were named have
    /// left.
    pub async fn recv_fifo(&self, sources: &[EndId], within: Duration) -> Result<Received, ChannelError> {
        let indices = self
            .inner
            .shared
            .with(|core, _| sources.iter().map(|id| core.index_of(id)).collect::<Result<Vec<_>, _>>())?;
        self.recv_of(&indices, within).await
    }

    async fn recv_of(&self, indices: &[usize], within: Duration) -> Result<Received, ChannelError> {
        let take = |core: &mut Core, now| {
            core.usable()?;
            if let Some(found) = core.take(now, indices) {
                return Ok(Some(found));
            }
            let gone = !indices.is_empty() && indices.iter().all(|&index| core.is_gone(index));
            if gone { Err(ChannelError::Closed) } else { Ok(None) }
        };
        let wait = self.inner.shared.with_work(|core, now| core.want(now, indices));
        let _wanting = Wanting(&self.inner.shared, wait);
        let deadline = deadline(within);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let taken = self.wait_for(left, take).await;
            // The acknowledgement that it was taken wants to go.
            self.inner.shared.work.notify_one();
            if let Some(received) = Received::new(&self.inner.shared, taken?) {
                return Ok(received);
            }
        }
    }

    /// The kind of the next message of `source`, without taking it.
    pub fn peek(&self, source: &EndId) -> Result<Option<String>, ChannelError> {
        let mut granted = false;
        let kind = self.inner.shared.with(|core, now| {
            core.usable()?;
            let index = core.index_of(source)?;
            match core.peek(index) {
                None if core.is_gone(index) => Err(ChannelError::Closed),
                None => {
                    granted = core.guest_waits(now);
                    Ok(None)
                }
                kind => Ok(kind),
            }
        });
        if granted {
            self.inner.shared.work.notify_one();
        }
        kind
    }

    /// Waits, at most `leave_wait`, until the ends that are here have what was sent to them, then says goodbye. Calls on
    /// any handle return `Closed` from then on. Also after a stop; then it does not wait for anybody.
    pub async fn leave(&self) -> Result<(), ChannelError> {
        let drained = self.wait_for(self.inner.leave_wait, |core, now| Ok(core.is_drained(now).then_some(()))).await;
        if drained == Err(ChannelError::Timeout) {
            tracing::warn!(channel = %self.inner.name, "left although ends here do not have all messages");
        }
        self.inner.shared.with_work(super::core::Core::say_goodbye);
        self.inner.shared.done.cancelled().await;
        let ChannelStats { bytes_out, raw_bytes_out, bytes_in, raw_bytes_in, .. } = self.stats();
        let (channel, group) = (&self.inner.name, &self.inner.group);
        tracing::info!(%channel, %group, bytes_out, raw_bytes_out, bytes_in, raw_bytes_in, "left the channel");
        self.inner.transport.flush().await
    }

    /// Wakes every waiter at once with `Stopped`, now and from now on.
    pub fn stop(&self) {
        self.inner.shared.stop.cancel();
    }

    /// Cancelling it is [`Channel::stop`].
    pub fn stop_token(&self) -> CancellationToken {
        self.inner.shared.stop.clone()
    }

    /// What went over the channel so far.
    pub fn stats(&self) -> ChannelStats {
        self.inner.shared.with(|core, _| core.stats())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    async fn wait_for<T>(
        &self,
        within: Duration,
        attempt: impl FnMut(&mut Core, Duration) -> Result<Option<T>, ChannelError>,
    ) -> Result<T, ChannelError> {
        wait_for(&self.inner.shared, within, attempt).await
    }
}

/// Tries `attempt` now and whenever something has changed, until it gives something or the deadline passes.
pub(crate) async fn wait_for<T>(
    shared: &Shared,
    within: Duration,
    mut attempt: impl FnMut(&mut Core, Duration) -> Result<Option<T>, ChannelError>,
) -> Result<T, ChannelError> {
    let deadline = deadline(within);
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        if shared.stop.is_cancelled() {
            return Err(ChannelError::Stopped);
        }
        let (found, granted) = shared.with(|core, now| {
            core.usable()?;
            let found = attempt(core, now)?;
            let granted = found.is_none() && core.guest_waits(now);
            Ok::<_, ChannelError>((found, granted))
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
        if granted {
            shared.work.notify_one();
        }
        tokio::select! {
            () = changed => {}
            () = shared.stop.cancelled() => return Err(ChannelError::Stopped),
            () = tokio::time::sleep_until(deadline) => return Err(ChannelError::Timeout),
        }
    }
}

/// What to subscribe to: broadcasts of the roles that `me` listens to, what is for it alone, and wills.
fn filters(config: &ChannelConfig, me: &Peer) -> Vec<String> {
    let topics = crate::topics::Topics::new(&config.job, &config.name, &config.group);
    let roles: std::collections::BTreeSet<&str> = talks_to(me, &config.roster).map(|peer| peer.role.as_str()).collect();
    topics.filters(&me.id, roles)
}

/// When a wait ends; an absurdly long one ends in a year.
pub(crate) fn deadline(within: Duration) -> Instant {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    Instant::now() + within.min(YEAR)
}

/// Grows from one life of an end to the next, also over restarts.
fn session() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
