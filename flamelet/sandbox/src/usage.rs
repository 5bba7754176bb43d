//! What a task uses.

use std::time::Duration;

/// What a task has used of its limits and let out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Most guest memory at a time, in bytes.
    pub memory: u64,
    /// Most table elements at a time.
    pub table_elements: usize,
    /// Most bytes of tensors on the host at a time.
    pub tensor_bytes: u64,
    /// Most live handles at a time.
    pub handles: usize,
    /// CPU time of the guest's thread.
    pub cpu: Duration,
    /// Wall time.
    pub wall: Duration,
    /// Bases received.
    pub rounds: u64,
    /// Bytes of models that left.
    pub weights_out: u64,
    /// Bytes of metrics that left.
    pub metrics_out: u64,
    /// Bytes of bodies and kinds that left.
    pub body_out: u64,
    /// Bytes of published models.
    pub artifact_bytes: u64,
    /// Log lines above the rate.
    pub log_lines_dropped: u64,
    /// Records of metrics above the rate.
    pub metrics_refused: u64,
}
