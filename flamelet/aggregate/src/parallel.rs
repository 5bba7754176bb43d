//! Pieces of a loop over a model, run by one thread or several.
//!
//! What a piece computes does not depend on who runs it, and results of pieces are put together in their order: so the
//! number of threads never changes a bit.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Elements of a piece: a quarter of a megabyte of `f32`, which stays in a core's cache when it is read twice.
pub(crate) const CHUNK: usize = 1 << 16;

/// Elements below which one thread does it all: starting another takes as long as a few hundred thousand additions.
const AUTOMATIC: usize = 1 << 20;

/// How many threads a loop may take; 0 leaves it to the size of the model and to the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Threads(pub(crate) usize);

impl Threads {
    fn count(self, elements: usize) -> usize {
        match self.0 {
            0 if elements < AUTOMATIC => 1,
            0 => thread::available_parallelism().map_or(1, usize::from),
            asked => asked,
        }
    }
}

/// Pieces of one loop.
#[derive(Default)]
pub(crate) struct Pieces<'a> {
    pieces: Vec<Box<dyn FnOnce() + Send + 'a>>,
    elements: usize,
}

impl<'a> Pieces<'a> {
    /// One more piece, over so many elements.
    pub(crate) fn push(&mut self, elements: usize, piece: impl FnOnce() + Send + 'a) {
        self.elements = self.elements.saturating_add(elements);
        self.pieces.push(Box::new(piece));
    }

    /// Runs them all. Where a thread cannot be had, the others do its share.
    pub(crate) fn run(self, threads: Threads) {
        let threads = threads.count(self.elements).min(self.pieces.len());
        if threads <= 1 {
            self.pieces.into_iter().for_each(|piece| piece());
            return;
        }
        let queue = Mutex::new(self.pieces.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(piece) = next() {
                piece();
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                let _ = thread::Builder::new().name("aggregate".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_runs_once_on_any_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let mut seen = vec![0_u32; 100];
            let mut pieces = Pieces::default();
            for place in &mut seen {
                pieces.push(AUTOMATIC, move || *place += 1);
            }
            pieces.run(Threads(threads));
            assert!(seen.iter().all(|times| *times == 1), "{threads}");
        }
    }

    #[test]
    fn small_loops_stay_on_one_thread_unless_more_are_asked_for() {
        assert_eq!(Threads(0).count(AUTOMATIC - 1), 1);
        assert_eq!(Threads(3).count(1), 3);
    }
}
