//! FedAsync, Xie et al. 2019: w ← (1−a)w + a·u per arrival, a = mixing·(1+staleness)^−decay. Samples are ignored.

use flame_model::Model;

use crate::accumulator::settle;
use crate::options::{OptionInfo, Range};
use crate::rule::{Finished, Rule, RuleInfo, Update};
use crate::{Accumulator, AggregateError, SumOf};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedasync",
    doc: "Mixes each arriving model in, the less the staler it is (Xie 2019)",
    options: &[
        OptionInfo { name: "mixing", default: Some("0.6"), doc: "share of a fresh update, above 0 and at most 1" },
        OptionInfo { name: "decay", default: Some("0.5"), doc: "exponent of staleness, at least 0" },
    ],
    build: |options| {
        Ok(Box::new(FedAsync {
            mixing: options.number("mixing", Range::Share)?.unwrap_or(0.6),
            decay: options.number("decay", Range::NotNegative)?.unwrap_or(0.5),
            moved: Accumulator::default(),
        }))
    },
};

struct FedAsync {
    mixing: f64,
    decay: f64,
    /// How far the model has moved from the round's base.
    moved: Accumulator,
}

impl Rule for FedAsync {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.moved = Accumulator::new(base, SumOf::Deltas)?;
        Ok(())
    }

    fn fold(&mut self, update: &Update<'_>) {
        #[expect(clippy::cast_precision_loss, reason = "a staleness beyond 2⁵³ weighs nothing either way")]
        let age = update.about.staleness as f64;
        self.moved.mix(update, self.mixing * (1.0 + age).powf(-self.decay));
    }

    fn finish(&mut self, base: &Model) -> Result<Finished, AggregateError> {
        let step = self.moved.take_delta(base)?;
        Ok(settle(base, step)?.into())
    }

    fn repeats(&self) -> bool {
        true
    }
}
