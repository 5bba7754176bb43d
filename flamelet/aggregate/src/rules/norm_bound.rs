//! Norm bounding: each δᵢ is clipped to a bound, then FedAvg (Sun et al. 2019, "Can you really backdoor federated learning?").

use flame_model::Model;

use crate::AggregateError;
use crate::options::{OptionInfo, Range};
use crate::parallel::Threads;
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};

use super::fedavg::FedAvg;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "norm-bound",
    doc: "FedAvg of updates clipped to a norm: a bound on what one client can do (Sun 2019)",
    streams: true,
    weighs: true,
    noise: true,
    options: &[OptionInfo { name: "bound", default: None, doc: "largest L2 norm of δ over the whole model, above 0" }],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(NormBound {
            bound: options.required("bound", Range::Positive)?,
            threads: numerics.threads,
            average: FedAvg::new(numerics),
            deterministic: numerics.deterministic,
        }))
    },
};

struct NormBound {
    bound: f64,
    threads: Threads,
    deterministic: bool,
    average: FedAvg,
}

impl NormBound {
    fn bounded<'a>(&self, update: &Update<'a>) -> Update<'a> {
        let norm = update.norm(self.threads);
        if norm > self.bound { Update { shrink: update.shrink * (self.bound / norm), ..*update } } else { *update }
    }
}

impl Rule for NormBound {
    fn begin(&mut self, base: &Model, extra: &[(String, Model)]) -> Result<(), AggregateError> {
        self.average.begin(base, extra)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        // Only fixed-point sums ask for more than what was checked already.
        if self.deterministic { self.average.check(&self.bounded(update)) } else { Ok(()) }
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.average.fold(&self.bounded(update));
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        self.average.finish(round)
    }
}
