//! The sample-weighted mean of what the clients measured.

use flame_model::Metric;

/// Most names in one round: a client cannot fill the host's memory with them. Later ones are left out.
const MAX_NAMES: usize = 1024;

/// One client's value of one metric.
#[derive(Debug)]
struct Sample {
    /// Index in the sources.
    source: usize,
    value: f64,
    weight: f64,
}

/// A mean per metric, over the clients that reported it.
#[derive(Debug, Default)]
pub(crate) struct MetricMeans {
    sources: Vec<String>,
    samples: Vec<(String, Vec<Sample>)>,
}

impl MetricMeans {
    /// Takes a client's metrics. A value that is not finite says nothing and is left out.
    pub(crate) fn add(&mut self, source: &str, metrics: &[Metric], weight: f64) {
        let index = self.sources.len();
        let mut said = false;
        for metric in metrics.iter().filter(|metric| metric.value.is_finite()).take(MAX_NAMES) {
            let sample = Sample { source: index, value: metric.value, weight };
            said = true;
            if let Some((_, samples)) = self.samples.iter_mut().find(|(name, _)| *name == metric.name) {
                samples.push(sample);
            } else if self.samples.len() < MAX_NAMES {
                self.samples.push((metric.name.clone(), vec![sample]));
            }
        }
        if said {
            self.sources.push(source.to_owned());
        }
    }

    /// The means, in the order in which names and clients appeared, or with `sorted` in that of their names.
    pub(crate) fn finish(self, sorted: bool) -> Vec<Metric> {
        let Self { sources, mut samples } = self;
        if sorted {
            samples.sort_by(|(a, _), (b, _)| a.cmp(b));
            for (_, samples) in &mut samples {
                let key = |sample: &Sample| (sources.get(sample.source), sample.weight, sample.value);
                samples.sort_by(|a, b| {
                    let (a, b) = (key(a), key(b));
                    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
                });
            }
        }
        let mean = |(name, samples): (String, Vec<Sample>)| {
            let (mut mean, mut total) = (0.0, 0.0);
            for Sample { value, weight, .. } in samples {
                total += weight;
                let rate = weight / total;
                // Not mean + rate · (x − mean): that difference may overflow.
                mean = mean * (1.0 - rate) + value * rate;
            }
            Metric::new(name, mean)
        };
        samples.into_iter().map(mean).collect()
    }
}
