//! The clocks and the randomness that a guest sees.
//!
//! Clocks are coarse, a millisecond, so that they tell a guest little of the machine and of its neighbours: timing a cache
//! takes a clock a thousand times finer. A deterministic task sees logical clocks and a stream of random numbers that
//! follow from its seed alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// Finest step of any clock.
const STEP: Duration = Duration::from_millis(1);
const STEP_NANOS: u64 = 1_000_000;
/// What the wall clock of every deterministic task shows: the first second of 2000, UTC.
const DETERMINISTIC_EPOCH: Duration = Duration::from_hours(262_968);

/// Real time, cut to whole steps.
struct Coarse(Instant);

impl HostWallClock for Coarse {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

impl HostMonotonicClock for Coarse {
    fn resolution(&self) -> u64 {
        STEP_NANOS
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_mul(STEP_NANOS)
    }
}

/// A wall clock that stands, and a monotonic one that goes on by one step whenever somebody looks.
struct Logical(AtomicU64);

impl HostWallClock for Logical {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        DETERMINISTIC_EPOCH
    }
}

impl HostMonotonicClock for Logical {
    fn resolution(&self) -> u64 {
        STEP_NANOS
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(STEP_NANOS, Ordering::Relaxed)
    }
}

/// Coarse clocks; randomness stays the machine's.
pub(crate) fn coarse(wasi: &mut WasiCtxBuilder) {
    let now = Instant::now();
    wasi.wall_clock(Coarse(now)).monotonic_clock(Coarse(now));
}

/// Clocks and randomness that follow from `seed`.
pub(crate) fn deterministic(wasi: &mut WasiCtxBuilder, seed: u64) {
    wasi.wall_clock(Logical(AtomicU64::new(0))).monotonic_clock(Logical(AtomicU64::new(0)));
    wasi.secure_random(stream(seed, "random")).insecure_random(stream(seed, "insecure"));
    wasi.insecure_random_seed(u128::from(seed));
}

fn stream(seed: u64, purpose: &str) -> ChaCha20Rng {
    let hash = Sha256::new().chain_update(b"flame:").chain_update(purpose).chain_update(seed.to_le_bytes());
    ChaCha20Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng;

    use super::*;

    #[test]
    fn real_clocks_show_whole_milliseconds() {
        let coarse = Coarse(Instant::now());
        assert_eq!(HostMonotonicClock::now(&coarse) % STEP_NANOS, 0);
        assert_eq!(HostWallClock::now(&coarse).subsec_nanos() % 1_000_000, 0);
    }

    #[test]
    fn logical_time_goes_on_by_looking_and_streams_follow_from_the_seed() {
        let logical = Logical(AtomicU64::new(0));
        let looks: Vec<u64> = (0..3).map(|_| HostMonotonicClock::now(&logical)).collect();
        assert_eq!(looks, [0, 1_000_000, 2_000_000]);
        assert_eq!(stream(7, "a").next_u64(), stream(7, "a").next_u64());
        assert_ne!(stream(7, "a").next_u64(), stream(8, "a").next_u64());
        assert_ne!(stream(7, "a").next_u64(), stream(7, "b").next_u64());
    }
}
