//! The store on disk, by sled.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use super::{Batch, Entry, Store, StoreError, Tree};

/// Memory for hot pages. The default of 1 GiB is more than a control plane needs.
const CACHE_BYTES: u64 = 64 << 20;
/// A server that was just stopped may still hold the lock for a moment.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// A sled database in a folder.
pub struct SledStore {
    db: sled::Db,
    trees: BTreeMap<Tree, sled::Tree>,
}

impl SledStore {
    /// Opens the database in `folder`, which is made if it is missing.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let db = open_unlocked(folder)?;
        let mut trees = BTreeMap::new();
        for tree in Tree::ALL {
            trees.insert(tree, db.open_tree(tree.name()).map_err(failed)?);
        }
        Ok(Self { db, trees })
    }

    fn tree(&self, tree: Tree) -> Result<&sled::Tree, StoreError> {
        self.trees.get(&tree).ok_or_else(|| StoreError::Failed(format!("there is no tree `{}`", tree.name())))
    }
}

fn open_unlocked(folder: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(error)) if is_lock(&error) => {
                if Instant::now() >= deadline {
                    return Err(StoreError::Locked(PathBuf::from(folder)));
                }
                // There is nothing to wait on: the lock belongs to another process.
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// sled wraps the lock's refusal into an error of kind `Other` and keeps only its text.
fn is_lock(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failed(error: sled::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

impl Store for SledStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tree(tree)?.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn scan(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let entries = self.tree(tree)?.scan_prefix(prefix);
        entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed)).collect()
    }

    fn page(&self, tree: Tree, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        // Where nothing is to be left out, the prefix's own key is part of the page.
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let entries = self.tree(tree)?.range::<&[u8], _>((from, Bound::Unbounded));
        let within = entries.take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)));
        let entries = within.take(limit);
        entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed)).collect()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut by_tree: BTreeMap<Tree, sled::Batch> = BTreeMap::new();
        for write in batch.writes {
            let part = by_tree.entry(write.tree).or_default();
            match write.value {
                Some(value) => part.insert(write.key, value),
                None => part.remove(write.key),
            }
        }
        let mut trees = Vec::with_capacity(by_tree.len());
        for tree in by_tree.keys() {
            trees.push(self.tree(*tree)?);
        }
        let parts: Vec<_> = by_tree.values().collect();
        match (trees.as_slice(), parts.as_slice()) {
            ([], _) => return Ok(()),
            // A batch on one tree is atomic by itself.
            ([tree], [part]) => tree.apply_batch((*part).clone()).map_err(failed)?,
            (trees, parts) => trees
                .transaction(|views| {
                    for (view, part) in views.iter().zip(parts) {
                        view.apply_batch(part)?;
                    }
                    Ok::<(), ConflictableTransactionError<()>>(())
                })
                .map_err(|error| match error {
                    TransactionError::Storage(error) => failed(error),
                    TransactionError::Abort(()) => StoreError::Failed("a write was given up".into()),
                })?,
        }
        self.db.flush().map_err(failed)?;
        Ok(())
    }
}
