//! The store on disk, by sled.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use super::{Batch, Entry, Store, StoreError, Tree, Visit};

/// Memory for hot pages. The default of 1 GiB is more than a control plane needs.
const CACHE_BYTES: u64 = 24 << 20;
/// A server that was just stopped may still hold the lock for a moment.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// A sled database in a folder.
pub struct SledStore {
    db: sled::Db,
    trees: BTreeMap<Tree, sled::Tree>,
    folder: PathBuf,
    /// Writers share it; who wants to see one moment of all trees takes it alone.
    moment: RwLock<()>,
}

impl SledStore {
    /// Opens the database in `folder`, which is made if it is missing.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let (db, trees) = caught(folder, || {
            let db = open_unlocked(folder)?;
            let mut trees = BTreeMap::new();
            for tree in Tree::ALL {
                trees.insert(tree, db.open_tree(tree.name()).map_err(|error| failed(folder, error))?);
            }
            Ok((db, trees))
        })?;
        Ok(Self { db, trees, folder: folder.to_owned(), moment: RwLock::new(()) })
    }

    fn caught<T>(&self, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        caught(&self.folder, act)
    }

    fn failed(&self, error: sled::Error) -> StoreError {
        failed(&self.folder, error)
    }

    fn collect(
        &self,
        entries: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Result<Vec<Entry>, StoreError> {
        entries
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(|error| self.failed(error)))
            .collect()
    }

    /// The writes, all or none; durable once sled is flushed.
    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
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
        let _shared = self.moment.read().unwrap_or_else(PoisonError::into_inner);
        match (trees.as_slice(), parts.as_slice()) {
            ([], _) => Ok(()),
            // A batch on one tree is atomic by itself.
            ([tree], [part]) => tree.apply_batch((*part).clone()).map_err(|error| self.failed(error)),
            (trees, parts) => trees
                .transaction(|views| {
                    for (view, part) in views.iter().zip(parts) {
                        view.apply_batch(part)?;
                    }
                    Ok::<(), ConflictableTransactionError<()>>(())
                })
                .map_err(|error| match error {
                    TransactionError::Storage(error) => self.failed(error),
                    TransactionError::Abort(()) => StoreError::Failed("a write was given up".into()),
                }),
        }
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
            Err(error) => return Err(failed(folder, error)),
        }
    }
}

/// sled wraps the lock's refusal into an error of kind `Other` and keeps only its text.
fn is_lock(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

fn failed(folder: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Corruption { .. } => StoreError::Corrupt { folder: folder.to_owned(), reason: error.to_string() },
        other => StoreError::Failed(other.to_string()),
    }
}

/// sled panics over some damages that it finds. Whoever asks gets them as errors all the same.
fn caught<T>(folder: &Path, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(StoreError::Corrupt { folder: folder.to_owned(), reason: said(&*panic) }))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("sled gave up").to_owned()
}

impl Store for SledStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.caught(|| {
            let value = self.tree(tree)?.get(key).map_err(|error| self.failed(error))?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    fn scan(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<Entry>, StoreError> {
        self.caught(|| self.collect(self.tree(tree)?.scan_prefix(prefix)))
    }

    fn page(&self, tree: Tree, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.caught(|| {
            // Where nothing is to be left out, the prefix's own key is part of the page.
            let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
            let entries = self.tree(tree)?.range::<&[u8], _>((from, Bound::Unbounded));
            let within = entries.take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)));
            self.collect(within.take(limit))
        })
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.commit_soon(batch)?;
        self.settle()
    }

    fn commit_soon(&self, batch: Batch) -> Result<(), StoreError> {
        self.caught(|| self.apply(batch))
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.caught(|| self.db.flush().map(drop).map_err(|error| self.failed(error)))
    }

    fn moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.caught(|| {
            let _alone = self.moment.write().unwrap_or_else(PoisonError::into_inner);
            for (tree, entries) in &self.trees {
                for entry in entries {
                    let (key, value) = entry.map_err(|error| self.failed(error))?;
                    visit(*tree, &key, &value)?;
                }
            }
            Ok(())
        })
    }
}
