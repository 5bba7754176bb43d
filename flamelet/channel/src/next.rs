//! Waiting on several channels at once.

use std::future::{Future as _, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use flame_model::EndId;

use crate::channel::{Channel, Received, deadline};
use crate::core::{Core, Inbound};
use crate::error::ChannelError;
use crate::tasks::Shared;

/// What happened on a channel.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message arrived; it is taken by this.
    Message(Received),
    /// An end came.
    Joined(EndId),
    /// An end went, and all that it had sent has been taken.
    Left(EndId),
}

/// Where the next call begins to look, so that a busy channel does not starve the others.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// The next event of any of `channels`, with the position of its channel. Joins come before messages, messages before the
/// leave of their sender; channels take turns.
pub async fn next(channels: &[&Channel], within: Duration) -> Result<(usize, Event), ChannelError> {
    if channels.is_empty() {
        return Err(ChannelError::InvalidArgument("next needs at least one channel".into()));
    }
    let deadline = deadline(within);
    loop {
        let mut signals = Vec::with_capacity(channels.len());
        for channel in channels {
            let shared = channel.shared();
            let mut changed = Box::pin(shared.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            signals.push((changed, Box::pin(shared.stop.cancelled())));
        }
        if let Some(found) = look(channels)? {
            return Ok(found);
        }
        let any = poll_fn(|context| {
            let woken = signals.iter_mut().any(|(changed, stopped)| {
                changed.as_mut().poll(context).is_ready() || stopped.as_mut().poll(context).is_ready()
            });
            if woken { Poll::Ready(()) } else { Poll::Pending }
        });
        if tokio::time::timeout_at(deadline, any).await.is_err() {
            return Err(ChannelError::Timeout);
        }
    }
}

fn look(channels: &[&Channel]) -> Result<Option<(usize, Event)>, ChannelError> {
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let mut open = false;
    for step in 0..channels.len() {
        let at = turn.wrapping_add(step) % channels.len();
        let Some(channel) = channels.get(at) else { continue };
        let shared = channel.shared();
        if shared.stop.is_cancelled() {
            return Err(ChannelError::Stopped);
        }
        match event(shared) {
            Ok(Some(event)) => return Ok(Some((at, event))),
            Ok(None) => open = true,
            Err(ChannelError::Closed) => {}
            Err(error) => return Err(error),
        }
    }
    // With every channel left there is nothing to wait for.
    if open { Ok(None) } else { Err(ChannelError::Closed) }
}

fn event(shared: &Arc<Shared>) -> Result<Option<Event>, ChannelError> {
    while let Some(found) = shared.with(find)? {
        // The acknowledgement that something was taken wants to go.
        shared.work.notify_one();
        let event = match found {
            Found::Joined(end) => Some(Event::Joined(end)),
            Found::Left(end) => Some(Event::Left(end)),
            Found::Message(taken) => Received::new(shared, taken).map(Event::Message),
        };
        if event.is_some() {
            return Ok(event);
        }
    }
    if shared.with(Core::guest_waits) {
        shared.work.notify_one();
    }
    Ok(None)
}

/// An event as the core has it.
enum Found {
    Message((EndId, Inbound)),
    Joined(EndId),
    Left(EndId),
}

fn find(core: &mut Core, now: Duration) -> Result<Option<Found>, ChannelError> {
    core.usable()?;
    if let Some((end, _)) = core.next_presence(true) {
        return Ok(Some(Found::Joined(end)));
    }
    if let Some(taken) = core.take(now, &[]) {
        return Ok(Some(Found::Message(taken)));
    }
    Ok(core.next_presence(false).map(|(end, _)| Found::Left(end)))
}
