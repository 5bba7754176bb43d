//! Short ways to models and contributions.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]
#![allow(dead_code, reason = "each test binary uses what it needs")]

use flame_aggregate::{AggregateError, Aggregator, Contribution, OptionValue, Outcome, rules};
use flame_model::{Form, Metric, Model, Tensor};

pub(crate) fn f32s(values: &[f32]) -> Model {
    [("w", Tensor::from_f32(&[values.len() as u64], values).unwrap())].into_iter().collect()
}

pub(crate) fn f64s(values: &[f64]) -> Model {
    [("w", Tensor::from_elements(&[values.len() as u64], values).unwrap())].into_iter().collect()
}

pub(crate) fn flat64(model: &Model) -> Vec<f64> {
    model.get("w").unwrap().as_slice::<f64>().unwrap().to_vec()
}

pub(crate) fn from(source: &(impl ToString + ?Sized), form: Form, samples: u64) -> Contribution {
    let metrics = vec![metric("loss", 0.5), metric("steps", 2.0)];
    Contribution { source: source.to_string(), form, samples, staleness: 0, metrics }
}

pub(crate) fn metric(name: &str, value: f64) -> Metric {
    Metric::new(name, value)
}

pub(crate) fn rule(name: &str, options: &[(&str, f64)]) -> Aggregator {
    let options: Vec<_> =
        options.iter().map(|(name, value)| ((*name).to_owned(), OptionValue::Number(*value))).collect();
    Aggregator::create(name, &options).unwrap()
}

/// Starts a round, with what some rules need besides the base.
pub(crate) fn begin(rule: &mut Aggregator, base: &Model) -> Result<(), AggregateError> {
    if rule.rule().name != "fltrust" {
        return rule.begin(base, &[]);
    }
    let ones = |(name, tensor): (&str, &Tensor)| {
        let mut ones = tensor.clone();
        ones.write_f32(0, &vec![1.0; tensor.len()]).unwrap();
        (name.to_owned(), ones)
    };
    rule.begin(base, &[("server-update".to_owned(), base.iter().map(ones).collect())])
}

/// One round of whole models with samples.
pub(crate) fn round(rule: &mut Aggregator, base: &Model, updates: &[(Model, u64)]) -> Result<Outcome, AggregateError> {
    begin(rule, base)?;
    for (i, (update, samples)) in updates.iter().enumerate() {
        rule.add(update, &from(&i, Form::Full, *samples), None, &[])?;
    }
    rule.finish()
}

/// One round of deltas with samples.
pub(crate) fn deltas(rule: &mut Aggregator, base: &Model, updates: &[(Model, u64)]) -> Result<Outcome, AggregateError> {
    begin(rule, base)?;
    for (i, (update, samples)) in updates.iter().enumerate() {
        rule.add(update, &from(&i, Form::Delta, *samples), None, &[])?;
    }
    rule.finish()
}

/// Every rule with options that let it run: what it asks for, and small numbers where it clips nothing otherwise.
pub(crate) fn every_rule() -> Vec<(&'static str, Vec<(&'static str, f64)>)> {
    let options = |name: &str| match name {
        "qfedavg" => vec![("q", 1.0), ("lr", 0.5)],
        "scaffold" | "feddyn" => vec![("clients", 100.0)],
        "fedbuff" => vec![("goal", 7.0)],
        "fedavgm" => vec![("momentum", 0.5)],
        "krum" | "bulyan" => vec![("f", 1.0)],
        "multi-krum" => vec![("f", 1.0), ("keep", 3.0)],
        "centred-clip" => vec![("tau", 1.0), ("iterations", 2.0)],
        "norm-bound" => vec![("bound", 1.0)],
        _ => Vec::new(),
    };
    rules().iter().map(|info| (info.name, options(info.name))).collect()
}

/// A rule of [`every_rule`] with more options.
pub(crate) fn rule_with(name: &str, numbers: &[(&str, f64)], more: &[(&str, OptionValue)]) -> Aggregator {
    let numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), OptionValue::Number(*value)));
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Aggregator::create(name, &numbers.chain(more).collect::<Vec<_>>()).unwrap()
}

/// Adds an update, with the second model that some rules need.
pub(crate) fn add(rule: &mut Aggregator, update: &Model, about: &Contribution) -> Result<(), AggregateError> {
    let extra: Vec<_> =
        (rule.rule().name == "scaffold").then(|| ("control".to_owned(), update.clone())).into_iter().collect();
    rule.add(update, about, None, &extra)
}

/// Small whole numbers that follow from a seed; exact in every dtype.
pub(crate) fn pattern(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed * 13 + i * seed) % 23) as f32 + 1.0).collect()
}
