//! What an update's tensor says, whatever form it came in: blocks of it as `f64`.
//!
//! A rule asks for δ or for the model that the update places at the round's base; whether the sender sent a whole model or a
//! difference, from which base, and whether its norm was clipped, is settled here once.

use std::ops::Range;

use flame_model::{Model, Tensor, with_element};

use crate::parallel::{CHUNK, Pieces, Threads};
use crate::rule::Update;
use crate::wide::Summand;

/// Elements that are looked at together; as `f64` they fill a quarter of a first-level cache.
pub(crate) const BLOCK: usize = 1024;

/// Independent partial sums: hides the latency of an addition and fixes the order of additions.
const LANES: usize = 8;

/// Which numbers of an update are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// δ, clipped.
    Delta,
    /// w + δ: the whole model itself where it was computed from the round's base and is not clipped.
    Placed,
    /// u − w, where u is the client's own model whatever base it has.
    Moved,
}

/// One tensor of an update and what it relates to, of one shape and dtype.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// The update's tensor.
    pub(crate) x: &'a Tensor,
    /// That of the model it was computed from.
    pub(crate) base: &'a Tensor,
    /// That of the round's base.
    pub(crate) round: &'a Tensor,
    /// Whether `x` is of a whole model rather than a difference.
    pub(crate) full: bool,
    /// Whether `base` is another than the round's.
    pub(crate) own: bool,
    /// What δ is multiplied by.
    pub(crate) shrink: f64,
}

impl Reading<'_> {
    /// Whether `x` is what the update places at the round's base, digit by digit.
    #[expect(clippy::float_cmp, reason = "1 is set, not computed, where nothing is clipped")]
    pub(crate) fn is_placed(&self) -> bool {
        self.full && !self.own && self.shrink == 1.0
    }

    /// Fills `out` with the numbers of a range of the tensor.
    #[expect(clippy::float_cmp, reason = "1 is set, not computed, where nothing is clipped")]
    pub(crate) fn fill(&self, wanted: Wanted, range: Range<usize>, out: &mut [f64]) {
        fn part<T: Summand>(tensor: &Tensor, range: Range<usize>) -> &[T] {
            tensor.as_slice::<T>().and_then(|all| all.get(range)).unwrap_or_default()
        }
        fn run<T: Summand>(reading: &Reading<'_>, wanted: Wanted, range: Range<usize>, out: &mut [f64]) {
            let x = part::<T>(reading.x, range.clone());
            if wanted == Wanted::Placed && reading.is_placed() {
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x.to_f64());
                return;
            }
            let round = part::<T>(reading.round, range.clone());
            if wanted == Wanted::Moved && reading.full && reading.shrink == 1.0 {
                out.iter_mut().zip(x).zip(round).for_each(|((out, x), round)| *out = x.offset(*round));
                return;
            }
            let base = part::<T>(reading.base, range);
            if reading.full {
                out.iter_mut().zip(x).zip(base).for_each(|((out, x), base)| *out = x.offset(*base));
            } else {
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x.to_f64());
            }
            if reading.shrink != 1.0 {
                for out in out.iter_mut() {
                    *out *= reading.shrink;
                }
            }
            match wanted {
                Wanted::Placed => out.iter_mut().zip(round).for_each(|(out, round)| *out += round.to_f64()),
                Wanted::Moved if reading.own => {
                    out.iter_mut().zip(base).zip(round).for_each(|((out, base), round)| *out += base.offset(*round));
                }
                Wanted::Moved | Wanted::Delta => {}
            }
        }
        with_element!(self.x.dtype(), T => run::<T>(self, wanted, range, out));
    }

    /// Calls `each` with the numbers of a range, block by block, and the place of each block.
    pub(crate) fn blocks(&self, wanted: Wanted, range: Range<usize>, mut each: impl FnMut(Range<usize>, &[f64])) {
        let mut buffer = [0.0; BLOCK];
        for start in range.clone().step_by(BLOCK) {
            let block = start..range.end.min(start.saturating_add(BLOCK));
            let Some(numbers) = buffer.get_mut(..block.len()) else { return };
            self.fill(wanted, block.clone(), numbers);
            each(block, numbers);
        }
    }
}

impl<'a> Reading<'a> {
    /// Of a tensor by itself, as it is.
    pub(crate) const fn of(x: &'a Tensor) -> Self {
        Self { x, base: x, round: x, full: false, own: false, shrink: 1.0 }
    }
}

impl<'a> Update<'a> {
    /// Its tensors, in the order of the model.
    pub(crate) fn readings(&self) -> impl Iterator<Item = Reading<'a>> + use<'a> {
        let (own, full, shrink) = (self.base.is_some(), self.is_full(), self.shrink);
        let bases = self.base.unwrap_or(self.round_base);
        self.model
            .iter()
            .zip(bases.iter())
            .zip(self.round_base.iter())
            .map(move |(((_, x), (_, base)), (_, round))| Reading { x, base, round, full, own, shrink })
    }

    /// ‖δ‖₂ over the whole model, clipped as it is, in `f64` and in one fixed order.
    pub(crate) fn norm(&self, threads: Threads) -> f64 {
        sum_over(self.readings(), threads, |reading, range| {
            let mut sum = 0.0;
            reading.blocks(Wanted::Delta, range, |_, delta| sum += dot(delta, delta));
            sum
        })
        .sqrt()
    }
}

impl Update<'_> {
    /// Σ over all parameters of what `each` gives for a block of δ and the same block of another model of these shapes, in `f64`
    /// and in one fixed order.
    pub(crate) fn against(&self, other: &Model, threads: Threads, each: fn(&[f64], &[f64]) -> f64) -> f64 {
        let others: Vec<_> = other.iter().map(|(_, tensor)| Reading::of(tensor)).collect();
        let readings: Vec<_> = self.readings().collect();
        let mut lengths = readings.iter().map(|reading| reading.x.len());
        debug_assert!(others.iter().all(|other| lengths.next() == Some(other.x.len())), "layouts were checked");
        sum_over(readings.into_iter().zip(others), threads, |(reading, other), range| {
            let (mut sum, mut buffer) = (0.0, [0.0; BLOCK]);
            reading.blocks(Wanted::Delta, range, |block, delta| {
                let Some(numbers) = buffer.get_mut(..delta.len()) else { return };
                other.fill(Wanted::Delta, block, numbers);
                sum += each(delta, numbers);
            });
            sum
        })
    }
}

/// What has so many elements.
pub(crate) trait Len {
    fn elements(&self) -> usize;
}

impl Len for Reading<'_> {
    fn elements(&self) -> usize {
        self.x.len()
    }
}

impl Len for (Reading<'_>, Reading<'_>) {
    fn elements(&self) -> usize {
        self.0.x.len()
    }
}

/// Σ of what `each` gives for the pieces of all tensors, added up in their order.
pub(crate) fn sum_over<R: Len + Sync>(
    readings: impl Iterator<Item = R>,
    threads: Threads,
    each: impl Fn(&R, Range<usize>) -> f64 + Sync,
) -> f64 {
    let readings: Vec<_> = readings.collect();
    let chunks = readings.iter().map(|reading| reading.elements().div_ceil(CHUNK)).sum();
    let mut sums = vec![0.0; chunks];
    let mut slots = sums.iter_mut();
    let mut pieces = Pieces::default();
    let each = &each;
    for reading in &readings {
        for range in chunks_of(reading.elements()) {
            let Some(slot) = slots.next() else { break };
            pieces.push(range.len(), move || *slot = each(reading, range));
        }
    }
    pieces.run(threads);
    sums.iter().sum()
}

/// The ranges of the pieces of a tensor.
pub(crate) fn chunks_of(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(CHUNK).map(move |start| start..len.min(start.saturating_add(CHUNK)))
}

/// Σ x·y.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Σ (x − y)².
pub(crate) fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| (x - y) * (x - y)).sum();
    for (x, y) in xs.zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += (x - y) * (x - y);
        }
    }
    lanes.iter().sum::<f64>() + rest
}
