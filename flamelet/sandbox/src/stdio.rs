//! The guest's words: `telemetry.log`, and what it prints.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::{Level, TaskSink, printable};

/// Longest line of printed text before it is cut into several.
const MAX_LINE: usize = 4_096;
/// Lines in a burst, as a multiple of the rate.
const BURST: u32 = 10;

/// Passes lines on to the sink at a bounded rate, and remembers the last error for the reason of a trap.
#[derive(Debug)]
pub(crate) struct GuestLog {
    sink: Arc<dyn TaskSink>,
    rate: f64,
    inner: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    dropped: u64,
    last_error: Option<String>,
}

impl GuestLog {
    pub(crate) fn new(sink: Arc<dyn TaskSink>, lines_per_second: u32) -> Self {
        let bucket = Bucket {
            tokens: f64::from(lines_per_second.saturating_mul(BURST)),
            filled: Instant::now(),
            dropped: 0,
            last_error: None,
        };
        Self { sink, rate: f64::from(lines_per_second), inner: Mutex::new(bucket) }
    }

    pub(crate) fn line(&self, level: Level, text: &str) {
        let text = printable(text);
        let mut bucket = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if level == Level::Error {
            bucket.last_error = Some(text.clone());
        }
        let now = Instant::now();
        let earned = now.duration_since(bucket.filled).as_secs_f64() * self.rate;
        bucket.tokens = (bucket.tokens + earned).min(self.rate * f64::from(BURST));
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            bucket.dropped += 1;
            return;
        }
        bucket.tokens -= 1.0;
        let dropped = std::mem::take(&mut bucket.dropped);
        drop(bucket);
        if dropped > 0 {
            self.sink
                .log(Level::Warn, format!("{dropped} log lines were dropped: the guest logs faster than its grant"));
        }
        self.sink.log(level, text);
    }

    /// The last line of level error: the SDK's panic hook writes one before the trap.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).last_error.clone()
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
