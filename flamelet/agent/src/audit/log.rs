//! The file: append-only, and every line carries the hash of all before it.
//!
//! A line is 64 hex digits, a blank and the entry's JSON. The digits are SHA-256 over the digest before and the JSON's bytes,
//! so that no line can be changed, left out, moved or put in without changing all behind it. Who can write the file can
//! write all of it anew, or cut its end off: note the head now and then somewhere else (`flamelet audit verify` prints it).
//!
//! Several flamelets may share one log: each appends under the file's lock, behind what others have written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::entry::{Entry, Event};

/// A digest of the chain.
pub(crate) type Head = [u8; 32];
/// What stands before the first line.
pub(crate) const GENESIS: Head = [0; 32];
/// Longest line that is read; far above what is written.
const MAX_LINE: u64 = 1 << 20;

/// A participant's audit log.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    /// Length of the file when `head` was its digest.
    len: u64,
    head: Head,
    seq: u64,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read or written.
    #[error("audit log {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line is not what was written.
    #[error(
        "audit log {path}: line {line} {reason}; keep the file for whoever looks into it, and name another by --audit-log to go on"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
}

impl AuditLog {
    /// Opens a log, or begins one. Reads all of it: nothing is appended to a log that does not verify.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |error: io::Error| AuditError::File { path: path.to_owned(), reason: error.to_string() };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = private().open(path).map_err(failed)?;
        file.lock().map_err(failed)?;
        let read = tail(path, &mut file, Tail::start);
        file.unlock().map_err(failed)?;
        let (len, head, seq) = read?;
        Ok(Self { path: path.to_owned(), tail: Mutex::new(Tail { file, len, head, seq }) })
    }

    /// Appends an entry, and returns once the system has it.
    pub(crate) fn append(&self, task: &str, attempt: u32, event: Event) -> Result<(), AuditError> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: io::Error| AuditError::File { path: self.path.clone(), reason: error.to_string() };
        tail.file.lock().map_err(failed)?;
        let done = self.append_locked(&mut tail, task, attempt, event);
        tail.file.unlock().map_err(failed)?;
        done
    }

    fn append_locked(&self, tail: &mut Tail, task: &str, attempt: u32, event: Event) -> Result<(), AuditError> {
        let failed = |error: io::Error| AuditError::File { path: self.path.clone(), reason: error.to_string() };
        let len = tail.file.metadata().map_err(failed)?.len();
        if len < tail.len {
            let reason = "was cut off while it was in use".to_owned();
            return Err(AuditError::Broken { path: self.path.clone(), line: tail.seq, reason });
        }
        if len > tail.len {
            let known = (tail.len, tail.head, tail.seq);
            (tail.len, tail.head, tail.seq) = self::tail(&self.path, &mut tail.file, || known)?;
        }
        let entry = Entry { seq: tail.seq + 1, time: jiff::Timestamp::now(), task: task.to_owned(), attempt, event };
        let json = serde_json::to_vec(&entry)
            .map_err(|error| AuditError::File { path: self.path.clone(), reason: error.to_string() })?;
        let head = next(&tail.head, &json);
        let mut line = hex::encode(head).into_bytes();
        line.push(b' ');
        line.extend_from_slice(&json);
        line.push(b'\n');
        tail.file.write_all(&line).and_then(|()| tail.file.sync_data()).map_err(failed)?;
        (tail.len, tail.head, tail.seq) = (tail.len + line.len() as u64, head, entry.seq);
        Ok(())
    }
}

impl Tail {
    fn start() -> (u64, Head, u64) {
        (0, GENESIS, 0)
    }
}

/// Reads what is behind a known place, checks it, and cuts off a last line that a crash left unfinished. The caller holds
/// the file's lock.
fn tail(path: &Path, file: &mut File, known: impl Fn() -> (u64, Head, u64)) -> Result<(u64, Head, u64), AuditError> {
    let failed = |error: io::Error| AuditError::File { path: path.to_owned(), reason: error.to_string() };
    let (mut len, mut head, mut seq) = known();
    file.seek(SeekFrom::Start(len)).map_err(failed)?;
    let mut reader = BufReader::new(&*file);
    loop {
        match read_line(&mut reader, &head, seq) {
            Ok(Some(Line::Whole { bytes, entry, head: new })) => {
                (len, head, seq) = (len + bytes, new, entry.seq);
            }
            Ok(None) => return Ok((len, head, seq)),
            Ok(Some(Line::Unfinished)) => {
                file.set_len(len).map_err(failed)?;
                return Ok((len, head, seq));
            }
            Err(LineError::Read(error)) => return Err(failed(error)),
            Err(LineError::Wrong(reason)) => {
                return Err(AuditError::Broken { path: path.to_owned(), line: seq + 1, reason });
            }
        }
    }
}

/// A line of a log.
pub(crate) enum Line {
    Whole {
        bytes: u64,
        entry: Box<Entry>,
        head: Head,
    },
    /// The last one, without its end: the process died while it wrote.
    Unfinished,
}

pub(crate) enum LineError {
    Read(io::Error),
    Wrong(String),
}

/// The next line behind one with this digest and number; none at the end.
pub(crate) fn read_line(reader: &mut impl BufRead, before: &Head, seq: u64) -> Result<Option<Line>, LineError> {
    let mut line = Vec::new();
    let bytes = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(LineError::Read)? as u64;
    if bytes == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        let wrong = || LineError::Wrong(format!("has more than {MAX_LINE} bytes"));
        return if bytes == MAX_LINE { Err(wrong()) } else { Ok(Some(Line::Unfinished)) };
    }
    let wrong = |what: &str| LineError::Wrong(what.to_owned());
    let (digits, rest) = line.split_at_checked(64).ok_or_else(|| wrong("is no entry"))?;
    let json = rest.strip_prefix(b" ").ok_or_else(|| wrong("is no entry"))?;
    let head = next(before, json);
    if hex::encode(head).as_bytes() != digits {
        return Err(wrong("does not follow from the lines before it: it, or one before it, was changed"));
    }
    let entry: Entry =
        serde_json::from_slice(json).map_err(|error| LineError::Wrong(format!("is no entry: {error}")))?;
    if entry.seq != seq + 1 {
        return Err(LineError::Wrong(format!("has the number {} and not {}", entry.seq, seq + 1)));
    }
    Ok(Some(Line::Whole { bytes, entry: Box::new(entry), head }))
}

fn next(before: &Head, json: &[u8]) -> Head {
    Sha256::new().chain_update(before).chain_update(json).finalize().into()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify;

    fn refused(reason: &str) -> Event {
        Event::Refused { reason: reason.to_owned() }
    }

    fn three() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/audit.log");
        let log = AuditLog::open(&path).unwrap();
        for reason in ["one", "two", "three"] {
            log.append("task", 1, refused(reason)).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn several_processes_continue_one_chain() {
        let (_folder, path) = three();
        let (first, second) = (AuditLog::open(&path).unwrap(), AuditLog::open(&path).unwrap());
        for round in 0..5 {
            first.append("a", 1, refused(&format!("{round}"))).unwrap();
            second.append("b", 2, refused(&format!("{round}"))).unwrap();
        }
        assert_eq!(verify(&path, None).unwrap().entries, 13);
    }

    #[test]
    fn a_changed_missing_or_moved_line_is_named() {
        let (_folder, path) = three();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let broken = |lines: &[&str], at: &str| {
            std::fs::write(&path, format!("{}\n", lines.join("\n"))).unwrap();
            let error = verify(&path, None).unwrap_err().to_string();
            assert!(error.contains(at), "{error}");
            assert!(AuditLog::open(&path).is_err(), "nothing is appended to it");
        };
        let changed = lines[1].replace("two", "2wo");
        broken(&[lines[0], &changed, lines[2]], "line 2");
        broken(&[lines[0], lines[2]], "line 2");
        broken(&[lines[1], lines[0], lines[2]], "line 1");
        broken(&["rubbish", lines[0]], "line 1");
    }

    #[test]
    fn an_end_that_was_cut_off_is_seen_by_who_noted_the_head() {
        let (_folder, path) = three();
        let head = verify(&path, None).unwrap().head;
        let text = std::fs::read_to_string(&path).unwrap();
        let cut: Vec<&str> = text.lines().take(2).collect();
        std::fs::write(&path, format!("{}\n", cut.join("\n"))).unwrap();
        assert_eq!(verify(&path, None).unwrap().entries, 2);
        assert!(verify(&path, Some(&head)).is_err());
    }

    #[test]
    fn a_line_that_a_crash_left_unfinished_is_dropped_when_the_log_goes_on() {
        let (_folder, path) = three();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"0123 unfini"].concat()).unwrap();
        let seen = verify(&path, None).unwrap();
        assert!(seen.unfinished && seen.entries == 3);
        AuditLog::open(&path).unwrap().append("task", 1, refused("four")).unwrap();
        assert_eq!(verify(&path, None).unwrap().entries, 4);
    }

    #[test]
    fn a_log_that_shrinks_in_use_is_not_appended_to() {
        let (_folder, path) = three();
        let log = AuditLog::open(&path).unwrap();
        std::fs::write(&path, b"").unwrap();
        assert!(log.append("task", 1, refused("four")).unwrap_err().to_string().contains("cut off"));
    }
}
