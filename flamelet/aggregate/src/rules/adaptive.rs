//! What FedAdagrad, FedAdam and FedYogi share (Reddi et al. 2021): two moments per parameter of the mean update d, and
//! w + eta·m/(√v + tau).

use flame_model::{Model, Tensor};

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::kernels::{self, Step2, check_wide, wide_zeros};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Options, Range};
use crate::rule::{Closing, Finished, Rule, Update};
use crate::wide::Wide;

/// Largest norm of a mean update whose squares are summed up: in `f32` they overflow near 10³⁸, and a state that holds
/// infinity never recovers.
const MAX_NORM: f64 = 1e15;

pub(super) const TAU: OptionInfo =
    OptionInfo { name: "tau", default: Some("0.001"), doc: "degree of adaptivity: added to √v, above 0" };
pub(super) const BETA_1: OptionInfo =
    OptionInfo { name: "beta-1", default: Some("0.9"), doc: "decay of the first moment, at least 0 and below 1" };
pub(super) const BETA_2: OptionInfo =
    OptionInfo { name: "beta-2", default: Some("0.99"), doc: "decay of the second moment, at least 0 and below 1" };
pub(super) const VARIANT: OptionInfo = OptionInfo {
    name: "variant",
    default: Some("reddi"),
    doc: "`reddi`, the paper's, or `flame`: the first round is plain FedAvg, no bias correction, eta is 0.01 by default",
};

/// How a rule carries its moments on.
pub(super) trait Moments: Send + Sync {
    /// The moments after the mean update `d`.
    fn next<W: Wide>(&self, d: W, m: W, v: W) -> (W, W);

    /// What the rate is multiplied by in the `t`-th step, from 1.
    fn correction(&self, t: u64) -> f64 {
        let _ = t;
        1.0
    }
}

/// The options of all three.
pub(super) struct Common {
    eta: f64,
    tau: f64,
    /// Whether `variant = flame`.
    pub(super) flame: bool,
    numerics: Numerics,
}

impl Common {
    pub(super) fn read(options: &Options<'_>, default_eta: f64) -> Result<Self, AggregateError> {
        let flame = options.word("variant", &["reddi", "flame"])? == Some("flame");
        let default_eta = if flame { 0.01 } else { default_eta };
        Ok(Self {
            eta: options.number("eta", Range::Positive)?.unwrap_or(default_eta),
            tau: options.number("tau", Range::Positive)?.unwrap_or(0.001),
            flame,
            numerics: options.numerics()?,
        })
    }
}

/// A rule of this family.
pub(super) struct Adaptive<M> {
    moments: M,
    common: Common,
    /// Rounds in which something was folded.
    rounds: u64,
    /// First and second moment, in the accumulators' dtypes; empty before the first round.
    m: Model,
    v: Model,
    mean: Accumulator,
}

impl<M: Moments> Adaptive<M> {
    pub(super) fn new(moments: M, common: Common) -> Self {
        let mean = Accumulator::new(common.numerics, SumOf::Deltas, Weights::Whole);
        Self { moments, common, rounds: 0, m: Model::new(), v: Model::new(), mean }
    }
}

struct Step<'a, M> {
    moments: &'a M,
    eta: f64,
    tau: f64,
}

impl<M: Moments> Step2 for Step<'_, M> {
    fn apply<W: Wide>(&self, d: &mut W, m: &mut W, v: &mut W) {
        (*m, *v) = self.moments.next(*d, *m, *v);
        *d = W::from_f64(self.eta) * *m / (v.root() + W::from_f64(self.tau));
    }
}

impl<M: Moments> Rule for Adaptive<M> {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        check_state(&self.m, base, self.common.numerics)?;
        check_state(&self.v, base, self.common.numerics)?;
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        self.mean.check(update, update.weight)
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.mean.fold(update, update.weight);
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let numerics = self.common.numerics;
        let mut step = mean_step(&mut self.mean, round, numerics)?;
        ready_state(&mut self.m, round.base, numerics)?;
        ready_state(&mut self.v, round.base, numerics)?;
        self.rounds = self.rounds.saturating_add(1);
        if !(self.common.flame && self.rounds == 1) {
            let eta = self.common.eta * self.moments.correction(self.rounds);
            let how = Step { moments: &self.moments, eta, tau: self.common.tau };
            kernels::step2(&mut step, &mut self.m, &mut self.v, &how, numerics.threads);
        }
        Ok(settle(round.base, step, numerics)?.into())
    }

    fn save(&self) -> Vec<(String, Model)> {
        if self.m.is_empty() {
            return Vec::new();
        }
        let rounds = i64::try_from(self.rounds).unwrap_or(i64::MAX);
        let counter = Tensor::from_elements(&[], &[rounds]).map(|rounds| [("rounds", rounds)].into_iter().collect());
        vec![
            ("m".to_owned(), self.m.clone()),
            ("v".to_owned(), self.v.clone()),
            // One element of eight bytes: there is memory for it.
            ("counters".to_owned(), counter.unwrap_or_default()),
        ]
    }

    fn restore(&mut self, mut state: Vec<(String, Model)>) -> Result<(), AggregateError> {
        if state.is_empty() {
            (self.rounds, self.m, self.v) = (0, Model::new(), Model::new());
            return Ok(());
        }
        let counters = take_state(&mut state, "counters")?;
        let rounds = counters.get("rounds").and_then(|rounds| rounds.as_slice::<i64>()?.first().copied());
        let rounds = rounds.and_then(|rounds| u64::try_from(rounds).ok());
        let missing = || AggregateError::InvalidArgument("the state's counters lack `rounds`".to_owned());
        let (rounds, m, v) = (rounds.ok_or_else(missing)?, take_state(&mut state, "m")?, take_state(&mut state, "v")?);
        (self.rounds, self.m, self.v) = (rounds, m, v);
        Ok(())
    }
}

/// Refuses a state of another layout than the base's.
pub(super) fn check_state(state: &Model, base: &Model, numerics: Numerics) -> Result<(), AggregateError> {
    if state.is_empty() { Ok(()) } else { check_wide(state, base, numerics) }
}

/// Makes an empty state zeros of the base's layout.
pub(super) fn ready_state(state: &mut Model, base: &Model, numerics: Numerics) -> Result<(), AggregateError> {
    if state.is_empty() {
        *state = wide_zeros(base, numerics)?;
    }
    Ok(())
}

/// The mean of a round's δ, blurred where the job asks for it; refused where a state could not hold it.
pub(super) fn mean_step(
    mean: &mut Accumulator,
    round: &Closing<'_>,
    numerics: Numerics,
) -> Result<Model, AggregateError> {
    let mut step = mean.take_delta(round.base)?;
    if let Some(noise) = round.noise {
        noise.blur(&mut step, numerics.threads);
    }
    check_step(&step)?;
    Ok(step)
}

/// The saved state of this name.
pub(super) fn take_state(state: &mut Vec<(String, Model)>, name: &str) -> Result<Model, AggregateError> {
    match state.iter().position(|(other, _)| other == name) {
        Some(at) => Ok(state.swap_remove(at).1),
        None if state.is_empty() => Ok(Model::new()),
        None => Err(AggregateError::InvalidArgument(format!("the saved state lacks {name:?}"))),
    }
}

/// Refuses a mean update that a state cannot hold.
fn check_step(step: &Model) -> Result<(), AggregateError> {
    let norm = step.norm_l2();
    if norm <= MAX_NORM {
        return Ok(());
    }
    Err(AggregateError::InvalidArgument(format!(
        "the mean of the updates has the norm {norm:e}; above {MAX_NORM:e} the optimiser's state would overflow"
    )))
}
