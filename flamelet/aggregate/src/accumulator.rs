//! One model's worth of memory that any number of updates is folded into.
//!
//! A weighted *running mean* rather than a sum: it cannot overflow with large weights, a single update and a constant client
//! come out exact, and scaling all weights changes nothing. In `f32` the error after K updates is within K·2⁻²⁴ of the
//! largest value that was averaged: each update is folded in `f64` and rounded once.

use flame_model::{Form, Model};

use crate::kernels;
use crate::rule::Update;
use crate::{AggregateError, kernels::wide_zeros};

/// What is averaged when full models come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SumOf {
    /// The models themselves: nothing but the update is read, and an average of equal models is that model.
    #[default]
    Models,
    /// Their differences from the base: keeps the digits of small updates, for rules that divide by them.
    Deltas,
}

/// The running mean of a round. Rules own one and say with which weight an update enters.
#[derive(Debug, Default)]
pub struct Accumulator {
    /// In the accumulators' dtypes.
    mean: Model,
    sum_of: SumOf,
    /// Σ of the weights.
    weight: f64,
    /// The part of it whose updates entered as whole models.
    whole: f64,
}

impl Accumulator {
    /// An empty mean of the base's layout.
    pub fn new(base: &Model, sum_of: SumOf) -> Result<Self, AggregateError> {
        Ok(Self { mean: wide_zeros(base)?, sum_of, weight: 0.0, whole: 0.0 })
    }

    /// Σ of the weights so far.
    pub const fn weight(&self) -> f64 {
        self.weight
    }

    /// Folds δ of an update in (or, where it does the same for less, the model), with a weight above 0.
    pub fn fold(&mut self, update: &Update<'_>, weight: f64) {
        let full = update.about.form != Form::Delta;
        let whole = full && self.sum_of == SumOf::Models && update.base.is_none();
        self.weight += weight;
        if whole {
            self.whole += weight;
        }
        let rate = weight / self.weight;
        let base = update.base.unwrap_or(update.round_base);
        for (((_, mean), (_, x)), (_, base)) in self.mean.iter_mut().zip(update.model.iter()).zip(base.iter()) {
            // Integers are always averaged as differences: these are exact.
            let minus = (full && !(whole && x.dtype().is_float())).then_some(base);
            kernels::toward(mean, rate, x, None, minus);
        }
    }

    /// Folds any model of the base's layout in, as it is, with a weight above 0: for second models such as control variates.
    pub fn fold_model(&mut self, model: &Model, weight: f64) {
        self.weight += weight;
        let rate = weight / self.weight;
        for ((_, mean), (_, x)) in self.mean.iter_mut().zip(model.iter()) {
            kernels::toward(mean, rate, x, None, None);
        }
    }

    /// Moves by `share` of the way towards the client's model, whatever base that has: for asynchronous mixing. The mean is
    /// kept as the distance from the round's base.
    pub fn mix(&mut self, update: &Update<'_>, share: f64) {
        self.weight += 1.0;
        let full = update.about.form != Form::Delta;
        let bases = update.base.unwrap_or(update.round_base).iter();
        let own_base = update.base.is_some();
        let tensors = self.mean.iter_mut().zip(update.model.iter()).zip(bases).zip(update.round_base.iter());
        for ((((_, mean), (_, x)), (_, base)), (_, round)) in tensors {
            let (plus, minus) = match (full, own_base) {
                (true, _) => (None, Some(round)),
                (false, true) => (Some(base), Some(round)),
                (false, false) => (None, None),
            };
            kernels::toward(mean, share, x, plus, minus);
        }
    }

    /// Takes the mean of the δ, in the accumulators' dtypes. Refused when the finite updates' mean is not finite.
    pub fn take_delta(&mut self, base: &Model) -> Result<Model, AggregateError> {
        let Self { mut mean, weight, whole, .. } = std::mem::take(self);
        if whole > 0.0 {
            for ((_, mean), (_, base)) in mean.iter_mut().zip(base.iter()).filter(|(_, (_, b))| b.dtype().is_float()) {
                kernels::add_scaled(mean, -(whole / weight), base);
            }
        }
        finite("the mean of the updates", mean)
    }

    /// Takes base + the mean of the δ, in the base's dtypes. Refused when it is not finite.
    pub fn take_model(&mut self, base: &Model) -> Result<Model, AggregateError> {
        let Self { mean, weight, whole, .. } = std::mem::take(self);
        let factor = if weight > 0.0 { 1.0 - whole / weight } else { 1.0 };
        finish(base, mean, factor)
    }
}

/// base + step, in the base's dtypes; `step` is in the accumulators' and gives its storage to the result where it can.
/// Refused when it is not finite.
pub(crate) fn settle(base: &Model, step: Model) -> Result<Model, AggregateError> {
    finish(base, step, 1.0)
}

/// `factor · base + step` for floats; `base + step` for integers.
fn finish(base: &Model, mut step: Model, factor: f64) -> Result<Model, AggregateError> {
    let mut result = Model::new();
    for ((name, base), (_, step)) in base.iter().zip(step.iter_mut()) {
        let settled = if base.dtype().is_float() {
            if factor != 0.0 {
                kernels::add_scaled(step, factor, base);
            }
            kernels::narrow(step.clone(), base.dtype())?
        } else {
            kernels::settle_integers(base, step)
        };
        result.insert(name, settled);
    }
    // The handles in `step` must go: the result is the sole owner of its storage then.
    drop(step);
    finite("the new model", result)
}

/// The model, if finite. The answer stays with its tensors: whoever asks next does not read them again.
fn finite(what: &str, model: Model) -> Result<Model, AggregateError> {
    match model.first_not_finite() {
        None => Ok(model),
        Some(tensor) => Err(AggregateError::NotFinite { what: what.to_owned(), tensor: tensor.to_owned() }),
    }
}
