//! What a task may use at the most.

use std::time::Duration;

use wasmtime::ResourceLimiter;

const MIB: u64 = 1 << 20;
/// Linear memories, tables and core instances of one store. A component of a Rust program has one memory and a few of the
/// others; an empty memory costs no bytes of the grant and still reserves 4 GiB of the process's addresses, which end.
const MAX_MEMORIES: usize = 64;
const MAX_TABLES: usize = 256;
const MAX_INSTANCES: usize = 1_000;

/// Upper bounds for one task. The defaults are far above what an honest trainer of a model of some hundred megabytes
/// needs, and far below what would hurt the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Guest memory in bytes, summed over all linear memories of the store. Default 1 GiB.
    pub memory: u64,
    /// Table elements, summed over all tables. Default 100,000.
    pub table_elements: usize,
    /// Live resource handles of the guest. Default 10,000.
    pub handles: usize,
    /// Bytes of tensors on the host that the guest holds, received ones included. Default 4 GiB.
    pub tensor_bytes: u64,
    /// Bytes that one host call may carry across the boundary. Default 128 MiB, as wasmtime's.
    pub call_bytes: usize,
    /// CPU time of the guest's thread. Defaults: 10 min between two host calls, 2 h a round, 24 h in all.
    pub cpu: Times,
    /// Wall time, waits included. Defaults: 20 min between two host calls, 12 h a round, 24 h in all.
    pub wall: Times,
    /// Time from the stop of a job until a guest that did not return is ended. Default 5 s.
    pub stop_grace: Duration,
    /// Log lines per second in the long run; ten times as many in a burst. The rest is counted and dropped. Default 200.
    pub log_lines_per_second: u32,
    /// Records of metrics per second in the long run; ten times as many in a burst. What is above is refused. Default 50.
    pub metrics_per_second: u32,
    /// Bytes of models published as results of the job, in all. Default 16 GiB.
    pub artifact_bytes: u64,
    /// Bytes that a task keeps over its restarts. Default 4 GiB.
    pub checkpoint_bytes: u64,
    /// Messages that wait in the outbox of a channel. Default 256.
    pub queued_messages: usize,
}

/// Bounds of a time, by what it is measured over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Between two host calls: how long a guest may go without asking the host for anything.
    pub call: Duration,
    /// Between two bases that the host received, or before the first.
    pub round: Duration,
    /// The whole task.
    pub task: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 1024 * MIB,
            table_elements: 100_000,
            handles: 10_000,
            tensor_bytes: 4096 * MIB,
            call_bytes: 128 << 20,
            cpu: Times {
                call: Duration::from_mins(10),
                round: Duration::from_hours(2),
                task: Duration::from_hours(24),
            },
            wall: Times {
                call: Duration::from_mins(20),
                round: Duration::from_hours(12),
                task: Duration::from_hours(24),
            },
            stop_grace: Duration::from_secs(5),
            log_lines_per_second: 200,
            metrics_per_second: 50,
            artifact_bytes: 16 << 30,
            checkpoint_bytes: 4096 * MIB,
            queued_messages: 256,
        }
    }
}

/// Ends a guest, with the limit, the need and the knob.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OverLimit(pub(crate) String);

/// Counts what a store's memories and tables take together: wasmtime's own limits count each memory by itself.
#[derive(Debug)]
pub(crate) struct StoreLimiter {
    memory_limit: u64,
    memory: u64,
    table_limit: usize,
    tables: usize,
    /// What was refused last, for the reason of a trap that follows from it.
    pub(crate) refused: Option<String>,
}

impl StoreLimiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_limit: limits.memory, memory: 0, table_limit: limits.table_elements, tables: 0, refused: None }
    }

    /// Bytes of all memories, which never shrink.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Elements of all tables, which never shrink.
    pub(crate) fn table_elements(&self) -> usize {
        self.tables
    }
}

impl ResourceLimiter for StoreLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.memory_limit {
            self.refused = Some(format!(
                "the guest asked for {} MiB of memory and its grant has {} MiB (resources.memory in the job, limits.memory in policy.toml)",
                total.div_ceil(MIB),
                self.memory_limit / MIB
            ));
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.tables.saturating_add(desired.saturating_sub(current));
        if total > self.table_limit {
            self.refused = Some(format!(
                "the guest asked for {total} table elements and its grant has {} (limits.table-elements in policy.toml)",
                self.table_limit
            ));
            return Ok(false);
        }
        self.tables = total;
        Ok(true)
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_memories_share_one_limit() {
        let limits = Limits { memory: 3 * MIB, ..Limits::default() };
        let mut limiter = StoreLimiter::new(&limits);
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!limiter.memory_growing(1 << 20, 3 << 20, None).unwrap());
        assert!(limiter.refused.as_deref().is_some_and(|text| text.contains("4 MiB")));
        assert!(limiter.memory_growing(1 << 20, 2 << 20, None).unwrap());
    }
}
