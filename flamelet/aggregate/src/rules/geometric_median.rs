//! The geometric median (RFA), Pillutla et al. 2022: the point of the least weighted sum of distances to the updates, by the
//! smoothed Weiszfeld algorithm from their mean weighted by samples.

use flame_model::Model;

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::held::{Held, in_canonical_order};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::reading::squared_distance;
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "geometric-median",
    doc: "The point nearest to all updates at once (Pillutla 2022)",
    streams: false,
    weighs: true,
    noise: false,
    options: &[
        OptionInfo { name: "iterations", default: Some("4"), doc: "steps of Weiszfeld's algorithm, at least 1" },
        OptionInfo { name: "epsilon", default: Some("0.000001"), doc: "least distance that is divided by, above 0" },
    ],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(GeometricMedian {
            numerics,
            iterations: options.number("iterations", Range::Steps)?.unwrap_or(4.0),
            least: options.number("epsilon", Range::Positive)?.unwrap_or(1e-6),
            held: Vec::new(),
            mean: Accumulator::new(numerics.ordered(), SumOf::Deltas, Weights::Real),
        }))
    },
};

struct GeometricMedian {
    numerics: Numerics,
    /// A whole number.
    iterations: f64,
    least: f64,
    held: Vec<Held>,
    mean: Accumulator,
}

impl Rule for GeometricMedian {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.held.clear();
        self.mean.begin(base)
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.held.push(Held::of(update));
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let held = in_canonical_order(std::mem::take(&mut self.held));
        let updates: Vec<_> = held.iter().map(|held| held.update(round.base)).collect();
        let total: f64 = updates.iter().map(|update| update.weight).sum();
        for update in &updates {
            self.mean.fold(update, update.weight);
        }
        // As a difference from the base.
        let mut centre = self.mean.take_delta(round.base)?;
        let mut iteration = 0.0;
        while iteration < self.iterations {
            self.mean.begin(round.base)?;
            for update in &updates {
                let distance = update.against(&centre, self.numerics.threads, squared_distance).sqrt();
                self.mean.fold(update, update.weight / total / distance.max(self.least));
            }
            centre = self.mean.take_delta(round.base)?;
            iteration += 1.0;
        }
        Ok(settle(round.base, centre, self.numerics)?.into())
    }
}
