//! The one place that decides what goes to stdout and what to stderr: results to stdout, words for people to stderr.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::{Failure, text};

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table with the columns that one looks at.
    #[default]
    Table,
    /// A table with all columns.
    Wide,
    /// The API's own types as JSON.
    Json,
    /// The API's own types as YAML.
    Yaml,
}

/// Where the output of a command goes.
pub struct Printer {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    terminal: bool,
    live: bool,
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").field("terminal", &self.terminal).field("live", &self.live).finish_non_exhaustive()
    }
}

impl Printer {
    /// The process's stdout and stderr.
    pub fn stdio() -> Self {
        let out = io::stdout();
        // A dumb terminal cannot go back on a line.
        let terminal = out.is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self::new(Box::new(out), Box::new(io::stderr()), terminal)
    }

    /// Any two writers. `terminal`: whether a line on `out` may be redrawn.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, terminal: bool) -> Self {
        Self { out, err, terminal, live: false }
    }

    /// Whether results are looked at on a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A line of the result.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.settle()?;
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// A result that is bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// A line that replaces the one before: redrawn on a terminal, appended elsewhere.
    pub(crate) fn status(&mut self, line: &str) -> io::Result<()> {
        if !self.terminal {
            return self.line(line);
        }
        // Automatic wrapping is switched off for the write, so that a narrow terminal cuts the line instead of
        // scrolling; both switches are in one write, so that an interrupt does not leave it off.
        let drawn = format!("\r\x1b[2K\x1b[?7l{line}\x1b[?7h");
        self.live = true;
        self.out.write_all(drawn.as_bytes())?;
        self.out.flush()
    }

    /// A word for people that is no result. That it cannot be said is no reason to fail.
    pub(crate) fn note(&mut self, note: impl fmt::Display) {
        let _ = self.settle();
        let _ = writeln!(self.err, "{note}");
    }

    /// Prints a value of the API as JSON or YAML; `false` if the format is for people and the caller draws it.
    pub(crate) fn value<T: Serialize>(&mut self, format: Format, value: &T) -> Result<bool, Failure> {
        let shown = match format {
            Format::Table | Format::Wide => return Ok(false),
            Format::Json => json(value)?,
            Format::Yaml => yaml(value)?,
        };
        self.line(shown.trim_end())?;
        Ok(true)
    }

    /// Prints a value of the API as JSON on one line, one of a stream of them.
    pub(crate) fn json_line<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let plain = serde_json::to_string(value)?;
        self.line(escape_json(&plain))
    }

    /// Says on stderr why a command failed. `hint` replaces the failure's own.
    pub(crate) fn failure(&mut self, failure: &Failure, hint: Option<String>) {
        if failure.is_silent() {
            return;
        }
        self.note(format_args!("error: {}", text::safe_lines(&failure.message())));
        let hint = hint.unwrap_or_else(|| failure.hint().to_owned());
        if !hint.is_empty() {
            self.note(format_args!("hint: {}", text::safe_lines(&hint)));
        }
    }

    /// Ends a line that was being redrawn.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.live) {
            writeln!(self.out)?;
            self.out.flush()?;
        }
        Ok(())
    }
}

/// Pretty JSON; what JSON would leave raw but a terminal might act on is escaped as JSON escapes.
fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    let plain = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    Ok(escape_json(&plain))
}

pub(crate) fn escape_json(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        // Such characters are only ever within strings; the line ends between values are JSON's own.
        if c != '\n' && text::steers(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    let shown = serde_saphyr::to_string(value).map_err(|error| io::Error::other(error.to_string()))?;
    // The writer escapes controls but not direction marks, and a plain YAML text cannot be escaped afterwards. JSON is
    // YAML too.
    if shown.chars().any(|c| c != '\n' && text::steers(c)) { json(value) } else { Ok(shown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose content can be looked at while the printer has it.
    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_status_is_redrawn_on_a_terminal_and_ended_before_anything_else() {
        let out = Shared::default();
        let mut printer = Printer::new(Box::new(out.clone()), Box::new(io::sink()), true);
        printer.status("one").unwrap();
        printer.status("two").unwrap();
        printer.settle().unwrap();
        printer.settle().unwrap();
        printer.line("done").unwrap();
        let drawn = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(drawn, "\r\x1b[2K\x1b[?7lone\x1b[?7h\r\x1b[2K\x1b[?7ltwo\x1b[?7h\ndone\n");
    }

    #[test]
    fn json_keeps_its_meaning_and_steers_nothing() {
        let value = ["a\u{9b}31m\u{202e}\u{7f}\n"];
        let shown = json(&value).unwrap();
        assert!(!shown.chars().any(|c| c != '\n' && text::steers(c)), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), value);
    }

    #[test]
    fn yaml_keeps_its_meaning_and_steers_nothing() {
        let value = ["a\u{9b}31m\u{202e}\u{7f}\u{1b}[2J".to_owned()];
        let shown = yaml(&value).unwrap();
        assert!(!shown.chars().any(|c| c != '\n' && text::steers(c)), "{shown:?}");
        assert_eq!(serde_saphyr::from_str::<Vec<String>>(&shown).unwrap(), value);
    }
}
