//! Accounts for the host memory that a guest's tensors hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flame_channel::Lease;

use crate::error::HostError;

/// A task's budget of tensor bytes.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

/// Bytes taken from a quota; given back when the last handle to the storage goes.
#[derive(Debug)]
pub(crate) struct Charge {
    quota: Arc<Quota>,
    bytes: u64,
    /// The room of a received message in its channel.
    _lease: Option<Lease>,
}

impl Quota {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0), peak: AtomicU64::new(0) })
    }

    /// Takes the `bytes` of a received message, whose room in its channel is kept for as long.
    pub(crate) fn charge_received(self: &Arc<Self>, bytes: u64, lease: Lease) -> Result<Arc<Charge>, HostError> {
        self.take(bytes, Some(lease))
    }

    /// Takes `bytes`, before anything is allocated, or says what the grant lacks.
    pub(crate) fn charge(self: &Arc<Self>, bytes: u64) -> Result<Arc<Charge>, HostError> {
        self.take(bytes, None)
    }

    fn take(self: &Arc<Self>, bytes: u64, lease: Option<Lease>) -> Result<Arc<Charge>, HostError> {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= self.limit)
        });
        match taken {
            Ok(before) => {
                self.peak.fetch_max(before.saturating_add(bytes), Ordering::Relaxed);
                Ok(Arc::new(Charge { quota: Arc::clone(self), bytes, _lease: lease }))
            }
            Err(used) => Err(HostError::limit(format!(
                "tensor bytes: {used} are held, {bytes} more are needed and the grant has {} (resources.tensorBytes in \
                 the job, limits.tensor-bytes in policy.toml); drop handles that are no longer needed",
                self.limit
            ))),
        }
    }

    /// Most bytes taken at a time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_when_the_last_handle_goes() {
        let quota = Quota::new(100);
        let first = quota.charge(60).unwrap();
        let shared = Arc::clone(&first);
        assert!(quota.charge(41).is_err());
        assert!(quota.charge(u64::MAX).is_err());
        drop(first);
        assert_eq!(quota.used(), 60);
        drop(shared);
        assert_eq!(quota.used(), 0);
        assert!(quota.charge(100).is_ok());
    }
}
