//! How far updates are from one another, and Krum's scores.
//!
//! Distances are sums of squared differences in `f64`, block by block of coordinates: ‖x‖² + ‖y‖² − 2x·y would lose every digit of
//! a small distance between large models.

use std::ops::Range;

use crate::parallel::{Pieces, Threads};
use crate::reading::{Reading, Wanted, squared_distance};
use crate::rule::Update;

/// Coordinates that all pairs look at together.
const BLOCK: usize = 256;

/// Elements of a piece: each has sums for all pairs.
const PIECE: usize = 1 << 18;

/// Squared distances between all pairs.
#[derive(Debug, Clone)]
pub(crate) struct Distances {
    count: usize,
    squares: Vec<f64>,
}

impl Distances {
    /// ‖uᵢ − uⱼ‖² of all pairs.
    pub(crate) fn of(updates: &[Update<'_>], threads: Threads) -> Self {
        let count = updates.len();
        let pairs = count.saturating_mul(count.saturating_sub(1)) / 2;
        // Differences of differences need no base.
        let wanted = if updates.iter().any(Update::is_full) { Wanted::Placed } else { Wanted::Delta };
        let tensors = updates.first().map_or(0, |update| update.model.len());
        let mut readings: Vec<Vec<Reading<'_>>> = vec![Vec::with_capacity(count); tensors];
        for update in updates {
            readings.iter_mut().zip(update.readings()).for_each(|(all, reading)| all.push(reading));
        }
        let ranges = |len: usize| (0..len).step_by(PIECE).map(move |start| start..len.min(start.saturating_add(PIECE)));
        let len = |all: &[Reading<'_>]| all.first().map_or(0, |reading| reading.x.len());
        let parts = readings.iter().map(|all| ranges(len(all)).count()).sum();
        let mut sums = vec![vec![0.0; pairs]; parts];
        let (mut slots, mut pieces) = (sums.iter_mut(), Pieces::default());
        for all in &readings {
            for range in ranges(len(all)) {
                let Some(slot) = slots.next() else { break };
                pieces.push(range.len().saturating_mul(count), move || add_pairs(all, wanted, &range, slot));
            }
        }
        pieces.run(threads);
        let mut totals = vec![0.0; pairs];
        for sum in sums {
            totals.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
        }
        let mut squares = vec![0.0; count.saturating_mul(count)];
        for ((i, j), total) in pairs_of(count).zip(totals) {
            for at in [i.saturating_mul(count).saturating_add(j), j.saturating_mul(count).saturating_add(i)] {
                if let Some(square) = squares.get_mut(at) {
                    *square = total;
                }
            }
        }
        Self { count, squares }
    }

    /// The squared distances of one update to all, itself included.
    pub(crate) fn row(&self, of: usize) -> &[f64] {
        self.squares.chunks(self.count.max(1)).nth(of).unwrap_or_default()
    }

    /// Krum's score of each of some updates among these: Σ of the squared distances to its `alive − malicious − 2` (at least 1)
    /// nearest others.
    pub(crate) fn scores(&self, alive: &[usize], malicious: usize) -> Vec<f64> {
        let closest = alive.len().saturating_sub(malicious.saturating_add(2)).max(1);
        let score = |of: usize| {
            let row = self.row(of);
            let others = alive.iter().filter(|other| **other != of);
            let mut distances: Vec<f64> = others.filter_map(|other| row.get(*other).copied()).collect();
            distances.sort_unstable_by(f64::total_cmp);
            distances.iter().take(closest).sum()
        };
        alive.iter().map(|of| score(*of)).collect()
    }

    /// The update of the lowest score among these; of several the first.
    pub(crate) fn best(&self, alive: &[usize], malicious: usize) -> Option<usize> {
        let scores = self.scores(alive, malicious);
        alive.iter().zip(scores).min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(best, _)| *best)
    }
}

fn pairs_of(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |i| (i.saturating_add(1)..count).map(move |j| (i, j)))
}

fn add_pairs(all: &[Reading<'_>], wanted: Wanted, range: &Range<usize>, sums: &mut [f64]) {
    let mut rows = vec![0.0; all.len().saturating_mul(BLOCK)];
    for start in range.clone().step_by(BLOCK) {
        let block = start..range.end.min(start.saturating_add(BLOCK));
        for (row, reading) in rows.chunks_exact_mut(BLOCK).zip(all) {
            reading.fill(wanted, block.clone(), row.get_mut(..block.len()).unwrap_or_default());
        }
        let row = |i: usize| {
            let start = i.saturating_mul(BLOCK);
            rows.get(start..start.saturating_add(block.len())).unwrap_or_default()
        };
        for (sum, (i, j)) in sums.iter_mut().zip(pairs_of(all.len())) {
            *sum += squared_distance(row(i), row(j));
        }
    }
}
