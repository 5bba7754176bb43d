//! Scalar measurements by name, and their sample-weighted mean.

use crate::bindings::flame::worker::types::Metric;

/// Scalar measurements in the order in which they were set; a name occurs once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// No measurements.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.set(name, value);
        self
    }

    /// Sets `name` to `value`.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same values with `prefix` before every name.
    #[must_use]
    pub fn prefixed(&self, prefix: &str) -> Self {
        self.iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect()
    }

    /// Both: the values of `other` come behind these, and win where a name occurs in both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (name, value) in other.iter() {
            self.set(name, value);
        }
        self
    }

    /// The values whose names begin with `prefix`, without it, and the others.
    #[must_use]
    pub fn split_prefix(&self, prefix: &str) -> (Self, Self) {
        let (mut with, mut without) = (Self::new(), Self::new());
        for (name, value) in self.iter() {
            match name.strip_prefix(prefix) {
                Some(rest) => with.set(rest, value),
                None => without.set(name, value),
            }
        }
        (with, without)
    }

    pub(crate) fn to_host(&self) -> Vec<Metric> {
        self.iter().map(|(name, value)| Metric { name: name.to_owned(), value }).collect()
    }
}

impl From<Vec<Metric>> for Metrics {
    fn from(metrics: Vec<Metric>) -> Self {
        metrics.into_iter().map(|m| (m.name, m.value)).collect()
    }
}

impl<N: Into<String>> FromIterator<(N, f64)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(items: I) -> Self {
        let mut all = Self::new();
        for (name, value) in items {
            all.set(&name.into(), value);
        }
        all
    }
}

impl<N: Into<String>, const K: usize> From<[(N, f64); K]> for Metrics {
    fn from(items: [(N, f64); K]) -> Self {
        items.into_iter().collect()
    }
}

/// The running sample-weighted mean of every metric that at least one participant reports.
///
/// A value that is not finite is left out with its samples: one participant must not blot out what the others measured.
#[derive(Clone, Debug, Default)]
pub struct WeightedMean(Vec<(String, f64, f64)>);

impl WeightedMean {
    /// Takes one participant's metrics in; 0 samples abstain.
    pub fn add(&mut self, metrics: &Metrics, samples: u64) {
        if samples == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "sample counts are far below 2^53")]
        let weight = samples as f64;
        for (name, value) in metrics.iter().filter(|(_, value)| value.is_finite()) {
            match self.0.iter_mut().find(|(n, ..)| n == name) {
                Some((_, sum, weights)) => {
                    *sum += weight * value;
                    *weights += weight;
                }
                None => self.0.push((name.to_owned(), weight * value, weight)),
            }
        }
    }

    /// The means so far.
    pub fn mean(&self) -> Metrics {
        self.0.iter().map(|(name, sum, weights)| (name.as_str(), sum / weights)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_weighs_by_samples_and_passes_over_what_is_not_finite() {
        let mut mean = WeightedMean::default();
        mean.add(&Metrics::from([("loss", 1.0), ("accuracy", 0.5)]), 10);
        mean.add(&Metrics::from([("loss", 3.0)]), 30);
        mean.add(&Metrics::from([("loss", f64::NAN)]), 1000);
        mean.add(&Metrics::from([("loss", 99.0)]), 0);
        assert_eq!(mean.mean(), Metrics::from([("loss", 2.5), ("accuracy", 0.5)]));
    }

    #[test]
    fn what_was_prefixed_is_split_off_again() {
        let (evaluation, training) = (Metrics::from([("loss", 0.3)]), Metrics::from([("loss", 0.2), ("steps", 63.0)]));
        let sent = training.clone().and(&evaluation.prefixed("eval-"));
        assert_eq!(sent.split_prefix("eval-"), (evaluation, training));
    }
}
