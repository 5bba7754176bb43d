//! A clipping bound that follows a quantile of the updates' norms (Andrew et al. 2021, "Differentially private learning with
//! adaptive clipping").

use crate::AggregateError;

/// Farthest that one round may move the bound, as an exponent: noise on the count could move it out of `f64` otherwise.
const MOST: f64 = 30.0;

/// C·exp(−lr·(b − quantile)), b the share of updates at or below C: the bound shrinks where more than the quantile are below.
pub fn next_clip(clip: f64, share_below: f64, quantile: f64, lr: f64) -> f64 {
    let exponent = (-lr * (share_below - quantile)).clamp(-MOST, MOST);
    (clip * exponent.exp()).clamp(f64::MIN_POSITIVE, f64::MAX)
}

/// Shares a noise multiplier z between the number of updates below the bound and the mean of the updates: σ of the former
/// (`count_stddev`, K/20 where it is `None`) and the multiplier (z⁻² − (2σ)⁻²)^−½ of the latter, so that both together cost what z
/// alone would (Andrew 2021, theorem 1).
///
/// Refused where the count alone would cost as much: σ must be above z/2.
pub fn split_noise(multiplier: f64, updates: f64, count_stddev: Option<f64>) -> Result<(f64, f64), AggregateError> {
    if multiplier <= 0.0 {
        return Ok((0.0, 0.0));
    }
    let stddev = count_stddev.unwrap_or(updates / 20.0);
    let left = multiplier.powi(-2) - (2.0 * stddev).powi(-2);
    if left > 0.0 {
        return Ok((stddev, left.powf(-0.5)));
    }
    Err(AggregateError::InvalidArgument(format!(
        "a noise multiplier of {multiplier} leaves no noise for the mean: the count of {updates} updates needs a \
         `clip-count-stddev` above {} (it is {stddev}); wait for more updates, or raise it",
        multiplier / 2.0
    )))
}
