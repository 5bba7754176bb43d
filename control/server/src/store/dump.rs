//! The export format: lines of JSON with checksums, for backups and for moving between stores.
//!
//! The first line is `{"format":"flame-store","version":1,"server":…,"created":…}`. Each line after it is a record,
//! `{"tree":…,"key":…,"value":…,"sum":…}`, where `value` is the record's own text and `sum` the first 16 hex digits of
//! SHA-256 over tree, a zero byte, key, a zero byte and value. The last line is `{"records":N,"sha256":…}`, the digest being
//! over all lines before it with their ends. Who has the last line has all of them.

use std::io::{BufRead, Read, Write};

use flame_api::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Batch, Store, StoreError, Tree};

/// What the first line says.
const FORMAT: &str = "flame-store";
/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// Longest line that is read.
const MAX_LINE: u64 = 64 << 20;
/// Records that are written at a time.
const BATCH: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    server: String,
    created: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tree: String,
    key: String,
    value: String,
    sum: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    records: u64,
    sha256: String,
}

/// What was exported or imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped {
    /// Records.
    pub records: u64,
}

/// Why an export or import did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written or read.
    #[error("the file failed: {0}")]
    File(#[from] std::io::Error),
    /// The file is not what was exported.
    #[error("line {line}: {what}; nothing was imported: use another backup")]
    Damaged {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// There is something in the store already.
    #[error("the store has records already; import into an empty home folder")]
    NotEmpty,
}

fn sum(tree: &str, key: &str, value: &str) -> String {
    let digest =
        Sha256::new().chain_update(tree).chain_update([0]).chain_update(key).chain_update([0]).chain_update(value);
    let mut hex = hex::encode(digest.finalize());
    hex.truncate(16);
    hex
}

/// Writes everything that the store has at one moment. Nobody can write to the store meanwhile, so `out` should be quick.
pub fn export(store: &dyn Store, out: &mut dyn Write) -> Result<Dumped, DumpError> {
    let (mut all, mut records) = (Sha256::new(), 0);
    let mut put = |out: &mut dyn Write, line: serde_json::Result<String>| -> std::io::Result<()> {
        let line = line.map_err(std::io::Error::other)? + "\n";
        all.update(&line);
        out.write_all(line.as_bytes())
    };
    let header = Header {
        format: FORMAT.into(),
        version: VERSION,
        server: env!("CARGO_PKG_VERSION").into(),
        created: Timestamp::now(),
    };
    put(out, serde_json::to_string(&header))?;
    // The store's own error stands for what it is not: the file's is kept beside.
    let mut failed = None;
    let seen = store.moment(&mut |tree, key, value| {
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|error| super::damaged(tree, key, &error));
            text.map(ToOwned::to_owned)
        };
        let (key, value) = (text(key)?, text(value)?);
        let line = Line { tree: tree.name().into(), sum: sum(tree.name(), &key, &value), key, value };
        records += 1;
        put(out, serde_json::to_string(&line)).map_err(|error| {
            let text = error.to_string();
            failed = Some(error);
            StoreError::Failed(text)
        })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    seen?;
    let footer = Footer { records, sha256: hex::encode(all.finalize()) };
    let footer = serde_json::to_string(&footer).map_err(std::io::Error::other)?;
    writeln!(out, "{footer}")?;
    out.flush()?;
    Ok(Dumped { records })
}

/// Reads what [`export`] wrote into an empty store. A file that is cut short or changed is refused by its line; the
/// store is then to be thrown away.
pub fn import(store: &dyn Store, file: &mut dyn BufRead) -> Result<Dumped, DumpError> {
    for tree in Tree::ALL {
        if !store.page(tree, b"", b"", 1)?.is_empty() {
            return Err(DumpError::NotEmpty);
        }
    }
    let mut lines = Lines { file, number: 0, all: Sha256::new() };
    let first = lines.next()?;
    let header: Header = serde_json::from_str(&first)
        .map_err(|error| lines.damaged(format!("this is no export of a Flame store: {error}")))?;
    if header.format != FORMAT || header.version > VERSION {
        let what =
            format!("this is `{}` version {}, and {FORMAT} up to {VERSION} is read", header.format, header.version);
        return Err(lines.damaged(what));
    }
    let (mut batch, mut waiting, mut records) = (Batch::new(), 0, 0);
    loop {
        let before = lines.all.clone();
        let text = lines.next()?;
        if let Ok(footer) = serde_json::from_str::<Footer>(&text) {
            if footer.records != records || footer.sha256 != hex::encode(before.finalize()) {
                return Err(lines.damaged("records are missing or were changed: the digest at the end differs".into()));
            }
            store.commit_soon(batch)?;
            store.settle()?;
            return Ok(Dumped { records });
        }
        let line: Line =
            serde_json::from_str(&text).map_err(|error| lines.damaged(format!("this is no record: {error}")))?;
        let tree = Tree::named(&line.tree);
        let tree = tree.ok_or_else(|| lines.damaged(format!("there is no tree `{}`", line.tree.escape_debug())))?;
        if sum(&line.tree, &line.key, &line.value) != line.sum {
            let what = format!("the record `{}` in `{}` does not match its sum", line.key.escape_debug(), tree.name());
            return Err(lines.damaged(what));
        }
        batch.put(tree, line.key, line.value.into_bytes());
        (records, waiting) = (records + 1, waiting + 1);
        if waiting == BATCH {
            store.commit_soon(std::mem::take(&mut batch))?;
            waiting = 0;
        }
    }
}

struct Lines<'a> {
    file: &'a mut dyn BufRead,
    number: u64,
    all: Sha256,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<String, DumpError> {
        self.number += 1;
        let mut line = Vec::new();
        Read::take(&mut *self.file, MAX_LINE).read_until(b'\n', &mut line)?;
        self.all.update(&line);
        if line.pop() != Some(b'\n') {
            return Err(self.damaged("the file ends here, and its last line is missing".into()));
        }
        String::from_utf8(line).map_err(|_| self.damaged("this is not UTF-8 text".into()))
    }

    fn damaged(&self, what: String) -> DumpError {
        DumpError::Damaged { line: self.number, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, SledStore};

    fn filled() -> MemoryStore {
        let store = MemoryStore::default();
        for n in 0..2_500 {
            store
                .put(Tree::Tasks, format!("job/{n}").as_bytes(), format!("{{\"n\": \"{n} \\\"ü\\\"\"}}").into_bytes())
                .unwrap();
        }
        store.put(Tree::Server, b"identity", b"{}".to_vec()).unwrap();
        store
    }

    fn exported(store: &dyn Store) -> Vec<u8> {
        let mut file = Vec::new();
        export(store, &mut file).unwrap();
        file
    }

    #[test]
    fn what_was_exported_comes_back_in_any_store() {
        let store = filled();
        let file = exported(&store);
        let home = tempfile::tempdir().unwrap();
        let sled = SledStore::open(home.path()).unwrap();
        assert_eq!(import(&sled, &mut &file[..]).unwrap(), Dumped { records: 2_501 });
        for tree in Tree::ALL {
            assert_eq!(sled.scan(tree, b"").unwrap(), store.scan(tree, b"").unwrap());
        }
        let again = import(&sled, &mut &file[..]).unwrap_err();
        assert!(matches!(again, DumpError::NotEmpty), "{again}");
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_refused_by_its_line() {
        let file = exported(&filled());
        let refused = |file: &[u8]| import(&MemoryStore::default(), &mut &file[..]).unwrap_err().to_string();
        assert!(refused(&file[..file.len() / 2]).contains("the file ends here"));
        assert!(refused(b"").contains("line 1:"));
        assert!(refused(b"{\"format\": 1}\n").contains("no export of a Flame store"));
        let text = String::from_utf8(file).unwrap();
        let changed = text.replacen("job/7", "job/8", 1);
        let said = refused(changed.as_bytes());
        assert!(said.contains("`job/8") && said.contains("does not match its sum"), "{said}");
        let lines: Vec<_> = text.lines().collect();
        let without = [&lines[..5], &lines[6..]].concat().join("\n") + "\n";
        assert!(refused(without.as_bytes()).contains("records are missing"));
        let later = text.replacen("\"version\":1", "\"version\":2", 1);
        assert!(refused(later.as_bytes()).contains("version 2"));
    }
}
