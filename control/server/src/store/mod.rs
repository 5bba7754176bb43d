//! What the control plane remembers: named trees of keys and small values.
//!
//! One trait, so that a store is a choice; [`records`] gives the values their types. Large bytes are never put here:
//! they are files (see [`crate::artifacts`]). Everything here blocks; callers are on threads that may.

mod check;
#[cfg(test)]
mod contract;
mod dump;
mod layout;
mod memory;
mod metered;
pub mod records;
mod sled_store;

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use check::{Finding, check};
pub use dump::{DumpError, Dumped, export, import};
pub use layout::migrate;
pub use memory::MemoryStore;
pub use metered::{Metered, StoreTimes};
pub use sled_store::SledStore;

/// Takes an entry: its tree, key and value.
pub type Visit<'a> = dyn FnMut(Tree, &[u8], &[u8]) -> Result<(), StoreError> + 'a;
/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The trees, one per kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// The server's own: token hash, broker login.
    Server,
    /// Designs, by id.
    Designs,
    /// Schema revisions, by design and version.
    Schemas,
    /// Code revisions, by design and version.
    Code,
    /// Jobs, by id: what changes.
    Jobs,
    /// Jobs, by id: what was settled at creation.
    Plans,
    /// Tasks, by job and position.
    Tasks,
    /// Agents, by agent id: where their task is, and their key's hash.
    Agents,
    /// Published models, by job and name.
    Models,
    /// Metrics, by job, round and agent.
    Metrics,
    /// Log lines, by job and number.
    Logs,
    /// What a job's and an agent's reports have added up to, by job or agent.
    Reports,
    /// Bearer tokens, by id: whose they are and their hash.
    Tokens,
    /// Who changed what, by number.
    Audit,
    /// What agents are to be told, by agent.
    Mailboxes,
    /// What happened to jobs, by job and number.
    Events,
    /// Data sets, by id.
    Datasets,
    /// Computes, by id.
    Computes,
    /// Answers to requests that may come again, and the ring of slots that bounds them.
    Once,
}

impl Tree {
    /// Every tree.
    pub const ALL: [Self; 19] = [
        Self::Server,
        Self::Designs,
        Self::Schemas,
        Self::Code,
        Self::Jobs,
        Self::Plans,
        Self::Tasks,
        Self::Agents,
        Self::Models,
        Self::Metrics,
        Self::Logs,
        Self::Reports,
        Self::Tokens,
        Self::Audit,
        Self::Mailboxes,
        Self::Events,
        Self::Datasets,
        Self::Computes,
        Self::Once,
    ];

    /// Its name in the store. Never changed: stores on disk have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Designs => "designs",
            Self::Schemas => "schemas",
            Self::Code => "code",
            Self::Jobs => "jobs",
            Self::Plans => "plans",
            Self::Tasks => "tasks",
            Self::Agents => "agents",
            Self::Models => "models",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Reports => "reports",
            Self::Tokens => "tokens",
            Self::Audit => "audit",
            Self::Mailboxes => "mailboxes",
            Self::Events => "events",
            Self::Datasets => "datasets",
            Self::Computes => "computes",
            Self::Once => "once",
        }
    }

    /// The tree of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| tree.name() == name)
    }
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error("the store in {} is in use by another process; stop that server, or give this one another --home", .0.display())]
    Locked(PathBuf),
    /// The disk or the database failed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The database itself is damaged.
    #[error(
        "the store in {folder} is damaged: {reason}; move it away and put a backup in its place by `flame-control db import`, or start anew"
    )]
    Corrupt {
        /// Where it is.
        folder: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// A record is not what was written there.
    #[error(
        "the record `{key}` in `{tree}` is damaged: {reason}; restore the home folder from a backup, or move it away to start anew"
    )]
    Damaged {
        /// Which tree.
        tree: &'static str,
        /// The key, escaped.
        key: String,
        /// What the parser said.
        reason: String,
    },
    /// A record of a later version of this program.
    #[error(
        "the record `{key}` in `{tree}` has version {found}, and this server knows {known}; run the newer server that wrote it"
    )]
    TooNew {
        /// Which tree.
        tree: &'static str,
        /// The key, escaped.
        key: String,
        /// The version that it has.
        found: u32,
        /// The version that we know.
        known: u32,
    },
}

/// Writes that happen together or not at all.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    writes: Vec<Write>,
}

/// A write of a batch: a value of `None` deletes.
#[derive(Debug, Clone)]
struct Write {
    tree: Tree,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write.
    pub fn put(&mut self, tree: Tree, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.writes.push(Write { tree, key: key.into(), value: Some(value) });
    }

    /// Adds a deletion.
    pub fn delete(&mut self, tree: Tree, key: impl Into<Vec<u8>>) {
        self.writes.push(Write { tree, key: key.into(), value: None });
    }

    /// Adds the write of a record.
    pub fn put_record<T: Serialize>(&mut self, tree: Tree, key: &str, record: &T) -> Result<(), StoreError> {
        self.put(tree, key, encode(tree, key, record)?);
        Ok(())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Named trees of bytes.
pub trait Store: Send + Sync {
    /// The value of a key.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every key with the prefix, in the order of their bytes.
    fn scan(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<Entry>, StoreError>;

    /// At most `limit` keys with the prefix that come after `after`, in the order of their bytes. An empty `after` begins
    /// with the first.
    fn page(&self, tree: Tree, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Does all writes or none. They are durable when it returns.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Does all writes or none. They are seen at once, and durable with the next `commit` or [`Store::settle`].
    fn commit_soon(&self, batch: Batch) -> Result<(), StoreError>;

    /// What was written before is durable when it returns.
    fn settle(&self) -> Result<(), StoreError>;

    /// Shows every entry of one moment, tree by tree, key by key. Writers wait meanwhile.
    fn moment(&self, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Writes one value, durably.
    fn put(&self, tree: Tree, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(tree, key, value);
        self.commit(batch)
    }

    /// Removes one value, durably. It need not exist.
    fn delete(&self, tree: Tree, key: &[u8]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.delete(tree, key);
        self.commit(batch)
    }
}

/// The version that records are written in. A reader of an older one migrates it here.
const RECORD_VERSION: u32 = 1;

/// How a record lies in the store.
#[derive(serde::Serialize, serde::Deserialize)]
struct Envelope<T> {
    version: u32,
    record: T,
}

fn encode<T: Serialize>(tree: Tree, key: &str, record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(&Envelope { version: RECORD_VERSION, record })
        .map_err(|error| damaged(tree, key.as_bytes(), &error))
}

fn decode<T: DeserializeOwned>(tree: Tree, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    #[derive(serde::Deserialize)]
    struct OnlyVersion {
        version: u32,
    }
    match serde_json::from_slice::<Envelope<T>>(bytes) {
        Ok(envelope) if envelope.version == RECORD_VERSION => Ok(envelope.record),
        outcome => match (serde_json::from_slice::<OnlyVersion>(bytes), outcome) {
            (Ok(OnlyVersion { version }), _) if version > RECORD_VERSION => Err(StoreError::TooNew {
                tree: tree.name(),
                key: key.escape_ascii().to_string(),
                found: version,
                known: RECORD_VERSION,
            }),
            (_, Err(error)) => Err(damaged(tree, key, &error)),
            (_, Ok(envelope)) => Err(damaged(tree, key, &format!("there is no version {}", envelope.version))),
        },
    }
}

fn damaged(tree: Tree, key: &[u8], reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { tree: tree.name(), key: key.escape_ascii().to_string(), reason: reason.to_string() }
}

/// The record of a key.
pub fn get_record<T: DeserializeOwned>(store: &dyn Store, tree: Tree, key: &str) -> Result<Option<T>, StoreError> {
    store.get(tree, key.as_bytes())?.map(|bytes| decode(tree, key.as_bytes(), &bytes)).transpose()
}

/// Every record with the prefix, in key order.
pub fn scan_records<T: DeserializeOwned>(store: &dyn Store, tree: Tree, prefix: &str) -> Result<Vec<T>, StoreError> {
    store.scan(tree, prefix.as_bytes())?.iter().map(|(key, bytes)| decode(tree, key, bytes)).collect()
}

/// A page of records with their keys; see [`Store::page`].
pub fn page_records<T: DeserializeOwned>(
    store: &dyn Store,
    tree: Tree,
    prefix: &str,
    after: &[u8],
    limit: usize,
) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
    let entries = store.page(tree, prefix.as_bytes(), after, limit)?;
    entries.into_iter().map(|(key, bytes)| decode(tree, &key, &bytes).map(|record| (key, record))).collect()
}

/// Writes one record, durably.
pub fn put_record<T: Serialize>(store: &dyn Store, tree: Tree, key: &str, record: &T) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.put_record(tree, key, record)?;
    store.commit(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_newer_records_are_named() {
        let store = MemoryStore::default();
        put_record(&store, Tree::Jobs, "fine", &7_u32).unwrap();
        assert_eq!(get_record::<u32>(&store, Tree::Jobs, "fine").unwrap(), Some(7));
        store.put(Tree::Jobs, b"torn", b"{\"version\":1,\"rec".to_vec()).unwrap();
        store.put(Tree::Jobs, b"later", b"{\"version\":9,\"record\":{}}".to_vec()).unwrap();
        let torn = get_record::<u32>(&store, Tree::Jobs, "torn").unwrap_err().to_string();
        assert!(torn.contains("`torn` in `jobs` is damaged"), "{torn}");
        let later = get_record::<u32>(&store, Tree::Jobs, "later").unwrap_err().to_string();
        assert!(later.contains("version 9"), "{later}");
    }
}
