//! FedYogi, Reddi et al. 2021: m = β₁m + (1−β₁)d ; v −= (1−β₂)d²·sign(v−d²).

use crate::RuleInfo;
use crate::options::{OptionInfo, Range};
use crate::wide::Wide;

use super::adaptive::{Adaptive, BETA_1, BETA_2, Common, Moments, TAU, VARIANT};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedyogi",
    doc: "Yogi on the mean update, without bias correction (Reddi 2021)",
    streams: true,
    weighs: true,
    noise: true,
    options: &[
        OptionInfo { name: "eta", default: Some("0.01"), doc: "server learning rate, above 0" },
        BETA_1,
        BETA_2,
        TAU,
        VARIANT,
    ],
    build: |options| {
        let yogi = Yogi {
            beta_1: options.number("beta-1", Range::Fraction)?.unwrap_or(0.9),
            beta_2: options.number("beta-2", Range::Fraction)?.unwrap_or(0.99),
        };
        Ok(Box::new(Adaptive::new(yogi, Common::read(options, 0.01)?)))
    },
};

struct Yogi {
    beta_1: f64,
    beta_2: f64,
}

impl Moments for Yogi {
    fn next<W: Wide>(&self, d: W, m: W, v: W) -> (W, W) {
        let square = d * d;
        let change = W::from_f64(1.0 - self.beta_2) * square;
        // sign(0) is 0: an unchanged v.
        let v = if v > square {
            v - change
        } else if v < square {
            v + change
        } else {
            v
        };
        (W::from_f64(self.beta_1) * m + W::from_f64(1.0 - self.beta_1) * d, v)
    }
}
