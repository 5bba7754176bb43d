//! The guest's words: `telemetry.log`, and what it prints.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::rate::Rate;
use crate::{Level, TaskSink, printable};

/// Longest line of printed text before it is cut into several.
const MAX_LINE: usize = 4_096;
/// Passes lines on to the sink at a bounded rate, and remembers the last error for the reason of a trap.
#[derive(Debug)]
pub(crate) struct GuestLog {
    sink: Arc<dyn TaskSink>,
    /// The guest's words stay on this machine, in the flamelet's own log.
    stays: bool,
    inner: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    rate: Rate,
    /// Since the last line that passed.
    dropped: u64,
    /// In all.
    lost: u64,
    last_error: Option<String>,
}

impl GuestLog {
    pub(crate) fn new(sink: Arc<dyn TaskSink>, lines_per_second: u32, stays: bool) -> Self {
        let lines = Lines { rate: Rate::new(lines_per_second), dropped: 0, lost: 0, last_error: None };
        Self { sink, stays, inner: Mutex::new(lines) }
    }

    /// A line of the guest.
    pub(crate) fn line(&self, level: Level, text: &str) {
        let text = printable(text);
        let mut lines = self.lines();
        if level == Level::Error {
            lines.last_error = Some(text.clone());
        }
        if !lines.rate.take() {
            lines.dropped += 1;
            lines.lost += 1;
            return;
        }
        let dropped = std::mem::take(&mut lines.dropped);
        drop(lines);
        if dropped > 0 {
            self.host(
                Level::Warn,
                format!(
                    "{dropped} log lines were dropped: the guest logs faster than its grant (limits.log-lines in policy.toml)"
                ),
            );
        }
        if self.stays {
            tracing::info!(?level, text, "the guest's log, which stays here (egress.logs)");
        } else {
            self.sink.log(level, text);
        }
    }

    /// A line of the host about the guest.
    pub(crate) fn host(&self, level: Level, text: String) {
        self.sink.log(level, text);
    }

    /// Whether the guest's words stay here.
    pub(crate) fn stays(&self) -> bool {
        self.stays
    }

    /// Lines above the rate.
    pub(crate) fn lost(&self) -> u64 {
        self.lines().lost
    }

    /// The last line of level error: the SDK's panic hook writes one before the trap.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.lines().last_error.clone()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stdout or stderr of a guest, line by line into its log.
#[derive(Clone)]
pub(crate) struct PrintedLines {
    log: Arc<GuestLog>,
    level: Level,
    partial: Arc<Mutex<Vec<u8>>>,
}

impl PrintedLines {
    pub(crate) fn new(log: Arc<GuestLog>, level: Level) -> Self {
        Self { log, level, partial: Arc::default() }
    }

    fn push(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in bytes {
            if *byte != b'\n' {
                partial.push(*byte);
            }
            if *byte == b'\n' || partial.len() >= MAX_LINE {
                self.log.line(self.level, &String::from_utf8_lossy(&partial));
                partial.clear();
            }
        }
    }
}

impl IsTerminal for PrintedLines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for PrintedLines {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Guests of WASI 0.2 write through `p2_stream`; nothing of 0.3 is linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for PrintedLines {
    async fn ready(&mut self) {}
}

impl OutputStream for PrintedLines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE * 4)
    }
}
