//! The trimmed mean, Yin et al. 2018: per coordinate, int(beta·K) values are dropped at each end, and the rest is averaged.
//! Samples are ignored.

use crate::columns::Pick;
use crate::options::{OptionInfo, Range};
use crate::rule::RuleInfo;

use super::median::Coordinatewise;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "trimmed-mean",
    doc: "The mean of each coordinate without its largest and smallest values (Yin 2018)",
    streams: false,
    weighs: false,
    noise: false,
    options: &[OptionInfo {
        name: "beta",
        default: Some("0.2"),
        doc: "share of the updates dropped at each end, at least 0 and below 0.5",
    }],
    build: |options| {
        let beta = options.number("beta", Range::BelowHalf)?.unwrap_or(0.2);
        Ok(Box::new(Coordinatewise::new(options.numerics()?.threads, move |updates| {
            let cut = cut(beta, updates);
            Pick::Sorted(cut..updates.saturating_sub(cut))
        })))
    },
};

/// int(beta·K), of the product as `f64` has it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "below half of a number of updates"
)]
fn cut(beta: f64, updates: usize) -> usize {
    (beta * updates as f64) as usize
}
