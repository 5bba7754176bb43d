//! FedAvg, McMahan et al. 2017: w + Σ (nᵢ/N) δᵢ.

use flame_model::Model;

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::numerics::Numerics;
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedavg",
    doc: "The mean of the updates, weighted by samples (McMahan 2017)",
    streams: true,
    weighs: true,
    noise: true,
    options: &[],
    build: |options| Ok(Box::new(FedAvg::new(options.numerics()?))),
};

pub(super) struct FedAvg {
    numerics: Numerics,
    mean: Accumulator,
}

impl FedAvg {
    pub(super) fn new(numerics: Numerics) -> Self {
        Self { numerics, mean: Accumulator::new(numerics, SumOf::Models, Weights::Whole) }
    }
}

impl Rule for FedAvg {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        self.mean.check(update, update.weight)
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.mean.fold(update, update.weight);
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let Some(noise) = round.noise else { return Ok(self.mean.take_model(round.base)?.into()) };
        let mut step = self.mean.take_delta(round.base)?;
        noise.blur(&mut step, self.numerics.threads);
        Ok(settle(round.base, step, self.numerics)?.into())
    }
}
