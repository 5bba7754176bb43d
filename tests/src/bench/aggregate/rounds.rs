//! Rounds of a rule, and the plain loop that is their yardstick.

use std::thread;
use std::time::Instant;

use flame_aggregate::{Aggregator, Contribution, OptionValue};
use flame_model::{Form, Model, Tensor};

use crate::bench::report::median;

/// What is measured, with its options.
pub(super) const RULES: [(&str, &[(&str, f64)]); 5] =
    [("fedavg", &[]), ("fedadam", &[]), ("median", &[]), ("trimmed-mean", &[]), ("krum", &[("f", 2.0)])];

/// A base and updates of one tensor of `f32` that are known to be finite.
pub(super) struct Inputs {
    base: Model,
    updates: Vec<Model>,
    len: usize,
}

/// A rule with options and a number of threads; 0 is all.
pub(super) fn rule(name: &str, options: &[(&str, f64)], threads: u32) -> Aggregator {
    let threads = [("threads", f64::from(threads))];
    let options = options.iter().chain(&threads).map(|(name, value)| ((*name).to_owned(), OptionValue::Number(*value)));
    Aggregator::create(name, &options.collect::<Vec<_>>()).expect("a rule of the catalogue")
}

/// The same storage behind handles that nobody has asked whether it is finite.
pub(super) fn never_looked_at(update: &Model) -> Model {
    let again = |(name, tensor): (&str, &Tensor)| {
        let tensor = Tensor::from_buffer(tensor.shape(), tensor.dtype(), tensor.buffer().clone());
        (name.to_owned(), tensor.expect("the same tensor"))
    };
    update.iter().map(again).collect()
}

fn model(len: usize, seed: u32) -> Model {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).expect("16 bits")) / 65_536.0 - 0.5
    };
    let values: Vec<f32> = (0..len).map(|_| next()).collect();
    let tensor = Tensor::from_f32(&[u64::try_from(len).expect("a length")], &values).expect("memory");
    let model: Model = [("w", tensor)].into_iter().collect();
    assert!(model.all_finite());
    model
}

impl Inputs {
    pub(super) fn new(len: usize, clients: usize) -> Self {
        let updates = (0..clients).map(|i| model(len, u32::try_from(i).expect("few"))).collect();
        Self { base: model(len, 1000), updates, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clients(&self) -> usize {
        self.updates.len()
    }

    #[expect(clippy::cast_precision_loss, reason = "a size")]
    pub(super) fn model_bytes(&self) -> f64 {
        self.base.byte_size() as f64
    }

    /// MB/s of updates.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(super) fn rate(&self, seconds: f64) -> f64 {
        self.model_bytes() * self.updates.len() as f64 / seconds / 1e6
    }

    /// A whole round.
    pub(super) fn round(&self, rule: &mut Aggregator) {
        rule.begin(&self.base, &[]).expect("a round");
        add_all(rule, &self.updates);
        std::hint::black_box(rule.finish().expect("a result"));
    }

    /// Median seconds of the `add`s of a round alone, of updates made by `make` beforehand.
    pub(super) fn adds(&self, rule: &mut Aggregator, repeat: usize, make: fn(&Model) -> Model) -> f64 {
        let mut times = Vec::new();
        for _ in 0..=repeat {
            let updates: Vec<Model> = self.updates.iter().map(make).collect();
            rule.begin(&self.base, &[]).expect("a round");
            let began = Instant::now();
            add_all(rule, &updates);
            times.push(began.elapsed().as_secs_f64());
            rule.finish().expect("a result");
        }
        median(&times[1..])
    }

    /// `sum += weight * x` over the same bytes, by one thread or by all, into sums that are there already.
    pub(super) fn plain(&self, threads: u32, sums: &mut [f32]) {
        let all = thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { all } else { 1 };
        let piece = self.len.div_ceil(threads);
        thread::scope(|scope| {
            for (at, sums) in sums.chunks_mut(piece).enumerate() {
                let work = move || {
                    sums.fill(0.0);
                    for (weight, update) in (1_u8..).zip(&self.updates) {
                        let x = update.get("w").and_then(Tensor::as_slice::<f32>).expect("floats");
                        let x = &x[at * piece..at * piece + sums.len()];
                        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += f32::from(weight) * x);
                    }
                    std::hint::black_box(sums);
                };
                // The one thread is this one, as it is for a rule.
                if threads == 1 { work() } else { drop(scope.spawn(work)) }
            }
        });
    }
}

fn add_all(rule: &mut Aggregator, updates: &[Model]) {
    for (i, update) in updates.iter().enumerate() {
        rule.add(update, &about(i), None, &[]).expect("it fits");
    }
}

fn about(i: usize) -> Contribution {
    Contribution {
        source: format!("client {i}"),
        form: Form::Full,
        samples: u64::try_from(i).expect("few") + 1,
        staleness: 0,
        metrics: Vec::new(),
    }
}
