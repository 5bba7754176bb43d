//! What fuzz tests share: dice, mutations, a time budget, and an allocator that counts what a thread holds.
#![allow(
    unsafe_code,
    dead_code,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a counting allocator can be written in no other way; each test binary uses what it needs"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count per thread. A test binary makes it its `#[global_allocator]`.
pub(crate) struct Counting;

fn taken(bytes: usize) {
    let held = HELD.get().saturating_add(bytes);
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

fn given(bytes: usize) {
    HELD.set(HELD.get().saturating_sub(bytes));
}

// SAFETY: every call goes on to the system's allocator as it came; the counters are plain cells that allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promise for this very call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promise for this very call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        given(layout.size());
        // SAFETY: the caller's promise for this very call.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it is moved both are there.
        taken(size);
        given(layout.size());
        // SAFETY: the caller's promise for this very call.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Bytes that this thread has taken and not given back.
pub(crate) fn held() -> usize {
    HELD.get()
}

/// The most that this thread held more than before while `run` ran.
pub(crate) fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = run();
    (result, PEAK.get() - before)
}

/// SplitMix64: small and seeded, so that a failure is found again by its number.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    /// A number that decoders stumble over: near an end of a range, near the length of what it stands in, or any.
    pub(crate) fn number(&mut self, len: usize) -> u64 {
        let base = match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from(u32::MAX),
            3 => 1 << self.below(64),
            4 => len as u64,
            5 => i64::MAX as u64,
            6 => self.below(300) as u64,
            _ => self.roll(),
        };
        base.wrapping_add(self.below(5) as u64).wrapping_sub(2)
    }
}

/// Bends bytes in one to four places: bits, numbers of every width, pieces cut out, doubled, moved in from elsewhere.
pub(crate) fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let some = 1 + dice.below(64);
        let end = (at + some).min(bytes.len());
        match dice.below(9) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2..=4 => {
                let width = [1, 2, 4, 8][dice.below(4)];
                let number = dice.number(bytes.len()).to_le_bytes();
                for (to, from) in bytes.iter_mut().skip(at).zip(&number[..width]) {
                    *to = *from;
                }
            }
            5 => bytes.truncate(at),
            6 => drop(bytes.drain(at..end)),
            7 => {
                let copy = bytes[at..end].to_vec();
                let to = dice.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let from = dice.below(other.len());
                let piece = &other[from..(from + some).min(other.len())];
                let to = dice.below(bytes.len());
                let until = (to + piece.len()).min(bytes.len());
                bytes.splice(to..until, piece.iter().copied());
            }
        }
    }
}

/// Until when to fuzz: `FLAME_FUZZ_SECONDS` from now, 2 unless told.
pub(crate) fn until() -> Instant {
    let seconds = std::env::var("FLAME_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    Instant::now() + Duration::from_secs_f64(seconds)
}

/// What to begin with: `FLAME_FUZZ_SEED`, or another one each time.
pub(crate) fn seed() -> u64 {
    let fresh = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let seed = std::env::var("FLAME_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(fresh);
    println!("FLAME_FUZZ_SEED={seed}");
    seed
}
