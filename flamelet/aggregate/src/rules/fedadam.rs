//! FedAdam, Reddi et al. 2021: m = β₁m + (1−β₁)d ; v = β₂v + (1−β₂)d².

use crate::RuleInfo;
use crate::options::{OptionInfo, Range};
use crate::wide::Wide;

use super::adaptive::{Adaptive, BETA_1, BETA_2, Common, Moments, TAU, VARIANT};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedadam",
    doc: "Adam on the mean update (Reddi 2021)",
    streams: true,
    weighs: true,
    noise: true,
    options: &[
        OptionInfo { name: "eta", default: Some("0.1"), doc: "server learning rate, above 0" },
        BETA_1,
        BETA_2,
        TAU,
        OptionInfo {
            name: "bias-correction",
            default: Some("true"),
            doc: "eta·√(1−β₂^(t+1))/(1−β₁^(t+1)) in the t-th round, from 1; off with `variant = flame`",
        },
        VARIANT,
    ],
    build: |options| {
        let common = Common::read(options, 0.1)?;
        let adam = Adam {
            beta_1: options.number("beta-1", Range::Fraction)?.unwrap_or(0.9),
            beta_2: options.number("beta-2", Range::Fraction)?.unwrap_or(0.99),
            corrects: options.flag("bias-correction")?.unwrap_or(!common.flame),
        };
        if adam.corrects && common.flame {
            return Err(crate::AggregateError::InvalidArgument(
                "rule fedadam: `variant = flame` has no bias correction; leave `bias-correction` out".to_owned(),
            ));
        }
        Ok(Box::new(Adaptive::new(adam, common)))
    },
};

struct Adam {
    beta_1: f64,
    beta_2: f64,
    corrects: bool,
}

impl Moments for Adam {
    fn next<W: Wide>(&self, d: W, m: W, v: W) -> (W, W) {
        (
            W::from_f64(self.beta_1) * m + W::from_f64(1.0 - self.beta_1) * d,
            W::from_f64(self.beta_2) * v + W::from_f64(1.0 - self.beta_2) * (d * d),
        )
    }

    fn correction(&self, t: u64) -> f64 {
        if !self.corrects {
            return 1.0;
        }
        // Both powers are 0 long before the exponent saturates.
        let exponent = i32::try_from(t).unwrap_or(i32::MAX).saturating_add(1);
        (1.0 - self.beta_2.powi(exponent)).sqrt() / (1.0 - self.beta_1.powi(exponent))
    }
}
