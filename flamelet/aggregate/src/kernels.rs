//! The loops: ndarray views over tensors, one pass each, vectorised by the compiler.

use flame_model::{Dtype, Element, Model, Tensor, with_element};
use ndarray::{ArrayView1, ArrayViewMut1, Zip};

use crate::AggregateError;
use crate::wide::{Summand, Wide, wide_dtype};

fn view<T: Element>(tensor: &Tensor) -> ArrayView1<'_, T> {
    ArrayView1::from(tensor.as_slice::<T>().unwrap_or_default())
}

fn view_mut<T: Element>(tensor: &mut Tensor) -> ArrayViewMut1<'_, T> {
    ArrayViewMut1::from(tensor.as_mut_slice::<T>().unwrap_or_default())
}

/// Zeros of the shapes of `model` in the accumulators' types.
pub(crate) fn wide_zeros(model: &Model) -> Result<Model, AggregateError> {
    model
        .iter()
        .map(|(name, tensor)| {
            let zeros = Tensor::zeros(tensor.shape(), wide_dtype(tensor.dtype())).map_err(AggregateError::Memory)?;
            Ok((name, zeros))
        })
        .collect()
}

/// Whether a rule's state has the base's names and shapes in the accumulators' types.
pub(crate) fn check_wide(state: &Model, base: &Model) -> Result<(), AggregateError> {
    let fits = |((name, state), (base_name, base)): ((&str, &Tensor), (&str, &Tensor))| {
        let same = name == base_name && state.shape() == base.shape() && state.dtype() == wide_dtype(base.dtype());
        (!same).then(|| base_name.to_owned())
    };
    let differs = if state.len() == base.len() {
        state.iter().zip(base.iter()).find_map(fits)
    } else {
        Some(format!("number {} of {}", state.len().min(base.len()) + 1, state.len().max(base.len())))
    };
    match differs {
        None => Ok(()),
        Some(name) => Err(AggregateError::ShapeMismatch {
            what: "the rule's state from earlier rounds".to_owned(),
            difference: format!("tensor {name} differs; a job that changes its model needs a new aggregator"),
        }),
    }
}

/// `mean += rate · ((x + plus − minus) − mean)`: one step of a running mean. All have the length of `x`; `x`, `plus` and
/// `minus` one dtype, `mean` the one that it is accumulated in. Computed in `f64` and rounded to the accumulator once, so
/// that each step adds at most half a unit in the last place to the error.
pub(crate) fn toward(mean: &mut Tensor, rate: f64, x: &Tensor, plus: Option<&Tensor>, minus: Option<&Tensor>) {
    fn step<W: Wide>(mean: &mut W, rate: f64, x: f64) {
        let old = mean.to_f64();
        *mean = W::from_f64(old + rate * (x - old));
    }
    fn run<T: Summand>(mean: &mut Tensor, rate: f64, x: &Tensor, plus: Option<&Tensor>, minus: Option<&Tensor>) {
        let zip = Zip::from(view_mut::<T::Wide>(mean)).and(view::<T>(x));
        match (plus, minus) {
            (None, None) => zip.for_each(|mean, x| step(mean, rate, x.to_f64())),
            (None, Some(minus)) => {
                zip.and(view::<T>(minus)).for_each(|mean, x, minus| step(mean, rate, x.offset(*minus)));
            }
            (Some(plus), None) => {
                zip.and(view::<T>(plus)).for_each(|mean, x, plus| step(mean, rate, x.to_f64() + plus.to_f64()));
            }
            (Some(plus), Some(minus)) => zip
                .and(view::<T>(plus))
                .and(view::<T>(minus))
                .for_each(|mean, x, plus, minus| step(mean, rate, x.to_f64() + plus.offset(*minus))),
        }
    }
    with_element!(x.dtype(), T => run::<T>(mean, rate, x, plus, minus));
}

/// `wide += factor · base`, computed in `f64`.
pub(crate) fn add_scaled(wide: &mut Tensor, factor: f64, base: &Tensor) {
    fn run<T: Summand>(wide: &mut Tensor, factor: f64, base: &Tensor) {
        Zip::from(view_mut::<T::Wide>(wide))
            .and(view::<T>(base))
            .for_each(|wide, base| *wide = T::Wide::from_f64(wide.to_f64() + factor * base.to_f64()));
    }
    with_element!(base.dtype(), T => run::<T>(wide, factor, base));
}

/// `base + step` for integers, in a new tensor.
pub(crate) fn settle_integers(base: &Tensor, step: &Tensor) -> Tensor {
    fn run<T: Summand>(out: &mut Tensor, step: &Tensor) {
        Zip::from(view_mut::<T>(out)).and(view::<T::Wide>(step)).for_each(|out, step| *out = out.settle(*step));
    }
    let mut out = base.clone();
    with_element!(base.dtype(), T => run::<T>(&mut out, step));
    out
}

/// The values in `dtype`, rounded half to even; the very same storage where it is that already.
pub(crate) fn narrow(wide: Tensor, dtype: Dtype) -> Result<Tensor, AggregateError> {
    fn run<T: Summand>(out: &mut Tensor, wide: &Tensor) {
        Zip::from(view_mut::<T>(out)).and(view::<T::Wide>(wide)).for_each(|out, wide| *out = T::narrow(*wide));
    }
    if wide.dtype() == dtype {
        return Ok(wide);
    }
    let mut out = Tensor::zeros(wide.shape(), dtype).map_err(AggregateError::Memory)?;
    with_element!(dtype, T => run::<T>(&mut out, &wide));
    Ok(out)
}

/// A server step with one state per parameter.
pub(crate) trait Step1 {
    /// From the mean update `d` to the step, in place, carrying `v` on.
    fn apply<W: Wide>(&self, d: &mut W, v: &mut W);
}

/// A server step with two states per parameter.
pub(crate) trait Step2 {
    /// From the mean update `d` to the step, in place, carrying `m` and `v` on.
    fn apply<W: Wide>(&self, d: &mut W, m: &mut W, v: &mut W);
}

/// Runs a step over all parameters of accumulator-typed models of one layout.
pub(crate) fn step1(d: &mut Model, v: &mut Model, step: &impl Step1) {
    fn run<W: Wide>(d: &mut Tensor, v: &mut Tensor, step: &impl Step1) {
        Zip::from(view_mut::<W>(d)).and(view_mut::<W>(v)).for_each(|d, v| step.apply(d, v));
    }
    for ((_, d), (_, v)) in d.iter_mut().zip(v.iter_mut()) {
        if d.dtype() == Dtype::Float32 { run::<f32>(d, v, step) } else { run::<f64>(d, v, step) }
    }
}

/// Runs a step over all parameters of accumulator-typed models of one layout.
pub(crate) fn step2(d: &mut Model, m: &mut Model, v: &mut Model, step: &impl Step2) {
    fn run<W: Wide>(d: &mut Tensor, m: &mut Tensor, v: &mut Tensor, step: &impl Step2) {
        Zip::from(view_mut::<W>(d)).and(view_mut::<W>(m)).and(view_mut::<W>(v)).for_each(|d, m, v| step.apply(d, m, v));
    }
    for (((_, d), (_, m)), (_, v)) in d.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()) {
        if d.dtype() == Dtype::Float32 { run::<f32>(d, m, v, step) } else { run::<f64>(d, m, v, step) }
    }
}
