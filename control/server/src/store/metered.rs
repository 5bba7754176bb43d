//! A store whose times are taken, for the metrics.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::{Batch, Entry, Store, StoreError, Tree, Visit};

/// Upper ends of the buckets, in seconds: from a read in memory to a disk that is in trouble.
const BOUNDS: [f64; 10] = [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0];

/// How long operations took, by their name: `get`, `scan`, `commit` (durable when it returns), `commit_soon`, `settle`
/// (waits until what was written is durable).
#[derive(Debug, Clone)]
pub struct StoreTimes(pub(crate) Family<[(&'static str, &'static str); 1], Histogram>);

impl Default for StoreTimes {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BOUNDS)))
    }
}

/// A store that tells how long it takes.
pub struct Metered {
    inner: Arc<dyn Store>,
    get: Histogram,
    scan: Histogram,
    commit: Histogram,
    commit_soon: Histogram,
    settle: Histogram,
}

impl Metered {
    /// Adds the times of `inner` to `times`.
    pub fn new(inner: Arc<dyn Store>, times: &StoreTimes) -> Self {
        let of = |operation| times.0.get_or_create_owned(&[("operation", operation)]);
        Self {
            inner,
            get: of("get"),
            scan: of("scan"),
            commit: of("commit"),
            commit_soon: of("commit_soon"),
            settle: of("settle"),
        }
    }
}

fn timed<T>(times: &Histogram, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = act();
    times.observe(began.elapsed().as_secs_f64());
    done
}

impl Store for Metered {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        timed(&self.get, || self.inner.get(tree, key))
    }

    fn scan(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        timed(&self.scan, || self.inner.scan(tree, prefix))
    }

    fn page(&self, tree: Tree, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        timed(&self.scan, || self.inner.page(tree, prefix, after, limit))
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        timed(&self.commit, || self.inner.commit(batch))
    }

    fn commit_soon(&self, batch: Batch) -> Result<(), StoreError> {
        timed(&self.commit_soon, || self.inner.commit_soon(batch))
    }

    fn settle(&self) -> Result<(), StoreError> {
        timed(&self.settle, || self.inner.settle())
    }

    fn moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        timed(&self.scan, || self.inner.moment(visit))
    }
}
