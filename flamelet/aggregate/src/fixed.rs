//! Sums in fixed point: exact, and so the same to the bit in whatever order they are added.
//!
//! An element is multiplied by a power of two that depends on its dtype alone, rounded half to even to an integer, multiplied by
//! an integer weight and added to an `i64`. A bound on every sum is carried along; where one more update could pass 2⁶³, a piece
//! goes on in `i128`, which changes no sum. What could pass 2¹²⁰ is refused before anything is added.

use std::ops::Range;

use flame_model::{Dtype, Element, Model, Tensor, with_element};
use multiversion::multiversion;

use crate::AggregateError;
use crate::kernels::{blank, elements, elements_mut};
use crate::numerics::Numerics;
use crate::parallel::{CHUNK, Pieces, Threads};
use crate::reading::{Reading, Wanted, chunks_of};
use crate::wide::{Summand, with_wide};

/// No sum may reach this.
const MOST: u128 = 1 << 120;

/// Adding it to a number below 2⁵¹ leaves that number's nearest integer in the low bits of the sum.
const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 · 2⁵²

/// Binary digits behind the point. Half of the last one is the most that an element is off by.
pub(crate) const fn digits(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16 => 40,
        Dtype::Float64 => 72,
        Dtype::Int64 | Dtype::Int32 | Dtype::Uint8 => 20,
    }
}

/// A piece of a tensor's sums.
#[derive(Debug)]
struct Chunk {
    sums: Sums,
    /// No sum of the piece is larger.
    bound: u128,
}

#[derive(Debug)]
enum Sums {
    Narrow(Box<[i64]>),
    Wide(Box<[i128]>),
}

/// The sums of a model, whole weights and all.
#[derive(Debug, Default)]
pub(crate) struct FixedSums {
    tensors: Vec<Vec<Chunk>>,
    /// Σ of the weights, and of those whose updates entered as whole models.
    pub(crate) weight: u128,
    pub(crate) whole: u128,
}

impl FixedSums {
    /// Refuses an update of which a sum could pass 2¹²⁰. Reads it once; changes nothing.
    pub(crate) fn check<'a>(
        &self,
        readings: impl Iterator<Item = (Reading<'a>, Option<Wanted>)>,
        weight: u64,
        threads: Threads,
    ) -> Result<(), AggregateError> {
        let readings: Vec<_> = readings.collect();
        let count = readings.iter().map(|(reading, _)| chunks_of(reading.x.len()).count()).sum();
        let mut peaks = vec![0_u128; count];
        let mut pieces = Pieces::default();
        let mut slots = peaks.iter_mut();
        for (reading, wanted) in &readings {
            for range in chunks_of(reading.x.len()) {
                let Some(slot) = slots.next() else { break };
                pieces.push(range.len(), move || {
                    let mut most = 0.0_f64;
                    if is_raw(reading, *wanted) {
                        most = with_element!(reading.x.dtype(), T => peak_of(part::<T>(reading.x, range)));
                    } else {
                        each_block(reading, *wanted, range, |_, numbers| most = most.max(peak_of(numbers)));
                    }
                    *slot = scaled_peak(most, digits(reading.x.dtype()));
                });
            }
        }
        pieces.run(threads);
        let bounds = self.tensors.iter().flatten().map(|chunk| chunk.bound).chain(std::iter::repeat(0));
        for (peak, bound) in peaks.into_iter().zip(bounds) {
            if grown(bound, peak, weight) >= MOST {
                return Err(AggregateError::InvalidArgument(
                    "its values times its weight are too large for `deterministic`, whose sums hold Σ weight·|value| up to 2⁸⁰ \
                     (float64: 2⁴⁸)"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Adds an update that passed `check`, `weight` times.
    pub(crate) fn fold<'a>(
        &mut self,
        readings: impl Iterator<Item = (Reading<'a>, Option<Wanted>)>,
        weight: u64,
        threads: Threads,
    ) {
        let readings: Vec<_> = readings.collect();
        if self.tensors.is_empty() {
            self.tensors = readings.iter().map(|(reading, _)| zeros(reading.x.len())).collect();
        }
        let mut pieces = Pieces::default();
        for (chunks, (reading, wanted)) in self.tensors.iter_mut().zip(&readings) {
            for (chunk, range) in chunks.iter_mut().zip(chunks_of(reading.x.len())) {
                pieces.push(range.len(), move || chunk.fold(reading, *wanted, range, weight));
            }
        }
        pieces.run(threads);
    }

    /// sums / Σ weights + factor · base, rounded once, to a mean's types; lets go of the sums piece by piece. Integers stand
    /// for differences and take no base.
    pub(crate) fn into_mean(self, base: &Model, factor: f64, numerics: Numerics) -> Result<Model, AggregateError> {
        self.into_tensors(base, |base, chunks, weight| {
            let mut out = blank(base.shape(), numerics.wide(base.dtype()))?;
            with_element!(base.dtype(), T => with_wide!(out.dtype(), W => {
                let take = |base: T, mean: f64| {
                    let moved = if T::DTYPE.is_float() { mean + factor * base.to_f64() } else { mean };
                    W::from_f64(moved)
                };
                spread::<T, W>(elements::<T>(base), elements_mut::<W>(&mut out), chunks, weight, numerics.threads, take);
            }));
            Ok(out)
        })
    }

    /// As [`FixedSums::into_mean`], to the base's own types; integers are added to the base.
    pub(crate) fn into_model(self, base: &Model, factor: f64, threads: Threads) -> Result<Model, AggregateError> {
        self.into_tensors(base, |base, chunks, weight| {
            let mut out = blank(base.shape(), base.dtype())?;
            with_element!(base.dtype(), T => {
                let take = |base: T, mean: f64| {
                    if T::DTYPE.is_float() { T::from_f64(mean + factor * base.to_f64()) } else { base.settle(mean) }
                };
                spread::<T, T>(elements::<T>(base), elements_mut::<T>(&mut out), chunks, weight, threads, take);
            });
            Ok(out)
        })
    }

    fn into_tensors(
        self,
        base: &Model,
        each: impl Fn(&Tensor, Vec<Chunk>, f64) -> Result<Tensor, AggregateError>,
    ) -> Result<Model, AggregateError> {
        #[expect(clippy::cast_precision_loss, reason = "rounded alike in any order")]
        let weight = self.weight as f64;
        let tensors = base.iter().zip(self.tensors);
        tensors.map(|((name, base), chunks)| Ok((name, each(base, chunks, weight)?))).collect()
    }
}

/// Writes what `take` makes of base and mean, each chunk's memory let go as soon as it is read.
fn spread<T: Summand, W: Send>(
    base: &[T],
    out: &mut [W],
    chunks: Vec<Chunk>,
    weight: f64,
    threads: Threads,
    take: impl Fn(T, f64) -> W + Sync,
) {
    let divisor = weight * f64::from(digits(T::DTYPE)).exp2();
    let (mut pieces, take) = (Pieces::default(), &take);
    for ((base, out), chunk) in base.chunks(CHUNK).zip(out.chunks_mut(CHUNK)).zip(chunks) {
        pieces.push(out.len(), move || {
            #[expect(clippy::cast_precision_loss, reason = "one rounding of an exact sum")]
            match chunk.sums {
                Sums::Narrow(sums) => {
                    let means = sums.iter().map(|sum| *sum as f64 / divisor);
                    out.iter_mut().zip(base).zip(means).for_each(|((out, base), mean)| *out = take(*base, mean));
                }
                Sums::Wide(sums) => {
                    let means = sums.iter().map(|sum| *sum as f64 / divisor);
                    out.iter_mut().zip(base).zip(means).for_each(|((out, base), mean)| *out = take(*base, mean));
                }
            }
        });
    }
    pieces.run(threads);
}

fn zeros(len: usize) -> Vec<Chunk> {
    let zeros = |range: Range<usize>| Sums::Narrow(vec![0; range.len()].into_boxed_slice());
    chunks_of(len).map(|range| Chunk { sums: zeros(range), bound: 0 }).collect()
}

/// The numbers of a range in blocks; `None` takes the tensor's elements as they are.
fn each_block(
    reading: &Reading<'_>,
    wanted: Option<Wanted>,
    range: Range<usize>,
    each: impl FnMut(Range<usize>, &[f64]),
) {
    let raw = Reading { full: false, shrink: 1.0, ..*reading };
    match wanted {
        None => raw.blocks(Wanted::Delta, range, each),
        Some(wanted) => reading.blocks(wanted, range, each),
    }
}

/// Whether a tensor's elements are folded as they are stored.
#[expect(clippy::float_cmp, reason = "1 is set, not computed, where nothing is clipped")]
fn is_raw(reading: &Reading<'_>, wanted: Option<Wanted>) -> bool {
    wanted.is_none() || (wanted == Some(Wanted::Delta) && !reading.full && reading.shrink == 1.0)
}

fn part<T: Element>(tensor: &Tensor, range: Range<usize>) -> &[T] {
    elements::<T>(tensor).get(range).unwrap_or_default()
}

/// The largest of them without sign, by several maxima side by side.
fn peak_of<T: Element>(numbers: &[T]) -> f64 {
    match T::DTYPE {
        // Exact in f32, which is twice as many at a time.
        Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16 => f64::from(largest(numbers, 0.0, |x| x.to_f32().abs())),
        _ => largest(numbers, 0.0, |x| x.to_f64().abs()),
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn largest<T: Copy, W: Copy + PartialOrd, F: Fn(T) -> W>(numbers: &[T], zero: W, size: F) -> W {
    let larger = |most: W, x: W| if x > most { x } else { most };
    let mut lanes = [zero; 16];
    let (chunks, rest) = numbers.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, size(*x));
        }
    }
    lanes.into_iter().chain(rest.iter().map(|x| size(*x))).fold(zero, larger)
}

/// No element of the block, scaled and rounded, is larger.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; it is not negative")]
fn scaled_peak(peak: f64, digits: i32) -> u128 {
    (peak * f64::from(digits).exp2()).ceil() as u128
}

const fn grown(bound: u128, peak: u128, weight: u64) -> u128 {
    bound.saturating_add(peak.saturating_mul(weight as u128))
}

impl Chunk {
    fn fold(&mut self, reading: &Reading<'_>, wanted: Option<Wanted>, range: Range<usize>, weight: u64) {
        let (before, start, digits) = (self.bound, range.start, digits(reading.x.dtype()));
        let scale = f64::from(digits).exp2();
        if is_raw(reading, wanted)
            && with_element!(reading.x.dtype(), T => self.fold_small(part::<T>(reading.x, range.clone()), scale, weight))
        {
            return;
        }
        each_block(reading, wanted, range, |block, numbers| {
            let peak = scaled_peak(peak_of(numbers), digits);
            let bound = grown(before, peak, weight);
            if bound >= 1 << 63 {
                self.sums.widen();
            }
            self.bound = self.bound.max(bound);
            let at = block.start.saturating_sub(start);
            let place = at..at.saturating_add(numbers.len());
            match &mut self.sums {
                Sums::Narrow(sums) => {
                    let sums = sums.get_mut(place).unwrap_or_default();
                    #[expect(
                        clippy::cast_possible_wrap,
                        clippy::cast_precision_loss,
                        reason = "weights are below 2⁵³: samples, or in units of 2⁻²⁰"
                    )]
                    let (real, weight) = (weight as f64, weight as i64);
                    if peak.saturating_mul(u128::from(weight.unsigned_abs())) < 1 << 51 {
                        add_small(sums, numbers, scale, real);
                    } else {
                        #[expect(clippy::cast_possible_truncation, reason = "below 2⁶³, as the bound says")]
                        sums.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += rounded(*x * scale) as i64 * weight);
                    }
                }
                Sums::Wide(sums) => {
                    let sums = sums.get_mut(place).unwrap_or_default();
                    let weight = i128::from(weight);
                    sums.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += rounded(*x * scale) * weight);
                }
            }
        });
    }
}

impl Chunk {
    /// Folds elements as they are stored in one pass, where they and the sums are small enough; tells whether it did.
    #[expect(clippy::cast_precision_loss, reason = "weights are below 2⁵³: samples, or in units of 2⁻²⁰")]
    fn fold_small<T: Element>(&mut self, numbers: &[T], scale: f64, weight: u64) -> bool {
        let peak = (peak_of(numbers) * scale).ceil();
        let Sums::Narrow(sums) = &mut self.sums else { return false };
        let product = peak * weight as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2⁵¹ and not negative")]
        let bound = if product < 2_f64.powi(51) { self.bound.saturating_add(product as u128) } else { u128::MAX };
        if bound >= 1 << 63 {
            return false;
        }
        self.bound = bound;
        add_small(sums, numbers, scale, weight as f64);
        true
    }
}

impl Sums {
    fn widen(&mut self) {
        if let Self::Narrow(sums) = self {
            *self = Self::Wide(sums.iter().map(|sum| i128::from(*sum)).collect());
        }
    }
}

/// Scaled numbers and their products with the weight are below 2⁵¹: rounded by the adder, half to even, and multiplied exactly.
#[multiversion(targets("x86_64+avx2"))]
#[expect(clippy::cast_possible_wrap, reason = "bits")]
fn add_small<T: Element>(sums: &mut [i64], numbers: &[T], scale: f64, weight: f64) {
    const ZERO: i64 = MAGIC.to_bits() as i64;
    for (sum, x) in sums.iter_mut().zip(numbers) {
        let whole = (x.to_f64() * scale + MAGIC) - MAGIC;
        let product = (whole * weight + MAGIC).to_bits() as i64;
        *sum = sum.wrapping_add(product.wrapping_sub(ZERO));
    }
}

/// The nearest integer, half to even; below 2¹²⁰.
#[expect(clippy::cast_possible_truncation, reason = "whole")]
fn rounded(x: f64) -> i128 {
    if x.abs() < 2_251_799_813_685_248.0 { i128::from((x + MAGIC - MAGIC) as i64) } else { x.round_ties_even() as i128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_rounding_agree_and_go_half_to_even() {
        for (x, whole) in [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (3.2, 3), (-7.9, -8)] {
            let mut sums = [0];
            add_small(&mut sums, &[x], 1.0, 3.0);
            assert_eq!((i128::from(sums[0]), rounded(x)), (3 * whole, whole), "{x}");
        }
        assert_eq!(rounded(2_f64.powi(100)), 1 << 100);
    }

    #[test]
    fn a_piece_that_grows_wide_keeps_its_sums() {
        let small = Tensor::from_f32(&[2], &[1.0, -2.5]).unwrap();
        let large = Tensor::from_f32(&[2], &[1e9, 0.0]).unwrap();
        let reading = Reading::of;
        let mut sums = FixedSums::default();
        let one = Threads(1);
        sums.fold(std::iter::once((reading(&small), None)), 3, one);
        assert!(matches!(sums.tensors[0][0].sums, Sums::Narrow(_)));
        sums.fold(std::iter::once((reading(&large), None)), 1 << 20, one);
        let Sums::Wide(found) = &sums.tensors[0][0].sums else { panic!("still narrow") };
        assert_eq!(found[0], (3 << 40) + (1_000_000_000_i128 << 60));
        assert_eq!(found[1], -(15 << 39));
        let huge = Tensor::from_f32(&[2], &[0.0, 1e35]).unwrap();
        assert!(sums.check(std::iter::once((reading(&huge), None)), 1, one).is_err());
        assert!(sums.check(std::iter::once((reading(&huge), None)), 0, one).is_ok());
    }
}
