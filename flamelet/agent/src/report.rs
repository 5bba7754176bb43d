//! Carries a task's logs, metrics, progress and models to the control plane.
//!
//! Lines and rounds wait in a bounded buffer and go out in batches; a batch that did not arrive is sent again under the
//! same serial, so that it is stored once. Metrics are never dropped; of logs the oldest are, with a count.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flame_api::{AgentReport, Client, ClientError, Code, LogLevel, LogLine, MetricRow, Progress, Secret, Timestamp};
use flame_model::Metric;
use flame_sandbox::{Level, SinkError, TaskSink, Usage};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{TaskAudit, used};
use crate::metrics::TaskMetrics;

/// Lines that wait at the most.
const MAX_LINES: usize = 10_000;
/// Lines in one batch.
const BATCH: usize = 1_000;
/// Batches are at least this far apart, so that chatter becomes few requests.
const GATHER: Duration = Duration::from_millis(50);
/// Pause before something that did not arrive is sent again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a result is tried to be delivered before the task fails for it.
const DELIVER_WITHIN: Duration = Duration::from_mins(5);

/// A client whose token follows the session.
#[derive(Debug, Clone)]
pub(crate) struct AgentClient {
    client: Client,
    token: watch::Receiver<Option<Secret>>,
}

impl AgentClient {
    pub(crate) fn new(client: Client, token: watch::Receiver<Option<Secret>>) -> Self {
        Self { client, token }
    }

    /// Repeats `request` with the newest token until it succeeds, is refused, or the time is over.
    pub(crate) async fn retry<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let give_up = Instant::now() + DELIVER_WITHIN;
        let mut pause = FIRST_PAUSE;
        loop {
            let token = self.token.borrow().clone();
            let client = token.map_or_else(|| self.client.clone(), |token| self.client.with_token(token));
            let error = match request(client).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let passing = match &error {
                ClientError::Unreachable { .. } => true,
                // The session may have been opened anew a moment ago; the next try has its token.
                ClientError::Refused(problem) => {
                    let passing = [Code::Unauthenticated, Code::Unavailable, Code::Internal, Code::TooManyRequests];
                    passing.contains(&problem.code)
                }
                ClientError::Protocol { .. } => false,
            };
            if !passing || Instant::now() > give_up {
                return Err(error);
            }
            tracing::debug!(%error, "the apiserver did not take a request; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The sink of one task under one attempt.
#[derive(Debug)]
pub(crate) struct Reporter {
    client: AgentClient,
    attempt: u32,
    audit: Option<Arc<TaskAudit>>,
    metrics: TaskMetrics,
    buffer: Mutex<Buffer>,
    changed: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: VecDeque<LogLine>,
    dropped: u64,
    metrics: Vec<MetricRow>,
    progress: Option<Progress>,
    /// The rows of the batch that is on its way.
    in_flight: Option<Vec<MetricRow>>,
}

impl Buffer {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.metrics.is_empty() && self.progress.is_none() && self.in_flight.is_none()
    }
}

impl Reporter {
    pub(crate) fn new(client: AgentClient, attempt: u32, audit: Option<Arc<TaskAudit>>, metrics: TaskMetrics) -> Self {
        Self {
            client,
            attempt,
            audit,
            metrics,
            buffer: Mutex::default(),
            changed: Notify::new(),
            drained: Notify::new(),
        }
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends batches until `end` is cancelled. A batch that the server refuses is lost with a warning: there is nothing
    /// to repair in it.
    pub(crate) async fn deliver(&self, end: CancellationToken) {
        let mut serial = 0;
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = end.cancelled() => return,
            }
            while let Some(batch) = self.next_batch(serial + 1) {
                serial += 1;
                let sent = self.client.retry(|client| {
                    let batch = &batch;
                    async move { client.report(batch).await }
                });
                let result = tokio::select! {
                    result = sent => result,
                    () = end.cancelled() => return,
                };
                if let Err(error) = result {
                    tracing::warn!(%error, "the control plane refused a report");
                }
                self.buffer().in_flight = None;
            }
            self.drained.notify_waiters();
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Waits until everything said so far has been delivered, or for `within`.
    pub(crate) async fn drain(&self, within: Duration) {
        let empty = async {
            loop {
                let drained = self.drained.notified();
                tokio::pin!(drained);
                drained.as_mut().enable();
                if self.buffer().is_empty() {
                    return;
                }
                drained.await;
            }
        };
        if tokio::time::timeout(within, empty).await.is_err() {
            tracing::warn!("some logs or metrics of the task could not be delivered");
        }
    }

    fn next_batch(&self, serial: u64) -> Option<AgentReport> {
        let mut buffer = self.buffer();
        if buffer.is_empty() {
            return None;
        }
        let count = buffer.lines.len().min(BATCH);
        let mut logs: Vec<LogLine> = buffer.lines.drain(..count).collect();
        if buffer.dropped > 0 {
            let text = format!("{} older log lines were dropped before they could be sent", buffer.dropped);
            buffer.dropped = 0;
            logs.insert(0, LogLine { timestamp: Timestamp::now(), level: LogLevel::Warn, text });
        }
        let metrics = std::mem::take(&mut buffer.metrics);
        let progress = buffer.progress.take();
        buffer.in_flight = Some(metrics.clone());
        Some(AgentReport { attempt: self.attempt, serial, logs, metrics, progress })
    }
}

#[async_trait]
impl TaskSink for Reporter {
    fn log(&self, level: Level, text: String) {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        tracing::debug!(?level, "guest: {text}");
        let mut buffer = self.buffer();
        if buffer.lines.len() == MAX_LINES {
            buffer.lines.pop_front();
            buffer.dropped += 1;
        }
        buffer.lines.push_back(LogLine { timestamp: Timestamp::now(), level, text });
        self.changed.notify_one();
    }

    fn progress(&self, round: u64, rounds: u64) {
        self.buffer().progress = Some(Progress { round, rounds });
        self.changed.notify_one();
    }

    fn using(&self, usage: &Usage) {
        self.metrics.using(usage);
    }

    fn usage(&self, usage: &Usage) {
        self.metrics.using(usage);
        if let Some(Err(error)) = self.audit.as_ref().map(|audit| audit.note(used(usage))) {
            tracing::error!(%error, "what the task used is not in the audit log");
        }
    }

    async fn metrics(&self, round: u64, values: Vec<Metric>) -> Result<(), SinkError> {
        let values = values.into_iter().map(|metric| (metric.name, metric.value)).collect();
        self.buffer().metrics.push(MetricRow { round, values });
        self.changed.notify_one();
        Ok(())
    }

    fn unstored_metrics(&self) -> Vec<(u64, Vec<Metric>)> {
        let buffer = self.buffer();
        let rows = buffer.in_flight.iter().flatten().chain(&buffer.metrics);
        let row = |row: &MetricRow| {
            let values = row.values.iter().map(|(name, value)| Metric { name: name.clone(), value: *value });
            (row.round, values.collect())
        };
        rows.map(row).collect()
    }

    async fn publish(&self, name: &str, file: Bytes) -> Result<(), SinkError> {
        let sha256 = hex::encode(Sha256::digest(&file));
        let put = self.client.retry(|client| {
            let (file, sha256) = (file.clone(), sha256.clone());
            async move { client.put_model(self.attempt, name, &sha256, file).await }
        });
        put.await.map_err(|error| SinkError(format!("model `{name}` was not stored: {error}")))
    }
}
