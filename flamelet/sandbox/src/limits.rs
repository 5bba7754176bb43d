//! What a task may use at the most.

use std::time::Duration;

use wasmtime::ResourceLimiter;

const MIB: u64 = 1 << 20;

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
    /// Wall time of the whole task, waits included. Default 24 h.
    pub wall_time: Duration,
    /// Time from the stop of a job until a guest that did not return is ended. Default 5 s.
    pub stop_grace: Duration,
    /// Log lines per second in the long run; ten times as many in a burst. The rest is counted and dropped. Default 200.
    pub log_lines_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 1024 * MIB,
            table_elements: 100_000,
            handles: 10_000,
            tensor_bytes: 4096 * MIB,
            call_bytes: 128 << 20,
            wall_time: Duration::from_hours(24),
            stop_grace: Duration::from_secs(5),
            log_lines_per_second: 200,
        }
    }
}

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
}

impl ResourceLimiter for StoreLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.memory_limit {
            self.refused = Some(format!(
                "the guest asked for {} MiB of memory and its grant has {} MiB (resources.memory in the job)",
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
            self.refused =
                Some(format!("the guest asked for {total} table elements and its grant has {}", self.table_limit));
            return Ok(false);
        }
        self.tables = total;
        Ok(true)
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
