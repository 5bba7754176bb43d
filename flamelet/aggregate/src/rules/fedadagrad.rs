//! FedAdagrad, Reddi et al. 2021: m = d ; v += d².

use crate::RuleInfo;
use crate::options::OptionInfo;
use crate::wide::Wide;

use super::adaptive::{Adaptive, BETA_1, BETA_2, Common, Moments, TAU, VARIANT};
use crate::options::Range;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fedadagrad",
    doc: "Adagrad on the mean update (Reddi 2021)",
    streams: true,
    weighs: true,
    noise: true,
    options: &[
        OptionInfo { name: "eta", default: Some("0.1"), doc: "server learning rate, above 0" },
        TAU,
        OptionInfo { doc: "decay of the first moment with `variant = flame`; else unused", ..BETA_1 },
        OptionInfo { doc: "unused; accepted because Flame's jobs carry it", ..BETA_2 },
        VARIANT,
    ],
    build: |options| {
        let common = Common::read(options, 0.1)?;
        let beta_1 = options.number("beta-1", Range::Fraction)?.unwrap_or(0.9);
        options.number("beta-2", Range::Fraction)?;
        // Flame keeps a decaying first moment here too; the paper's rule has none.
        let beta_1 = if common.flame { beta_1 } else { 0.0 };
        Ok(Box::new(Adaptive::new(Adagrad { beta_1 }, common)))
    },
};

struct Adagrad {
    beta_1: f64,
}

impl Moments for Adagrad {
    fn next<W: Wide>(&self, d: W, m: W, v: W) -> (W, W) {
        (W::from_f64(self.beta_1) * m + W::from_f64(1.0 - self.beta_1) * d, v + d * d)
    }
}
