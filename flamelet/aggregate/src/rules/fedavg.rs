//! FedAvg, McMahan et al. 2017: w + Σ (nᵢ/N) δᵢ.

use flame_model::Model;

use crate::rule::{Finished, Rule, RuleInfo, Update};
use crate::{Accumulator, AggregateError, SumOf};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedavg",
    doc: "The mean of the updates, weighted by samples (McMahan 2017)",
    options: &[],
    build: |_| Ok(Box::new(FedAvg::default())),
};

#[derive(Default)]
pub(super) struct FedAvg {
    mean: Accumulator,
}

impl Rule for FedAvg {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.mean = Accumulator::new(base, SumOf::Models)?;
        Ok(())
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.mean.fold(update, update.weight());
    }

    fn finish(&mut self, base: &Model) -> Result<Finished, AggregateError> {
        Ok(self.mean.take_model(base)?.into())
    }
}
