//! The participant's own record of what ran here and of everything that left: a file that only grows, chained by hashes.

mod entry;
mod log;
mod show;

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use flame_sandbox::{Auditor, Departure};

pub(crate) use entry::{Event, short, used};
pub use log::{AuditError, AuditLog};
use log::{GENESIS, Line, LineError, read_line};
pub use show::{ShowOptions, show};

/// What a log turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Entries, all of which follow from those before.
    pub entries: u64,
    /// The last one's digest, hex: note it elsewhere, and a log that was cut off or written anew can be told.
    pub head: String,
    /// A last line without its end follows: a flamelet died while it wrote it, or is writing it now.
    pub unfinished: bool,
}

/// Checks a log from its first line to its last. With `head` one of its lines has to have that digest.
pub fn verify(path: &Path, head: Option<&str>) -> Result<Verified, AuditError> {
    let mut seen = head.is_none();
    let (mut last, mut unfinished) = (GENESIS, false);
    let entries = read(path, |line| match line {
        Line::Whole { head: digest, .. } => {
            last = digest;
            seen |= head.is_some_and(|head| head.eq_ignore_ascii_case(&hex::encode(digest)));
        }
        Line::Unfinished => unfinished = true,
    })?;
    if !seen {
        let reason = format!(
            "none of its {entries} entries has the head {}: it was cut off, or written anew",
            short(head.unwrap_or_default())
        );
        return Err(AuditError::File { path: path.to_owned(), reason });
    }
    Ok(Verified { entries, head: hex::encode(last), unfinished })
}

/// Hands every line of a log to `each`, checked; the number of entries.
fn read(path: &Path, mut each: impl FnMut(Line)) -> Result<u64, AuditError> {
    let failed = |error: std::io::Error| AuditError::File { path: path.to_owned(), reason: error.to_string() };
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            AuditError::File { path: path.to_owned(), reason: "there is none: nothing has run here".into() }
        }
        _ => failed(error),
    })?;
    let mut reader = BufReader::new(file);
    let (mut head, mut seq) = (GENESIS, 0);
    loop {
        let line = read_line(&mut reader, &head, seq).map_err(|error| match error {
            LineError::Read(error) => failed(error),
            LineError::Wrong(reason) => AuditError::Broken { path: path.to_owned(), line: seq + 1, reason },
        })?;
        match &line {
            None => return Ok(seq),
            Some(Line::Whole { head: digest, entry, .. }) => (head, seq) = (*digest, entry.seq),
            Some(Line::Unfinished) => {}
        }
        line.into_iter().for_each(&mut each);
    }
}

/// One task's part in the log.
#[derive(Debug)]
pub(crate) struct TaskAudit {
    pub(crate) log: Arc<AuditLog>,
    pub(crate) task: String,
    pub(crate) attempt: u32,
}

impl TaskAudit {
    pub(crate) fn note(&self, event: Event) -> Result<(), AuditError> {
        self.log.append(&self.task, self.attempt, event)
    }
}

impl Auditor for TaskAudit {
    fn departs(&self, departure: &Departure<'_>) -> Result<(), String> {
        self.note(Event::Left(entry::Left::of(departure))).map_err(|error| error.to_string())
    }
}
