//! Where a task's words and results go.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use flame_model::Metric;

use crate::Usage;

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the usual five")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Why a result could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// Takes what a task says and makes. Implemented by the agent, and by tests.
#[async_trait]
pub trait TaskSink: Send + Sync + fmt::Debug {
    /// A line of the guest, or of the host about it; control characters are escaped already. Must not block.
    fn log(&self, level: Level, text: String);

    /// Rounds done, of how many. Must not block.
    fn progress(&self, round: u64, rounds: u64);

    /// A round's measurements, finite values only. Ok once they are kept so that they will reach the job's results.
    async fn metrics(&self, round: u64, values: Vec<Metric>) -> Result<(), SinkError>;

    /// Measurements that were taken and have not reached the job's results yet, by round: a checkpoint keeps them. Must
    /// not block.
    fn unstored_metrics(&self) -> Vec<(u64, Vec<Metric>)> {
        Vec::new()
    }

    /// A model, as a safetensors file, as a result of the job. Ok once it is stored.
    async fn publish(&self, name: &str, file: Bytes) -> Result<(), SinkError>;

    /// What the task has used so far, about once a second while its guest computes. Must not block.
    fn using(&self, usage: &Usage) {
        let _ = usage;
    }

    /// What the task used, once, when it has ended. Must not block.
    fn usage(&self, usage: &Usage) {
        let _ = usage;
    }
}
