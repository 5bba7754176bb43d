//! FedBuff, Nguyen et al. 2022: each arrival adds δ/√(1+staleness) to a buffer; at `goal` arrivals w += buffer/goal.
//! Samples are ignored.

use flame_model::Model;

use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};
use crate::{AggregateError, kernels};

const NAME: &str = "fedbuff";

pub(super) const INFO: RuleInfo = RuleInfo {
    name: NAME,
    doc: "A buffer of `goal` asynchronous updates, each divided by √(1 + staleness) (Nguyen 2022)",
    streams: true,
    weighs: false,
    noise: true,
    options: &[OptionInfo { name: "goal", default: None, doc: "updates per step, at least 1" }],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(FedBuff {
            numerics,
            goal: options.required("goal", Range::Count)?,
            arrived: 0,
            mean: Accumulator::new(numerics, SumOf::Deltas, Weights::Real),
        }))
    },
};

struct FedBuff {
    numerics: Numerics,
    /// A whole number.
    goal: f64,
    arrived: u32,
    mean: Accumulator,
}

impl Rule for FedBuff {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.arrived = 0;
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        if f64::from(self.arrived) < self.goal {
            return self.mean.check(update, weight(update));
        }
        Err(AggregateError::InvalidArgument(format!(
            "the buffer has reached its goal of {}: finish the round before adding the update of {}",
            self.goal, update.about.source
        )))
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.mean.fold(update, weight(update));
        self.arrived = self.arrived.saturating_add(1);
    }

    fn ready(&self, accepted: u32) -> Result<(), AggregateError> {
        if f64::from(accepted) >= self.goal {
            return Ok(());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 1 to 2³²")]
        let needed = self.goal as u64;
        Err(AggregateError::NotEnough { rule: NAME, needed, found: u64::from(accepted) })
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        // mean · Σ weights = the buffer.
        let scale = self.mean.weight() / self.goal;
        let mut step = self.mean.take_delta(round.base)?;
        kernels::scale(&mut step, scale, self.numerics.threads);
        if let Some(noise) = round.noise {
            noise.blur(&mut step, self.numerics.threads);
        }
        Ok(settle(round.base, step, self.numerics)?.into())
    }

    fn repeats(&self) -> bool {
        true
    }
}

fn weight(update: &Update<'_>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a staleness beyond 2⁵³ weighs nothing either way")]
    let age = update.about.staleness as f64;
    (1.0 + age).sqrt().recip()
}
