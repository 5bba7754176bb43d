//! q-FedAvg, Li et al. 2020: L = 1/lr ; Dᵢ = Fᵢ^q·L(w−uᵢ) ; hᵢ = q·Fᵢ^(q−1)‖L(w−uᵢ)‖² + L·Fᵢ^q ; w − ΣDᵢ/Σhᵢ, where Fᵢ is the
//! client's loss + 10⁻¹⁰. Samples are ignored.
//!
//! Computed as w + (L·ΣFᵢ^q / Σhᵢ) · the mean of the δᵢ weighted by Fᵢ^q, which is the same and streams.

use flame_model::Model;

use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};
use crate::tally::Tally;
use crate::{AggregateError, kernels};

/// Keeps a client without loss in the mean.
const LEAST_LOSS: f64 = 1e-10;

/// Least weight where sums are in fixed point: its rounding to multiples of 2⁻²⁰ is within 1/1000.
const LEAST_FIXED: f64 = 5e-4;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "qfedavg",
    doc: "Clients of larger loss (metric `loss`) weigh more, for fairness (Li 2020)",
    streams: true,
    weighs: false,
    noise: false,
    options: &[
        OptionInfo { name: "q", default: None, doc: "how much fairness, at least 0; 0 is the plain mean" },
        OptionInfo { name: "lr", default: None, doc: "the clients' learning rate, above 0: L = 1/lr" },
    ],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(QFedAvg {
            numerics,
            q: options.required("q", Range::NotNegative)?,
            lipschitz: options.required("lr", Range::Positive)?.recip(),
            mean: Accumulator::new(numerics, SumOf::Deltas, Weights::Real),
            steps: Tally::default(),
        }))
    },
};

struct QFedAvg {
    numerics: Numerics,
    q: f64,
    lipschitz: f64,
    mean: Accumulator,
    /// hᵢ.
    steps: Tally,
}

impl QFedAvg {
    /// Fᵢ^q and hᵢ.
    fn weights(&self, update: &Update<'_>) -> Option<(f64, f64)> {
        let loss = update.metric("loss").filter(|loss| *loss >= 0.0)? + LEAST_LOSS;
        let weight = loss.powf(self.q);
        let mut step = self.lipschitz * weight;
        if self.q > 0.0 {
            let norm = self.lipschitz * update.norm(self.numerics.threads);
            step += self.q * loss.powf(self.q - 1.0) * norm * norm;
        }
        Some((weight, step))
    }
}

impl Rule for QFedAvg {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.steps.take();
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        let source = &update.about.source;
        let refused = |why: &str| Err(AggregateError::InvalidArgument(format!("{source} {why}")));
        let Some((weight, step)) = self.weights(update) else {
            return refused("reported no metric `loss` of at least 0, which q-FedAvg weighs updates by");
        };
        if !(weight > 0.0 && weight < 1e100 && step < 1e200) {
            return refused("reported a `loss` (or sent an update) whose power in q-FedAvg is beyond 64-bit floats");
        }
        if self.numerics.deterministic && weight < LEAST_FIXED {
            return refused("weighs too little for `deterministic`: loss^q is below 0.0005");
        }
        self.mean.check(update, weight)
    }

    fn fold(&mut self, update: &Update<'_>) {
        // There is always one: `check` saw it.
        if let Some((weight, step)) = self.weights(update) {
            self.mean.fold(update, weight);
            self.steps.push(&update.about.source, step);
        }
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let scale = self.lipschitz * self.mean.weight() / self.steps.take();
        let mut step = self.mean.take_delta(round.base)?;
        kernels::scale(&mut step, scale, self.numerics.threads);
        Ok(settle(round.base, step, self.numerics)?.into())
    }
}
