//! One model's worth of memory that any number of updates is folded into.
//!
//! A weighted *running mean* rather than a sum: it cannot overflow with large weights, a single update and a constant client
//! come out exact, and scaling all weights changes nothing. In `f32` the error after K updates is within K·2⁻²⁴ of the
//! largest value that was averaged: each update is folded in `f64` and rounded once. With `deterministic`, exact sums in
//! fixed point take its place (see `fixed`).

use flame_model::Model;

use crate::fixed::FixedSums;
use crate::kernels::{self, Fold};
use crate::numerics::Numerics;
use crate::reading::{Reading, Wanted};
use crate::rule::Update;
use crate::{AggregateError, kernels::wide_blank};

/// One in the fixed-point weights of [`Weights::Real`].
const UNIT: f64 = 1_048_576.0; // 2²⁰

/// What is averaged when full models come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SumOf {
    /// The models themselves: nothing but the update is read, and an average of equal models is that model.
    #[default]
    Models,
    /// Their differences from the base: keeps the digits of small updates, for rules that divide by them.
    Deltas,
}

/// What weights are, for sums in fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Weights {
    /// Whole numbers such as samples: exact.
    #[default]
    Whole,
    /// Any numbers above 0: rounded to multiples of 2⁻²⁰, at least one.
    Real,
}

/// The running mean of a round. Rules own one and say with which weight an update enters.
#[derive(Debug, Default)]
pub(crate) struct Accumulator {
    numerics: Numerics,
    sum_of: SumOf,
    weights: Weights,
    /// In the accumulators' dtypes; not written before the first update.
    mean: Model,
    /// In place of it with `deterministic`.
    fixed: FixedSums,
    /// Σ of the weights.
    weight: f64,
    /// The part of it whose updates entered as whole models.
    whole: f64,
}

impl Accumulator {
    pub(crate) fn new(numerics: Numerics, sum_of: SumOf, weights: Weights) -> Self {
        Self { numerics, sum_of, weights, ..Self::default() }
    }

    /// Forgets what was folded in, and takes the memory for a mean of the base's layout.
    pub(crate) fn begin(&mut self, base: &Model) -> Result<(), AggregateError> {
        self.clear();
        if !self.numerics.deterministic {
            self.mean = wide_blank(base, self.numerics)?;
        }
        Ok(())
    }

    fn clear(&mut self) {
        *self = Self::new(self.numerics, self.sum_of, self.weights);
    }

    /// Σ of the weights so far.
    pub(crate) const fn weight(&self) -> f64 {
        self.weight
    }

    /// Refuses what the sums have no room for. Free where they are no fixed-point sums.
    pub(crate) fn check(&self, update: &Update<'_>, weight: f64) -> Result<(), AggregateError> {
        if !self.numerics.deterministic {
            return Ok(());
        }
        let readings = self.entering(update);
        let checked = self.fixed.check(readings, self.fixed_weight(weight), self.numerics.threads);
        checked.map_err(|error| AggregateError::InvalidArgument(format!("{}: {error}", update.about.source)))
    }

    /// As [`Accumulator::check`], for [`Accumulator::fold_model`].
    pub(crate) fn check_model(&self, model: &Model, source: &str, weight: f64) -> Result<(), AggregateError> {
        if !self.numerics.deterministic {
            return Ok(());
        }
        let checked = self.fixed.check(as_it_is(model), self.fixed_weight(weight), self.numerics.threads);
        checked.map_err(|error| AggregateError::InvalidArgument(format!("{source}: {error}")))
    }

    /// Folds δ of an update in (or, where it does the same for less, the model), with a weight above 0.
    pub(crate) fn fold(&mut self, update: &Update<'_>, weight: f64) {
        let whole = self.enters_whole(update);
        let readings: Vec<_> = self.entering(update).collect();
        self.add(readings.into_iter(), weight, whole);
    }

    /// Folds any model of the base's layout in, as it is, with a weight above 0: for second models such as control variates.
    pub(crate) fn fold_model(&mut self, model: &Model, weight: f64) {
        self.add(as_it_is(model), weight, false);
    }

    /// Moves by `share` of the way towards the client's model, whatever base that has: for asynchronous mixing. The mean is
    /// kept as the distance from the round's base, which is where it starts.
    pub(crate) fn mix(&mut self, update: &Update<'_>, share: f64) {
        let first = self.weight <= 0.0;
        self.weight += 1.0;
        let threads = self.numerics.threads;
        let readings = update.readings().map(|reading| (reading, Some(Wanted::Moved)));
        kernels::fold(&mut self.mean, readings, Fold { rate: share, first }, threads);
    }

    /// Takes the mean of the δ, in the accumulators' dtypes. Refused when the finite updates' mean is not finite.
    pub(crate) fn take_delta(&mut self, base: &Model) -> Result<Model, AggregateError> {
        let numerics = self.numerics;
        if self.weight <= 0.0 {
            self.clear();
            return kernels::wide_zeros(base, numerics);
        }
        let minus = -(self.whole / self.weight);
        let mean = if numerics.deterministic {
            std::mem::take(&mut self.fixed).into_mean(base, minus, numerics)?
        } else {
            let mut mean = std::mem::take(&mut self.mean);
            if minus != 0.0 {
                kernels::add_base(&mut mean, minus, base, numerics.threads);
            }
            mean
        };
        self.clear();
        kernels::finite("the mean of the updates", mean, numerics.threads)
    }

    /// Takes base + the mean of the δ, in the base's dtypes; the very base when nothing was folded in. Refused when it is not
    /// finite.
    pub(crate) fn take_model(&mut self, base: &Model) -> Result<Model, AggregateError> {
        let numerics = self.numerics;
        if self.weight <= 0.0 {
            self.clear();
            return Ok(base.clone());
        }
        let factor = 1.0 - self.whole / self.weight;
        let model = if numerics.deterministic {
            std::mem::take(&mut self.fixed).into_model(base, factor, numerics.threads)?
        } else {
            kernels::settle(base, std::mem::take(&mut self.mean), factor, numerics.threads)?
        };
        self.clear();
        kernels::finite("the new model", model, numerics.threads)
    }

    fn add<'a>(&mut self, readings: impl Iterator<Item = (Reading<'a>, Option<Wanted>)>, weight: f64, whole: bool) {
        if self.numerics.deterministic {
            let (fixed, unit) = (self.fixed_weight(weight), self.unit());
            self.fixed.fold(readings, fixed, self.numerics.threads);
            self.fixed.weight = self.fixed.weight.saturating_add(u128::from(fixed));
            if whole {
                self.fixed.whole = self.fixed.whole.saturating_add(u128::from(fixed));
            }
            #[expect(clippy::cast_precision_loss, reason = "rounded alike in any order")]
            let real = |weight: u128| weight as f64 / unit;
            (self.weight, self.whole) = (real(self.fixed.weight), real(self.fixed.whole));
            return;
        }
        let first = self.weight <= 0.0;
        self.weight += weight;
        if whole {
            self.whole += weight;
        }
        kernels::fold(&mut self.mean, readings, Fold { rate: weight / self.weight, first }, self.numerics.threads);
    }

    /// The tensors of an update and as what each enters; integers always as differences, which are exact.
    fn entering<'a>(&self, update: &Update<'a>) -> impl Iterator<Item = (Reading<'a>, Option<Wanted>)> + use<'a> {
        let whole = self.enters_whole(update);
        update.readings().map(move |reading| {
            let wanted = if whole && reading.x.dtype().is_float() { None } else { Some(Wanted::Delta) };
            (reading, wanted)
        })
    }

    #[expect(clippy::float_cmp, reason = "1 is set, not computed, where nothing is clipped")]
    fn enters_whole(&self, update: &Update<'_>) -> bool {
        self.sum_of == SumOf::Models && update.is_full() && update.base.is_none() && update.shrink == 1.0
    }

    const fn unit(&self) -> f64 {
        match self.weights {
            Weights::Whole => 1.0,
            Weights::Real => UNIT,
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0, and `as` saturates")]
    fn fixed_weight(&self, weight: f64) -> u64 {
        ((weight * self.unit()).round_ties_even() as u64).max(1)
    }
}

fn as_it_is(model: &Model) -> impl Iterator<Item = (Reading<'_>, Option<Wanted>)> {
    model.iter().map(|(_, x)| (Reading::of(x), Some(Wanted::Delta)))
}

/// base + step, in the base's dtypes; `step` is in the accumulators' and gives its storage to the result where it can.
/// Refused when it is not finite.
pub(crate) fn settle(base: &Model, step: Model, numerics: Numerics) -> Result<Model, AggregateError> {
    let model = kernels::settle(base, step, 1.0, numerics.threads)?;
    kernels::finite("the new model", model, numerics.threads)
}
