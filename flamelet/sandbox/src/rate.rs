//! So many in a second, and a burst of ten times as many.

use std::time::Instant;

/// What may come at once, as a multiple of the rate.
const BURST: f64 = 10.0;

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second * BURST, filled: Instant::now() }
    }

    /// Whether one more is within the rate; if so, it is counted.
    pub(crate) fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.per_second * BURST);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let mut rate = Rate::new(5);
        assert!((0..50).all(|_| rate.take()));
        assert!((0..1_000).filter(|_| rate.take()).count() < 100);
        assert!(!Rate::new(0).take());
    }
}
