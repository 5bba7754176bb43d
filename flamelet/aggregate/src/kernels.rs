//! The loops: ndarray views over pieces of tensors, one pass each, vectorised by the compiler.

use std::ops::Range;

use flame_model::{Dtype, Element, Model, SharedBufferMut, Tensor, with_element};
use multiversion::multiversion;
use ndarray::{ArrayView1, ArrayViewMut1, Zip};

use crate::AggregateError;
use crate::numerics::Numerics;
use crate::parallel::{CHUNK, Pieces, Threads};
use crate::reading::{Reading, Wanted};
use crate::wide::{Summand, Wide, with_wide};

pub(crate) fn elements<T: Element>(tensor: &Tensor) -> &[T] {
    tensor.as_slice::<T>().unwrap_or_default()
}

pub(crate) fn elements_mut<T: Element>(tensor: &mut Tensor) -> &mut [T] {
    tensor.as_mut_slice::<T>().unwrap_or_default()
}

fn part<T: Element>(tensor: &Tensor, range: Range<usize>) -> &[T] {
    elements::<T>(tensor).get(range).unwrap_or_default()
}

/// A tensor that the caller writes, all of it, before anybody reads it.
pub(crate) fn blank(shape: &[u64], dtype: Dtype) -> Result<Tensor, AggregateError> {
    let bytes = shape.iter().try_fold(dtype.size(), |size, extent| size.checked_mul(usize::try_from(*extent).ok()?));
    let buffer = SharedBufferMut::for_overwrite(bytes.unwrap_or(usize::MAX)).map_err(AggregateError::Memory)?;
    Tensor::from_buffer(shape, dtype, buffer.freeze()).map_err(AggregateError::Memory)
}

/// Tensors of the shapes of `model` in the accumulators' types, to be written.
pub(crate) fn wide_blank(model: &Model, numerics: Numerics) -> Result<Model, AggregateError> {
    model.iter().map(|(name, tensor)| Ok((name, blank(tensor.shape(), numerics.wide(tensor.dtype()))?))).collect()
}

/// Zeros of the shapes of `model` in the accumulators' types.
pub(crate) fn wide_zeros(model: &Model, numerics: Numerics) -> Result<Model, AggregateError> {
    let zeros = |tensor: &Tensor| Tensor::zeros(tensor.shape(), numerics.wide(tensor.dtype()));
    model.iter().map(|(name, tensor)| Ok((name, zeros(tensor).map_err(AggregateError::Memory)?))).collect()
}

/// Whether a rule's state has the base's names and shapes in the accumulators' types.
pub(crate) fn check_wide(state: &Model, base: &Model, numerics: Numerics) -> Result<(), AggregateError> {
    let fits = |((name, state), (base_name, base)): ((&str, &Tensor), (&str, &Tensor))| {
        let same = name == base_name && state.shape() == base.shape() && state.dtype() == numerics.wide(base.dtype());
        (!same).then(|| base_name.to_owned())
    };
    let differs = if state.len() == base.len() {
        state.iter().zip(base.iter()).find_map(fits)
    } else {
        Some(format!("number {} of {}", state.len().min(base.len()) + 1, state.len().max(base.len())))
    };
    match differs {
        None => Ok(()),
        Some(tensor) => Err(AggregateError::ShapeMismatch {
            what: "the rule's state".to_owned(),
            difference: format!("tensor {tensor:?} is of another layout, or of a job with another `accumulate`"),
        }),
    }
}

/// Runs a loop with the widest vectors that this processor has: a build for all of x86-64 knows of two doubles at a time. Each
/// element is computed as ever, so the results are the same, bit for bit.
#[multiversion(targets("x86_64+avx2"))]
fn widest<F: FnOnce()>(run: F) {
    run();
}

/// How an update enters a running mean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fold {
    /// `mean += rate · (x − mean)`, computed in `f64` and rounded once.
    pub(crate) rate: f64,
    /// The first one: `mean = rate · x`, whatever was there.
    pub(crate) first: bool,
}

/// Folds tensors into means; `None` takes a tensor's elements as they are.
pub(crate) fn fold<'a>(
    mean: &mut Model,
    readings: impl Iterator<Item = (Reading<'a>, Option<Wanted>)>,
    how: Fold,
    threads: Threads,
) {
    let mut pieces = Pieces::default();
    for ((_, mean), (reading, wanted)) in mean.iter_mut().zip(readings) {
        with_wide!(mean.dtype(), W => {
            for (i, mean) in elements_mut::<W>(mean).chunks_mut(CHUNK).enumerate() {
                let start = i.saturating_mul(CHUNK);
                let range = start..start.saturating_add(mean.len());
                pieces.push(mean.len(), move || fold_piece::<W>(mean, &reading, wanted, range, how));
            }
        });
    }
    pieces.run(threads);
}

fn fold_piece<W: Wide>(mean: &mut [W], reading: &Reading<'_>, wanted: Option<Wanted>, range: Range<usize>, how: Fold) {
    /// Takes numbers that `number` makes of elements in.
    fn run<T: Element, W: Wide>(mean: &mut [W], x: &[T], how: Fold, number: impl Fn(T) -> f64) {
        let zip = Zip::from(ArrayViewMut1::from(mean)).and(ArrayView1::from(x));
        widest(|| {
            if how.first {
                zip.for_each(|mean, x| *mean = W::from_f64(how.rate * number(*x)));
            } else {
                zip.for_each(|mean, x| step(mean, how.rate, number(*x)));
            }
        });
    }
    fn difference<T: Summand, W: Wide>(mean: &mut [W], x: &[T], base: &[T], how: Fold, shrink: f64) {
        let zip = Zip::from(ArrayViewMut1::from(mean)).and(ArrayView1::from(x)).and(ArrayView1::from(base));
        widest(|| {
            if how.first {
                zip.for_each(|mean, x, base| *mean = W::from_f64(how.rate * (shrink * x.offset(*base))));
            } else {
                zip.for_each(|mean, x, base| step(mean, how.rate, shrink * x.offset(*base)));
            }
        });
    }
    let shrink = reading.shrink;
    with_element!(reading.x.dtype(), T => match wanted {
        None => run::<T, W>(mean, part(reading.x, range), how, T::to_f64),
        Some(Wanted::Delta) if reading.full => {
            difference::<T, W>(mean, part(reading.x, range.clone()), part(reading.base, range), how, shrink);
        }
        Some(Wanted::Delta) => run::<T, W>(mean, part(reading.x, range), how, |x| shrink * x.to_f64()),
        Some(wanted) => {
            let start = range.start;
            reading.blocks(wanted, range, |block, numbers| {
                let at = block.start.saturating_sub(start);
                let mean = mean.get_mut(at..at.saturating_add(numbers.len())).unwrap_or_default();
                run::<f64, W>(mean, numbers, how, std::convert::identity);
            });
        }
    });
}

fn step<W: Wide>(mean: &mut W, rate: f64, x: f64) {
    let old = mean.to_f64();
    *mean = W::from_f64(old + rate * (x - old));
}

/// `wide += x`, of each tensor what the reading's δ is, computed in `f64`.
pub(crate) fn accumulate<'a>(wide: &mut Model, readings: impl Iterator<Item = Reading<'a>>, threads: Threads) {
    let mut pieces = Pieces::default();
    for ((_, wide), reading) in wide.iter_mut().zip(readings) {
        with_wide!(wide.dtype(), W => for (i, wide) in elements_mut::<W>(wide).chunks_mut(CHUNK).enumerate() {
            let start = i.saturating_mul(CHUNK);
            pieces.push(wide.len(), move || {
                reading.blocks(Wanted::Delta, start..start.saturating_add(wide.len()), |block, numbers| {
                    let at = block.start.saturating_sub(start);
                    let wide = wide.get_mut(at..at.saturating_add(numbers.len())).unwrap_or_default();
                    wide.iter_mut().zip(numbers).for_each(|(wide, x)| *wide = W::from_f64(wide.to_f64() + x));
                });
            });
        });
    }
    pieces.run(threads);
}

/// What [`settle`] makes of one tensor.
struct Settled<'a> {
    name: String,
    base: &'a Tensor,
    step: Tensor,
    /// Where the result is of another type than the step.
    out: Option<Tensor>,
}

/// `factor · base + step` for floats, `base + step` for integers, in the base's dtypes, rounded once. A step of the base's type
/// gives its storage to the result.
pub(crate) fn settle(base: &Model, step: Model, factor: f64, threads: Threads) -> Result<Model, AggregateError> {
    let mut settled = Vec::with_capacity(base.len());
    for ((_, base), (name, step)) in base.iter().zip(step) {
        let out = if step.dtype() == base.dtype() { None } else { Some(blank(base.shape(), base.dtype())?) };
        settled.push(Settled { name, base, step, out });
    }
    let mut pieces = Pieces::default();
    for Settled { base, step, out, .. } in &mut settled {
        match out {
            None if factor == 0.0 => {}
            None => with_wide!(step.dtype(), W => settle_in_place::<W>(&mut pieces, base, step, factor)),
            Some(out) => with_element!(base.dtype(), T => with_wide!(step.dtype(), W => {
                settle_into::<T, W>(&mut pieces, base, step, out, factor);
            })),
        }
    }
    pieces.run(threads);
    let finished = |Settled { name, base, step, out }: Settled<'_>| {
        let tensor = out.unwrap_or(step);
        // A mean of finite numbers in f32 lies between them. In f64 their differences may overflow.
        let between = factor == 0.0 && base.dtype().is_float() && base.dtype() != Dtype::Float64;
        (name, if between { tensor.known_finite() } else { tensor })
    };
    Ok(settled.into_iter().map(finished).collect())
}

fn settle_in_place<'a, W: Wide>(pieces: &mut Pieces<'a>, base: &'a Tensor, step: &'a mut Tensor, factor: f64) {
    for (step, base) in elements_mut::<W>(step).chunks_mut(CHUNK).zip(elements::<W>(base).chunks(CHUNK)) {
        pieces.push(step.len(), move || {
            Zip::from(ArrayViewMut1::from(step))
                .and(ArrayView1::from(base))
                .for_each(|step, base| *step = W::from_f64(step.to_f64() + factor * base.to_f64()));
        });
    }
}

fn settle_into<'a, T: Summand, W: Wide>(
    pieces: &mut Pieces<'a>,
    base: &'a Tensor,
    step: &'a Tensor,
    out: &'a mut Tensor,
    factor: f64,
) {
    let parts = elements::<T>(base).chunks(CHUNK).zip(elements::<W>(step).chunks(CHUNK));
    for (out, (base, step)) in elements_mut::<T>(out).chunks_mut(CHUNK).zip(parts) {
        pieces.push(out.len(), move || {
            let zip = Zip::from(ArrayViewMut1::from(out)).and(ArrayView1::from(base)).and(ArrayView1::from(step));
            if T::DTYPE.is_float() {
                zip.for_each(|out, base, step| *out = T::from_f64(step.to_f64() + factor * base.to_f64()));
            } else {
                zip.for_each(|out, base, step| *out = base.settle(step.to_f64()));
            }
        });
    }
}

/// `wide += factor · base` over the tensors of floats, computed in `f64`.
pub(crate) fn add_base(wide: &mut Model, factor: f64, base: &Model, threads: Threads) {
    let mut pieces = Pieces::default();
    for ((_, wide), (_, base)) in wide.iter_mut().zip(base.iter()).filter(|(_, (_, base))| base.dtype().is_float()) {
        with_wide!(wide.dtype(), W => with_element!(base.dtype(), T => {
            for (wide, base) in elements_mut::<W>(wide).chunks_mut(CHUNK).zip(elements::<T>(base).chunks(CHUNK)) {
                pieces.push(wide.len(), move || {
                    Zip::from(ArrayViewMut1::from(wide))
                        .and(ArrayView1::from(base))
                        .for_each(|wide, base| *wide = W::from_f64(wide.to_f64() + factor * base.to_f64()));
                });
            }
        }));
    }
    pieces.run(threads);
}

/// `wide ×= factor`, computed in `f64`.
pub(crate) fn scale(wide: &mut Model, factor: f64, threads: Threads) {
    let mut pieces = Pieces::default();
    for (_, wide) in wide.iter_mut() {
        with_wide!(wide.dtype(), W => for wide in elements_mut::<W>(wide).chunks_mut(CHUNK) {
            pieces.push(wide.len(), move || {
                ArrayViewMut1::from(wide).map_inplace(|wide| *wide = W::from_f64(factor * wide.to_f64()));
            });
        });
    }
    pieces.run(threads);
}

/// A server step with one state per parameter.
pub(crate) trait Step1: Sync {
    /// From the mean update `d` to the step, in place, carrying `v` on.
    fn apply<W: Wide>(&self, d: &mut W, v: &mut W);
}

/// A server step with two states per parameter.
pub(crate) trait Step2: Sync {
    /// From the mean update `d` to the step, in place, carrying `m` and `v` on.
    fn apply<W: Wide>(&self, d: &mut W, m: &mut W, v: &mut W);
}

/// Runs a step over all parameters of accumulator-typed models of one layout.
pub(crate) fn step1(d: &mut Model, v: &mut Model, step: &impl Step1, threads: Threads) {
    let mut pieces = Pieces::default();
    for ((_, d), (_, v)) in d.iter_mut().zip(v.iter_mut()) {
        with_wide!(d.dtype(), W => {
            for (d, v) in elements_mut::<W>(d).chunks_mut(CHUNK).zip(elements_mut::<W>(v).chunks_mut(CHUNK)) {
                pieces.push(d.len(), move || {
                    let zip = Zip::from(ArrayViewMut1::from(d)).and(ArrayViewMut1::from(v));
                    zip.for_each(|d, v| step.apply(d, v));
                });
            }
        });
    }
    pieces.run(threads);
}

/// Runs a step over all parameters of accumulator-typed models of one layout.
pub(crate) fn step2(d: &mut Model, m: &mut Model, v: &mut Model, step: &impl Step2, threads: Threads) {
    let mut pieces = Pieces::default();
    for (((_, d), (_, m)), (_, v)) in d.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()) {
        with_wide!(d.dtype(), W => {
            let states = elements_mut::<W>(m).chunks_mut(CHUNK).zip(elements_mut::<W>(v).chunks_mut(CHUNK));
            for (d, (m, v)) in elements_mut::<W>(d).chunks_mut(CHUNK).zip(states) {
                pieces.push(d.len(), move || {
                    let zip = Zip::from(ArrayViewMut1::from(d)).and(ArrayViewMut1::from(m)).and(ArrayViewMut1::from(v));
                    zip.for_each(|d, m, v| step.apply(d, m, v));
                });
            }
        });
    }
    pieces.run(threads);
}

/// The model, if finite. The answer stays with its tensors: whoever asks next does not read them again.
pub(crate) fn finite(what: &str, model: Model, threads: Threads) -> Result<Model, AggregateError> {
    check_finite(what, &model, threads)?;
    Ok(model)
}

/// Refuses a model with NaN or infinity, by the name of its first tensor that has one.
pub(crate) fn check_finite(what: &str, model: &Model, threads: Threads) -> Result<(), AggregateError> {
    let mut pieces = Pieces::default();
    for (_, tensor) in model.iter() {
        pieces.push(tensor.len(), || {
            tensor.all_finite();
        });
    }
    pieces.run(threads);
    match model.first_not_finite() {
        None => Ok(()),
        Some(tensor) => Err(AggregateError::NotFinite { what: what.to_owned(), tensor: tensor.to_owned() }),
    }
}
