//! A store that forgets: for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Batch, Entry, Store, StoreError, Tree, Visit};

type Entries = BTreeMap<(Tree, Vec<u8>), Vec<u8>>;

/// Keeps everything in memory. Atomic because there is one lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: Mutex<Entries>,
}

impl MemoryStore {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.entries().get(&(tree, key.to_vec())).cloned())
    }

    fn scan(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let entries = self.entries();
        let from = entries.range((tree, prefix.to_vec())..);
        let within = from.take_while(|((at, key), _)| *at == tree && key.starts_with(prefix));
        Ok(within.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn page(&self, tree: Tree, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let all = self.scan(tree, prefix)?;
        let rest = all.into_iter().filter(|(key, _)| after < prefix || key.as_slice() > after);
        Ok(rest.take(limit).collect())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut entries = self.entries();
        for write in batch.writes {
            match write.value {
                Some(value) => entries.insert((write.tree, write.key), value),
                None => entries.remove(&(write.tree, write.key)),
            };
        }
        Ok(())
    }

    fn commit_soon(&self, batch: Batch) -> Result<(), StoreError> {
        self.commit(batch)
    }

    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.entries().iter().try_for_each(|((tree, key), value)| visit(*tree, key, value))
    }
}
