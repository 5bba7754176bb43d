//! The sample-weighted mean of what the clients measured.

use flame_model::Metric;

/// Most names in one round: a client cannot fill the host's memory with them. Later ones are left out.
const MAX_NAMES: usize = 1024;

/// A running mean per metric, over the clients that reported it, in the order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct MetricMeans {
    means: Vec<(Metric, f64)>,
}

impl MetricMeans {
    /// Takes a client's metrics. A value that is not finite says nothing and is left out.
    pub(crate) fn add(&mut self, metrics: &[Metric], weight: f64) {
        for metric in metrics.iter().filter(|metric| metric.value.is_finite()).take(MAX_NAMES) {
            if let Some((mean, total)) = self.means.iter_mut().find(|(mean, _)| mean.name == metric.name) {
                *total += weight;
                let rate = weight / *total;
                // Not mean + rate · (x − mean): that difference may overflow.
                mean.value = mean.value * (1.0 - rate) + metric.value * rate;
            } else if self.means.len() < MAX_NAMES {
                self.means.push((metric.clone(), weight));
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<Metric> {
        self.means.into_iter().map(|(mean, _)| mean).collect()
    }
}
