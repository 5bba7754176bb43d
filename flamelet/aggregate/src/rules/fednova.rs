//! FedNova, Wang et al. 2020: w + (Σpᵢτᵢ)·Σpᵢδᵢ/τᵢ, pᵢ = nᵢ/N, τᵢ the client's local steps (metric `steps`).

use flame_model::Model;

use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::numerics::Numerics;
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};
use crate::tally::Tally;
use crate::{AggregateError, kernels};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fednova",
    doc: "Updates by the local steps behind them (metric `steps`), against drift from unequal work (Wang 2020)",
    streams: true,
    weighs: true,
    noise: false,
    options: &[],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(FedNova {
            numerics,
            mean: Accumulator::new(numerics, SumOf::Deltas, Weights::Whole),
            steps: Tally::default(),
        }))
    },
};

struct FedNova {
    numerics: Numerics,
    /// Of δᵢ/τᵢ.
    mean: Accumulator,
    /// nᵢτᵢ.
    steps: Tally,
}

fn steps(update: &Update<'_>) -> Option<f64> {
    update.metric("steps").filter(|steps| (1e-6..=1e15).contains(steps))
}

impl Rule for FedNova {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.steps.take();
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        let Some(steps) = steps(update) else {
            return Err(AggregateError::InvalidArgument(format!(
                "{} reported no metric `steps` above 0, which FedNova divides its update by",
                update.about.source
            )));
        };
        self.mean.check(&Update { shrink: update.shrink / steps, ..*update }, update.weight)
    }

    fn fold(&mut self, update: &Update<'_>) {
        // There are always some: `check` saw them.
        if let Some(steps) = steps(update) {
            self.mean.fold(&Update { shrink: update.shrink / steps, ..*update }, update.weight);
            self.steps.push(&update.about.source, update.weight * steps);
        }
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let mean_steps = self.steps.take() / self.mean.weight();
        let mut step = self.mean.take_delta(round.base)?;
        kernels::scale(&mut step, mean_steps, self.numerics.threads);
        Ok(settle(round.base, step, self.numerics)?.into())
    }
}
