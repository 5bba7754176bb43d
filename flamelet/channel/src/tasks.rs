//! The two tasks behind a channel: one takes in packets, the other sends. Neither waits for the other, so that a full
//! sending queue never stops the receiving side, on which the acknowledgements come that empty it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, Now};
use crate::transport::{Incoming, Packet, Transport};

/// How long a goodbye may take when nobody waits for it.
const GOODBYE: Duration = Duration::from_secs(2);

/// What handles and tasks of one channel share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    started: Instant,
    /// Something waits to be sent or a time has changed.
    pub(crate) work: Notify,
    /// Something happened that a guest's call may wait for.
    pub(crate) changed: Notify,
    /// The job is being stopped: every waiter returns at once.
    pub(crate) stop: CancellationToken,
    /// The sending task has ended, and the goodbye with it.
    pub(crate) done: CancellationToken,
}

impl Shared {
    pub(crate) fn new(core: Core) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(core),
            started: Instant::now(),
            work: Notify::new(),
            changed: Notify::new(),
            stop: CancellationToken::new(),
            done: CancellationToken::new(),
        })
    }

    pub(crate) fn now(&self) -> Now {
        self.started.elapsed()
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the core and wakes whom it concerns.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Core, Now) -> T) -> T {
        let now = self.now();
        let (result, changed) = {
            let mut core = self.core();
            let result = act(&mut core, now);
            (result, core.take_changed())
        };
        if changed {
            self.changed.notify_waiters();
        }
        result
    }

    /// `with`, and then the sending task looks what there is to do.
    pub(crate) fn with_work<T>(&self, act: impl FnOnce(&mut Core, Now) -> T) -> T {
        let result = self.with(act);
        self.work.notify_one();
        result
    }
}

/// Takes in what the lane brings until the channel is done or the transport gone.
pub(crate) async fn receive(shared: Arc<Shared>, mut incoming: mpsc::Receiver<Incoming>) {
    loop {
        let next = tokio::select! {
            next = incoming.recv() => next,
            () = shared.done.cancelled() => return,
        };
        match next {
            Some(Incoming::Packet(packet)) => {
                let wakes = shared.with(|core, now| {
                    core.on_packet(now, &packet.topic, &packet.payload, packet.beside);
                    core.wakes_sender(now)
                });
                if wakes {
                    shared.work.notify_one();
                }
            }
            Some(Incoming::LinkUp { max_payload }) => {
                shared.with_work(|core, now| core.on_link_up(now, max_payload));
            }
            Some(Incoming::LinkDown) => shared.with_work(|core, _| core.on_link_down()),
            Some(Incoming::Reached(end)) => shared.with_work(|core, now| core.on_reached(now, &end)),
            Some(Incoming::Lost(end)) => shared.with_work(|core, _| core.on_lost(&end)),
            None => {
                shared.with_work(|core, _| core.on_link_down());
                return;
            }
        }
    }
}

/// Sends what the core has to send, until it has said goodbye.
pub(crate) async fn send(shared: Arc<Shared>, transport: Arc<dyn Transport>, lane: u64) {
    let mut deadline = None;
    loop {
        let (packet, wake, leaving) = shared.with(|core, now| {
            core.on_tick(now);
            let packet = core.poll_transmit(now);
            let wake = if packet.is_none() { core.next_wake(now) } else { None };
            core.sleeps_until(if packet.is_some() { Now::ZERO } else { wake.unwrap_or(Now::MAX) });
            let leaving = core.usable() == Err(crate::ChannelError::Closed);
            // Without a link the goodbye cannot leave; the others see the silence.
            (packet, wake, leaving.then(|| !core.has_control() || !core.is_link_up()))
        });
        if leaving.is_some() && deadline.is_none() {
            deadline = Some(Instant::now() + GOODBYE);
        }
        if let Some(packet) = packet {
            let packet = Packet { topic: packet.topic, payload: packet.payload, beside: packet.beside };
            if let Some(deadline) = deadline {
                let _ = tokio::time::timeout_at(deadline, transport.publish(packet)).await;
            } else {
                tokio::select! {
                    sent = transport.publish(packet) => if let Err(error) = sent {
                        tracing::warn!(%error, "the transport is gone");
                        break;
                    },
                    // A goodbye must not wait behind a full queue for ever: look whether it is time for one.
                    () = goodbye_wanted(&shared) => {}
                }
            }
        } else if leaving == Some(true) {
            break;
        } else {
            let wake = wake.map_or_else(|| Instant::now() + Duration::from_hours(1), |at| shared.started + at);
            tokio::select! {
                () = shared.work.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
    }
    transport.close(lane).await;
    shared.done.cancel();
    shared.changed.notify_waiters();
}

/// Resolves once the channel has been left.
async fn goodbye_wanted(shared: &Shared) {
    loop {
        let changed = shared.changed.notified();
        if shared.with(|core, _| core.usable() == Err(crate::ChannelError::Closed)) {
            return;
        }
        changed.await;
    }
}
