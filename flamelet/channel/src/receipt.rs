//! A message on its way.

use std::sync::Arc;
use std::time::Duration;

use flame_model::EndId;

use crate::channel::wait_for;
use crate::error::ChannelError;
use crate::tasks::Shared;

/// Follows one message. Dropping it does not stop the message.
#[derive(Clone)]
pub struct Receipt {
    id: u64,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Receipt {
    pub(crate) const fn new(id: u64, shared: Arc<Shared>) -> Self {
        Self { id, shared }
    }

    /// The message's id.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the hosts of all addressed ends have the whole message. `Timeout` leaves it on its way;
    /// `LimitExceeded` names the ends that refused it for its size.
    pub async fn wait(&self, within: Duration) -> Result<(), ChannelError> {
        wait_for(&self.shared, within, |core, _| {
            let state = core.receipt(self.id);
            if !state.pending.is_empty() {
                return Ok(None);
            }
            if state.refused.is_empty() {
                return Ok(Some(()));
            }
            let ends: Vec<&str> = state.refused.iter().map(EndId::as_str).collect();
            Err(ChannelError::LimitExceeded(format!(
                "message {} is over the max_message_bytes of {}; raise it there or send less",
                self.id,
                ends.join(", ")
            )))
        })
        .await
    }

    /// Ends whose hosts do not have it yet.
    pub fn pending(&self) -> Vec<EndId> {
        self.shared.with(|core, _| core.receipt(self.id).pending)
    }

    /// Stops delivering to ends that do not have it yet.
    pub fn cancel(&self) {
        self.shared.with_work(|core, _| core.cancel(self.id));
    }
}
