//! FedAvgM, Hsu et al. 2019: v = momentum·v + Σ(nᵢ/N)δᵢ ; w + lr·v (both signs of the paper's g and v turned).

use flame_model::Model;

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::kernels::{self, Step1};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};
use crate::wide::Wide;

use super::adaptive::{check_state, mean_step, ready_state, take_state};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedavgm",
    doc: "FedAvg with a server learning rate and momentum (Hsu 2019)",
    streams: true,
    weighs: true,
    noise: true,
    options: &[
        OptionInfo { name: "lr", default: Some("1"), doc: "server learning rate, above 0" },
        OptionInfo { name: "momentum", default: Some("0"), doc: "server momentum, at least 0 and below 1" },
    ],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(FedAvgM {
            numerics,
            step: Momentum {
                lr: options.number("lr", Range::Positive)?.unwrap_or(1.0),
                momentum: options.number("momentum", Range::Fraction)?.unwrap_or(0.0),
            },
            velocity: Model::new(),
            mean: Accumulator::new(numerics, SumOf::Deltas, Weights::Whole),
        }))
    },
};

struct FedAvgM {
    numerics: Numerics,
    step: Momentum,
    /// Empty before the first round.
    velocity: Model,
    mean: Accumulator,
}

struct Momentum {
    lr: f64,
    momentum: f64,
}

impl Step1 for Momentum {
    fn apply<W: Wide>(&self, d: &mut W, v: &mut W) {
        *v = W::from_f64(self.momentum) * *v + *d;
        *d = W::from_f64(self.lr) * *v;
    }
}

impl Rule for FedAvgM {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        check_state(&self.velocity, base, self.numerics)?;
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        self.mean.check(update, update.weight)
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.mean.fold(update, update.weight);
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let mut step = mean_step(&mut self.mean, round, self.numerics)?;
        ready_state(&mut self.velocity, round.base, self.numerics)?;
        kernels::step1(&mut step, &mut self.velocity, &self.step, self.numerics.threads);
        Ok(settle(round.base, step, self.numerics)?.into())
    }

    fn save(&self) -> Vec<(String, Model)> {
        if self.velocity.is_empty() { Vec::new() } else { vec![("velocity".to_owned(), self.velocity.clone())] }
    }

    fn restore(&mut self, mut state: Vec<(String, Model)>) -> Result<(), AggregateError> {
        self.velocity = take_state(&mut state, "velocity")?;
        Ok(())
    }
}
