//! Large storage: mapped on huge pages where the system has them, and used again.
//!
//! Touching 100 MB for the first time then takes 50 page faults and not 25,000. Still the system clears what it hands out,
//! which costs more than to open the message of a model that comes in. So a mapping that is let go waits here for the next
//! one of its length, as rounds of one model need them. Before anything else is mapped, what waits is let go: a process
//! is never larger than it would be without.

use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{MmapMut, MmapOptions};

/// Lengths are multiples of this, so that messages that differ in a few bytes fit one mapping.
const STEP: usize = 64 << 10;
/// Bytes that may wait in all.
const MAX_SPARE: usize = 256 << 20;

/// What waits in this process.
static POOL: Pool = Pool::new();

/// Lets go of the memory that waits to be used again: for when a task has ended.
pub fn release_spare_memory() {
    POOL.release();
}

/// Mappings that wait.
#[derive(Debug)]
struct Pool {
    spares: Mutex<Vec<MmapMut>>,
}

/// Anonymous memory of `len` bytes.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// There until it is dropped.
    map: Option<MmapMut>,
    len: usize,
    pool: &'static Pool,
}

impl Pool {
    const fn new() -> Self {
        Self { spares: Mutex::new(Vec::new()) }
    }

    fn spares(&self) -> MutexGuard<'_, Vec<MmapMut>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        let spares = std::mem::take(&mut *self.spares());
        drop(spares);
    }

    fn take(&'static self, len: usize) -> Option<Mapping> {
        let rounded = len.checked_next_multiple_of(STEP)?;
        let mut spares = self.spares();
        let at = spares.iter().position(|spare| spare.len() == rounded)?;
        Some(Mapping { map: Some(spares.swap_remove(at)), len, pool: self })
    }

    fn fresh(&'static self, len: usize) -> Option<Mapping> {
        self.release();
        let map = MmapOptions::new().len(len.checked_next_multiple_of(STEP)?).map_anon().ok()?;
        // Advice: the map serves on small pages, too.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Mapping { map: Some(map), len, pool: self })
    }

    fn zeroed(&'static self, len: usize) -> Option<Mapping> {
        let Some(mut used) = self.take(len) else { return self.fresh(len) };
        used.bytes_mut().fill(0);
        Some(used)
    }

    fn for_overwrite(&'static self, len: usize) -> Option<Mapping> {
        self.take(len).or_else(|| self.fresh(len))
    }

    fn put(&self, map: MmapMut) {
        let mut spares = self.spares();
        let waiting: usize = spares.iter().map(|spare| spare.len()).sum();
        if waiting.saturating_add(map.len()) <= MAX_SPARE {
            spares.push(map);
        }
    }
}

impl Mapping {
    /// Zeros. New ones are not touched yet.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        POOL.zeroed(len)
    }

    /// What an earlier one may have left in it.
    pub(crate) fn for_overwrite(len: usize) -> Option<Self> {
        POOL.for_overwrite(len)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.as_ref().and_then(|map| map.get(..self.len)).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_mut().and_then(|map| map.get_mut(..self.len)).unwrap_or_default()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            self.pool.put(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_serves_the_next_of_its_length_alone() {
        static POOL: Pool = Pool::new();
        let len = 5 * STEP - 7;
        let mut first = POOL.zeroed(len).unwrap();
        first.bytes_mut().fill(9);
        let place = first.bytes().as_ptr();
        drop(first);
        let again = POOL.for_overwrite(len + 7).unwrap();
        assert_eq!((again.bytes().as_ptr(), again.bytes().len()), (place, len + 7));
        let other = POOL.for_overwrite(len).unwrap();
        assert_ne!(other.bytes().as_ptr(), place);
        drop((again, other));
        let zeros = POOL.zeroed(len).unwrap();
        assert!(zeros.bytes().iter().all(|byte| *byte == 0));
        drop(POOL.zeroed(STEP).unwrap());
        assert_eq!(POOL.spares().len(), 1, "another length lets go of what waits");
        drop(POOL.zeroed(MAX_SPARE + STEP).unwrap());
        assert!(POOL.spares().is_empty(), "no more waits than may");
        drop(zeros);
        POOL.release();
        assert!(POOL.spares().is_empty());
    }

    #[test]
    fn absurd_lengths_are_refused() {
        assert!(Mapping::zeroed(usize::MAX).is_none());
    }
}
