//! An audit log for people.

use std::io::{self, Write};
use std::path::Path;

use super::entry::{Entry, Event, Left};
use super::log::Line;
use super::{AuditError, read};
use crate::policy::shown_bytes;

/// What to show of a log.
#[derive(Debug, Clone, Default)]
pub struct ShowOptions {
    /// Only entries of tasks whose id begins with this.
    pub task: Option<String>,
    /// The entries as they stand in the file, one JSON object a line.
    pub json: bool,
}

/// Prints a log, checking it on the way. What was printed before a broken line is sound.
pub fn show(path: &Path, options: &ShowOptions, out: &mut impl Write) -> Result<(), AuditError> {
    let mut written = Ok(());
    read(path, |line| {
        let Line::Whole { entry, .. } = line else { return };
        if written.is_ok() && options.task.as_ref().is_none_or(|task| entry.task.starts_with(task.as_str())) {
            written = print(&entry, options.json, out);
        }
    })?;
    written.map_err(|error| AuditError::File { path: path.to_owned(), reason: error.to_string() })
}

fn print(entry: &Entry, json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        let text = serde_json::to_string(entry).map_err(io::Error::other)?;
        return writeln!(out, "{text}");
    }
    let task = entry.task.get(..12).unwrap_or(&entry.task);
    let time = entry.time.strftime("%Y-%m-%d %H:%M:%S");
    writeln!(out, "{time}  {task}.{}  {}", entry.attempt, flame_sandbox::printable(&sentence(&entry.event)))
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Started { job, role, code, signers, .. } => {
            let code = code.get(..12).unwrap_or(code);
            let signed =
                if signers.is_empty() { "unsigned".to_owned() } else { format!("signed by {}", signers.join(", ")) };
            format!("started   {role} of job {job}: code {code}…, {signed}")
        }
        Event::Refused { reason } => format!("refused   {reason}"),
        Event::Left(left) => format!("left      {}", describe(left)),
        Event::Ended { outcome, reason } if reason.is_empty() => format!("ended     {outcome}"),
        Event::Ended { outcome, reason } => format!("ended     {outcome}: {reason}"),
        Event::Used { usage } => format!("used      {usage}"),
    }
}

fn describe(left: &Left) -> String {
    let mut parts = vec![match left.by.as_str() {
        "channel" => format!("{} to {} on {}", left.kind, left.to.join(", "), left.name),
        "result" => format!("model `{}`", left.name),
        other => other.to_owned(),
    }];
    parts.push(format!("round {}", left.round));
    for (what, bytes) in [("weights", left.weights), ("metrics", left.metrics), ("body", left.body)] {
        if bytes > 0 {
            parts.push(format!("{what} {}", shown_bytes(bytes)));
        }
    }
    if left.weights > 0 {
        parts.push(format!("{}, {} samples", left.form, left.samples));
    }
    if let (Some(norm), Some(sent)) = (left.norm, left.norm_sent) {
        parts.push(if (norm - sent).abs() > 1e-9 * norm.abs() {
            format!("norm {norm:.6} sent as {sent:.6}")
        } else {
            format!("norm {norm:.6}")
        });
    }
    parts.push(format!("blake3 {}…", left.blake3.get(..12).unwrap_or(&left.blake3)));
    parts.join("; ")
}
