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

use flame_aggregate::{AggregateError, Aggregator, Contribution, OptionValue, Outcome};
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
