//! FedAsync, Xie et al. 2019: w ← (1−a)w + a·u per arrival, a = mixing·(1+staleness)^−decay. Samples are ignored.
//!
//! The order of arrival is part of the rule. With `deterministic` the updates of one round are mixed in the order of their sources
//! instead, and held until it ends; a round per update keeps both.

use flame_model::Model;

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::held::{Held, in_canonical_order};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedasync",
    doc: "Mixes each arriving model in, the less the staler it is (Xie 2019)",
    streams: true,
    weighs: false,
    noise: false,
    options: &[
        OptionInfo { name: "mixing", default: Some("0.6"), doc: "share of a fresh update, above 0 and at most 1" },
        OptionInfo { name: "decay", default: Some("0.5"), doc: "exponent of staleness, at least 0" },
    ],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(FedAsync {
            numerics,
            mixing: options.number("mixing", Range::Share)?.unwrap_or(0.6),
            decay: options.number("decay", Range::NotNegative)?.unwrap_or(0.5),
            moved: Accumulator::new(numerics.ordered(), SumOf::Deltas, Weights::Real),
            held: Vec::new(),
        }))
    },
};

struct FedAsync {
    numerics: Numerics,
    mixing: f64,
    decay: f64,
    /// How far the model has moved from the round's base.
    moved: Accumulator,
    /// What waits for the end of a deterministic round.
    held: Vec<Held>,
}

impl FedAsync {
    fn mix(&mut self, update: &Update<'_>) {
        #[expect(clippy::cast_precision_loss, reason = "a staleness beyond 2⁵³ weighs nothing either way")]
        let age = update.about.staleness as f64;
        self.moved.mix(update, self.mixing * (1.0 + age).powf(-self.decay));
    }
}

impl Rule for FedAsync {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.held.clear();
        self.moved.begin(base)
    }

    fn fold(&mut self, update: &Update<'_>) {
        if self.numerics.deterministic {
            self.held.push(Held::of(update));
        } else {
            self.mix(update);
        }
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        for held in in_canonical_order(std::mem::take(&mut self.held)) {
            self.mix(&held.update(round.base));
        }
        let step = self.moved.take_delta(round.base)?;
        Ok(settle(round.base, step, self.numerics)?.into())
    }

    fn repeats(&self) -> bool {
        true
    }
}
