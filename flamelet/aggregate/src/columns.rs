//! Rules that look at one coordinate of all updates at a time, block by block of coordinates.
//!
//! A block of every update is brought into the cache as a row; then whole rows are compared with one another. No column of
//! clients is ever gathered, but where there are more of them than a network is good for.

use std::cmp::Ordering;
use std::ops::Range;

use flame_model::{Element, Model, with_element};

use crate::AggregateError;
use crate::kernels::{blank, elements_mut};
use crate::network::{self, Comparator};
use crate::parallel::{CHUNK, Pieces, Threads};
use crate::reading::{BLOCK, Reading, Wanted};
use crate::rule::Update;
use crate::wide::Summand;

/// Most rows for a network; beyond, selecting in each column costs less.
const MOST_ROWS: usize = 64;

/// Elements of all rows of a block: they stay in the nearest caches, and rows are long enough for memory to be read ahead.
const BLOCK_ELEMENTS: usize = 1 << 14;

/// What a coordinate of the new model is made of.
#[derive(Debug, Clone)]
pub(crate) enum Pick {
    /// The plain mean of these places of the sorted column.
    Sorted(Range<usize>),
    /// The plain mean of so many values nearest to the column's median.
    NearestMedian(usize),
}

/// The places of the median of `count` values.
pub(crate) const fn median(count: usize) -> Range<usize> {
    count.saturating_sub(1) / 2..count / 2 + 1
}

/// What values of a column are compared as.
pub(crate) trait Value: Copy + PartialOrd + Default + Send + Sync {
    /// Fills a row with what an update places at the base.
    fn fill<T: Cell<Value = Self>>(reading: &Reading<'_>, range: Range<usize>, row: &mut [Self]);
    /// Their mean, rounded once.
    fn mean<T: Cell<Value = Self>>(values: impl ExactSizeIterator<Item = Self> + Clone) -> T;
    /// As a float.
    fn real(self) -> f64;
    /// How far apart.
    fn distance(self, other: Self) -> f64;
    /// Half way.
    fn between(self, other: Self) -> Self;
}

/// A stored element and what it is compared as.
pub(crate) trait Cell: Summand {
    type Value: Value;
    fn value(self) -> Self::Value;
    fn exact(value: Self::Value) -> Self;
    fn from_real(value: f64) -> Self::Value;
}

macro_rules! cell {
    ($($t:ty: $v:ty, $value:expr, $exact:expr);*) => {$(
        impl Cell for $t {
            type Value = $v;
            fn value(self) -> $v {
                $value(self)
            }
            fn exact(value: $v) -> Self {
                $exact(value)
            }
            fn from_real(value: f64) -> $v {
                <$v as Element>::from_f64(value)
            }
        }
    )*};
}

cell!(
    f32: f32, std::convert::identity, std::convert::identity;
    f64: f64, std::convert::identity, std::convert::identity;
    half::f16: f32, f32::from, half::f16::from_f32;
    half::bf16: f32, f32::from, half::bf16::from_f32;
    i64: i64, std::convert::identity, std::convert::identity;
    i32: i64, i64::from, saturating;
    u8: i64, i64::from, saturating
);

fn saturating<T: TryFrom<i64> + num::Bounded>(value: i64) -> T {
    T::try_from(value).unwrap_or(if value < 0 { T::LEAST } else { T::MOST })
}

/// The ends of the narrow integers.
mod num {
    pub(super) trait Bounded {
        const LEAST: Self;
        const MOST: Self;
    }
    impl Bounded for i32 {
        const LEAST: Self = Self::MIN;
        const MOST: Self = Self::MAX;
    }
    impl Bounded for u8 {
        const LEAST: Self = Self::MIN;
        const MOST: Self = Self::MAX;
    }
}

/// A row of placed values: straight from the tensor where they are there, else by way of `f64`.
fn fill_row<T: Cell>(
    reading: &Reading<'_>,
    range: Range<usize>,
    row: &mut [T::Value],
    mut convert: impl FnMut(f64, usize) -> T::Value,
    wanted: Wanted,
) {
    if reading.is_placed() {
        let x = reading.x.as_slice::<T>().and_then(|all| all.get(range)).unwrap_or_default();
        row.iter_mut().zip(x).for_each(|(row, x)| *row = x.value());
        return;
    }
    let start = range.start;
    reading.blocks(wanted, range, |block, numbers| {
        let at = block.start.saturating_sub(start);
        let row = row.get_mut(at..at.saturating_add(numbers.len())).unwrap_or_default();
        for (i, (row, number)) in row.iter_mut().zip(numbers).enumerate() {
            *row = convert(*number, block.start.saturating_add(i));
        }
    });
}

macro_rules! float_value {
    ($t:ty) => {
        impl Value for $t {
            fn fill<T: Cell<Value = Self>>(reading: &Reading<'_>, range: Range<usize>, row: &mut [Self]) {
                fill_row::<T>(reading, range, row, |number, _| T::from_real(number), Wanted::Placed);
            }
            #[expect(clippy::cast_precision_loss, reason = "a number of updates")]
            fn mean<T: Cell<Value = Self>>(values: impl ExactSizeIterator<Item = Self> + Clone) -> T {
                let count = values.len() as f64;
                T::from_f64(values.map(Element::to_f64).sum::<f64>() / count)
            }
            fn real(self) -> f64 {
                self.to_f64()
            }
            fn distance(self, other: Self) -> f64 {
                (self.to_f64() - other.to_f64()).abs()
            }
            fn between(self, other: Self) -> Self {
                Self::from_f64(self.to_f64() / 2.0 + other.to_f64() / 2.0)
            }
        }
    };
}

float_value!(f32);
float_value!(f64);

impl Value for i64 {
    /// Integers are compared exactly: δ is added to the base in whole numbers.
    fn fill<T: Cell<Value = Self>>(reading: &Reading<'_>, range: Range<usize>, row: &mut [Self]) {
        let round = reading.round.as_slice::<T>().unwrap_or_default();
        let place = |delta: f64, at: usize| round.get(at).map(|base| T::value(base.settle(delta))).unwrap_or_default();
        fill_row::<T>(reading, range, row, place, Wanted::Delta);
    }
    fn mean<T: Cell<Value = Self>>(values: impl ExactSizeIterator<Item = Self> + Clone) -> T {
        let count = i128::try_from(values.len()).unwrap_or(i128::MAX).max(1);
        let sum: i128 = values.map(i128::from).sum();
        let (whole, rest) = (sum.div_euclid(count), sum.rem_euclid(count));
        let up = match (rest * 2).cmp(&count) {
            Ordering::Greater => true,
            Ordering::Equal => whole & 1 == 1,
            Ordering::Less => false,
        };
        // A mean of i64 is one.
        T::exact(i64::try_from(whole + i128::from(up)).unwrap_or(i64::MAX))
    }
    fn real(self) -> f64 {
        self.to_f64()
    }
    #[expect(clippy::cast_precision_loss, reason = "ties beyond 2⁵³ may go either way")]
    fn distance(self, other: Self) -> f64 {
        self.abs_diff(other) as f64
    }
    fn between(self, other: Self) -> Self {
        let sum = i128::from(self) + i128::from(other);
        i64::try_from(sum.div_euclid(2)).unwrap_or(self)
    }
}

/// The new model, coordinate by coordinate.
pub(crate) fn columns(
    base: &Model,
    updates: &[Update<'_>],
    pick: &Pick,
    threads: Threads,
) -> Result<Model, AggregateError> {
    let mut outs = Vec::with_capacity(base.len());
    for (name, base) in base.iter() {
        outs.push((name, blank(base.shape(), base.dtype())?));
    }
    let mut readings: Vec<Vec<Reading<'_>>> = vec![Vec::with_capacity(updates.len()); base.len()];
    for update in updates {
        readings.iter_mut().zip(update.readings()).for_each(|(all, reading)| all.push(reading));
    }
    let rows = updates.len();
    let wanted = if let Pick::Sorted(places) = pick { places.clone() } else { 0..rows };
    let network = if rows <= MOST_ROWS { network::network(rows, wanted) } else { Vec::new() };
    let mut pieces = Pieces::default();
    for ((_, out), readings) in outs.iter_mut().zip(&readings) {
        let network = &network;
        with_element!(out.dtype(), T => for (i, out) in elements_mut::<T>(out).chunks_mut(CHUNK).enumerate() {
            let start = i.saturating_mul(CHUNK);
            pieces.push(out.len().saturating_mul(rows), move || piece::<T>(readings, start, out, network, pick));
        });
    }
    pieces.run(threads);
    Ok(outs.into_iter().collect())
}

fn piece<T: Cell>(readings: &[Reading<'_>], start: usize, out: &mut [T], network: &[Comparator], pick: &Pick) {
    let rows = readings.len();
    let width = (BLOCK_ELEMENTS / rows.max(1)).next_power_of_two().clamp(64, BLOCK);
    let mut scratch = vec![T::Value::default(); rows.saturating_mul(width)];
    let mut column = Vec::with_capacity(rows);
    for (i, out) in out.chunks_mut(width).enumerate() {
        let first = start.saturating_add(i.saturating_mul(width));
        for (row, reading) in scratch.chunks_exact_mut(width).zip(readings) {
            let row = row.get_mut(..out.len()).unwrap_or_default();
            T::Value::fill::<T>(reading, first..first.saturating_add(out.len()), row);
        }
        if rows <= MOST_ROWS {
            network::run(network, &mut scratch, width);
            match pick {
                Pick::Sorted(places) => mean_of_rows(&scratch, width, places, out),
                Pick::NearestMedian(count) => {
                    for (at, out) in out.iter_mut().enumerate() {
                        gather(&mut column, &scratch, width, at);
                        *out = nearest(&column, *count);
                    }
                }
            }
        } else {
            for (at, out) in out.iter_mut().enumerate() {
                gather(&mut column, &scratch, width, at);
                *out = select(&mut column, pick);
            }
        }
    }
}

/// The means of rows of sorted columns.
fn mean_of_rows<T: Cell>(scratch: &[T::Value], width: usize, places: &Range<usize>, out: &mut [T]) {
    let rows = || scratch.chunks_exact(width).skip(places.start).take(places.len());
    if places.len() == 1 {
        let row = rows().next().unwrap_or_default();
        out.iter_mut().zip(row).for_each(|(out, value)| *out = T::exact(*value));
    } else if T::DTYPE.is_float() {
        let mut sums = [0.0; BLOCK];
        for row in rows() {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.real());
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of updates")]
        let count = places.len() as f64;
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::from_f64(sum / count));
    } else {
        for (at, out) in out.iter_mut().enumerate() {
            let column = scratch.get(places.start.saturating_mul(width).saturating_add(at)..).unwrap_or_default();
            *out = T::Value::mean(column.iter().step_by(width).take(places.len()).copied());
        }
    }
}

fn gather<V: Copy>(column: &mut Vec<V>, scratch: &[V], width: usize, at: usize) {
    column.clear();
    column.extend(scratch.chunks_exact(width).filter_map(|row| row.get(at)));
}

pub(crate) fn order<V: PartialOrd>(a: &V, b: &V) -> Ordering {
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

/// Of an unsorted column.
fn select<T: Cell>(column: &mut [T::Value], pick: &Pick) -> T {
    match pick {
        Pick::Sorted(places) => {
            let last = places.end.saturating_sub(1).min(column.len().saturating_sub(1));
            let (below, _, _) = column.select_nth_unstable_by(last, order);
            if places.start > 0 && places.start < below.len() {
                below.select_nth_unstable_by(places.start, order);
            }
            T::Value::mean(column.get(places.start..=last).unwrap_or_default().iter().copied())
        }
        Pick::NearestMedian(count) => {
            column.sort_unstable_by(order);
            nearest(column, *count)
        }
    }
}

/// The mean of the `count` values of a sorted column that are nearest to its median; of two as near the lower.
fn nearest<T: Cell>(column: &[T::Value], count: usize) -> T {
    let middle = median(column.len());
    let (low, high) = (column.get(middle.start), column.get(middle.end.saturating_sub(1)));
    let centre = low.zip(high).map_or_else(T::Value::default, |(low, high)| low.between(*high));
    T::Value::mean(nearest_to(column, centre, count).iter().copied())
}

/// The `count` values of a sorted column that are nearest to a centre.
pub(crate) fn nearest_to<V: Value>(column: &[V], centre: V, count: usize) -> &[V] {
    let mut window = 0..column.len();
    while window.len() > count {
        let (Some(low), Some(high)) = (column.get(window.start), column.get(window.end.saturating_sub(1))) else {
            break;
        };
        if low.distance(centre) > high.distance(centre) {
            window.start = window.start.saturating_add(1);
        } else {
            window.end = window.end.saturating_sub(1);
        }
    }
    column.get(window).unwrap_or_default()
}
