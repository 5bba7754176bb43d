//! What holds for every rule of the catalogue, whatever it computes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::{add, begin, every_rule, from, pattern, rule_with};
use flame_aggregate::{Aggregator, Contribution, OptionValue, Outcome, rules};
use flame_model::{Dtype, Form, Metric, Model, Tensor};
use proptest::prelude::*;
use proptest::sample::Index;

const CLIENTS: usize = 7;

fn deterministic() -> (&'static str, OptionValue) {
    ("deterministic", OptionValue::Flag(true))
}

fn threads(count: f64) -> (&'static str, OptionValue) {
    ("threads", OptionValue::Number(count))
}

/// One large tensor of three pieces, many tiny ones, one without elements.
fn spread_out(seed: usize) -> Model {
    let large = Tensor::from_f32(&[140_000], &pattern(140_000, seed)).unwrap();
    let tiny = (0..40).map(|i| (format!("t{i}"), Tensor::from_f32(&[1], &pattern(1, seed + i)).unwrap()));
    let empty = ("none".to_owned(), Tensor::zeros(&[0, 3], Dtype::Float32).unwrap());
    std::iter::once(("large".to_owned(), large)).chain(tiny).chain([empty]).collect()
}

fn of(dtype: Dtype, values: &[f32]) -> Model {
    let mut tensor = Tensor::zeros(&[values.len() as u64], dtype).unwrap();
    tensor.write_f32(0, values).unwrap();
    [("w", tensor)].into_iter().collect()
}

fn about(i: usize) -> Contribution {
    let mut about = from(&format!("client {i}"), if i % 3 == 1 { Form::Delta } else { Form::Full }, i as u64 * 37 + 1);
    about.staleness = i as u64 % 4;
    about.metrics = vec![Metric::new("loss", 0.1 + i as f64 / 3.0), Metric::new("steps", 1.0 + i as f64 / 7.0)];
    about
}

/// A round of updates in an order.
fn round(rule: &mut Aggregator, base: &Model, updates: &[Model], order: &[usize]) -> Outcome {
    begin(rule, base).unwrap();
    for i in order {
        add(rule, &updates[*i], &about(*i)).unwrap();
    }
    rule.finish().unwrap()
}

fn all() -> Vec<usize> {
    (0..CLIENTS).collect()
}

fn shuffled(swaps: &[(Index, Index)]) -> Vec<usize> {
    let mut order = all();
    for (a, b) in swaps {
        order.swap(a.index(CLIENTS), b.index(CLIENTS));
    }
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_deterministic_rule_gives_the_same_bits_in_any_order_and_on_any_number_of_threads(
        values in prop::collection::vec(prop::collection::vec(-3_f32..3.0, 11), CLIENTS + 1),
        swaps in prop::collection::vec(any::<(Index, Index)>(), 1..8),
        count in 1_u8..4,
        in_f64 in any::<bool>(),
    ) {
        let updates: Vec<_> = values.iter().map(|values| of(Dtype::Float32, values)).collect();
        let base = &updates[CLIENTS];
        for (name, options) in every_rule() {
            let kind = OptionValue::Text(if in_f64 { "f64" } else { "f32" }.to_owned());
            let kind = ("accumulate", kind);
            let mut one = rule_with(name, &options, &[deterministic(), kind.clone(), threads(1.0)]);
            let mut other = rule_with(name, &options, &[deterministic(), kind, threads(f64::from(count))]);
            for _ in 0..2 {
                let (first, second) = (round(&mut one, base, &updates, &all()), round(&mut other, base, &updates, &shuffled(&swaps)));
                prop_assert_eq!(first, second, "{}", name);
            }
            prop_assert_eq!(one.save(), other.save(), "{}", name);
        }
    }

    #[test]
    fn the_order_of_arrival_hardly_matters_to_any_rule(
        values in prop::collection::vec(prop::collection::vec(-3_f32..3.0, 5), CLIENTS + 1),
        swaps in prop::collection::vec(any::<(Index, Index)>(), 1..8),
    ) {
        let updates: Vec<_> = values.iter().map(|values| of(Dtype::Float32, values)).collect();
        for (name, options) in every_rule() {
            // There the order is part of the rule.
            if name == "fedasync" {
                continue;
            }
            let first = round(&mut rule_with(name, &options, &[]), &updates[CLIENTS], &updates, &all()).model.flat_f32();
            let second = round(&mut rule_with(name, &options, &[]), &updates[CLIENTS], &updates, &shuffled(&swaps));
            for (a, b) in first.iter().zip(second.model.flat_f32()) {
                prop_assert!((a - b).abs() < 1e-4, "{}: {} {}", name, a, b);
            }
        }
    }

    #[test]
    fn a_deterministic_mean_is_within_half_a_quantum_of_the_exact_one(
        values in prop::collection::vec(prop::collection::vec(-1e3_f32..1e3, 4), 1..9),
        samples in prop::collection::vec(1_u64..1 << 40, 9),
    ) {
        let base = of(Dtype::Float32, &[0.0; 4]);
        let mut rule = rule_with("fedavg", &[], &[deterministic()]);
        rule.begin(&base, &[]).unwrap();
        for (i, values) in values.iter().enumerate() {
            rule.add(&of(Dtype::Float32, values), &from(&i, Form::Full, samples[i]), None, &[]).unwrap();
        }
        let total: f64 = samples[..values.len()].iter().map(|samples| *samples as f64).sum();
        for (at, found) in rule.finish().unwrap().model.flat_f32().into_iter().enumerate() {
            let exact: f64 = values.iter().zip(&samples).map(|(x, n)| f64::from(x[at]) * (*n as f64 / total)).sum();
            let bound = 2_f64.powi(-24) * exact.abs() + 2_f64.powi(-41) + 1e-10;
            prop_assert!((f64::from(found) - exact).abs() <= bound, "{} {}", found, exact);
        }
    }
}

#[test]
fn threads_change_no_bit_of_any_rule() {
    let updates: Vec<_> = (0..=CLIENTS).map(spread_out).collect();
    for (name, options) in every_rule() {
        for more in [vec![], vec![deterministic()]] {
            let run = |count| {
                let more: Vec<_> = more.iter().cloned().chain([threads(count)]).collect();
                round(&mut rule_with(name, &options, &more), &updates[CLIENTS], &updates, &all())
            };
            let one = run(1.0);
            assert_eq!(one.model.len(), 42);
            assert_eq!(one, run(3.0), "{name}");
        }
    }
}

#[test]
fn a_restored_job_goes_on_as_if_nothing_had_happened() {
    let updates: Vec<_> = (0..=CLIENTS).map(|seed| of(Dtype::Float32, &pattern(9, seed))).collect();
    let private = [("clip", 3.0), ("clip-quantile", 0.5), ("clip-lr", 0.7)];
    let noisy = [("noise-multiplier", 0.3), ("seed", 5.0)];
    for (name, options) in every_rule() {
        let info = rules().iter().find(|info| info.name == name).unwrap();
        let noisy = if info.noise { &noisy[..] } else { &[] };
        for more in [vec![], private.iter().chain(noisy).copied().collect::<Vec<_>>()] {
            let options: Vec<_> = options.iter().copied().chain(more).collect();
            let make = || rule_with(name, &options, &[]);
            let (mut whole, mut global) = (make(), updates[CLIENTS].clone());
            for _ in 0..3 {
                global = round(&mut whole, &global, &updates, &all()).model;
                let mut restored = make();
                restored.restore(whole.save()).unwrap();
                let expected = round(&mut whole, &global, &updates, &all());
                assert_eq!(round(&mut restored, &global, &updates, &all()), expected, "{name}");
                assert_eq!(restored.save(), whole.save(), "{name}");
                assert_eq!(restored.privacy(), whole.privacy(), "{name}");
            }
        }
    }
}

#[test]
fn a_state_of_another_model_or_rule_is_refused() {
    let updates: Vec<_> = (0..=CLIENTS).map(|seed| of(Dtype::Float32, &pattern(9, seed))).collect();
    for (name, options) in every_rule() {
        let mut rule = rule_with(name, &options, &[]);
        round(&mut rule, &updates[CLIENTS], &updates, &all());
        let saved = rule.save();
        if saved.is_empty() {
            assert!(rule.restore(vec![("nothing".to_owned(), Model::new())]).is_err(), "{name}");
        } else {
            let mut other = rule_with(name, &options, &[]);
            other.restore(saved).unwrap();
            assert!(begin(&mut other, &of(Dtype::Float32, &pattern(8, 1))).is_err(), "{name}");
        }
    }
}

#[test]
fn a_dropped_round_leaves_no_trace() {
    let updates: Vec<_> = (0..=CLIENTS).map(|seed| of(Dtype::Float32, &pattern(9, seed))).collect();
    for (name, options) in every_rule() {
        let (mut clean, mut rule) = (rule_with(name, &options, &[]), rule_with(name, &options, &[]));
        begin(&mut rule, &updates[CLIENTS]).unwrap();
        add(&mut rule, &of(Dtype::Float32, &[50.0; 9]), &about(3)).unwrap();
        let expected = round(&mut clean, &updates[CLIENTS], &updates, &all());
        assert_eq!(round(&mut rule, &updates[CLIENTS], &updates, &all()), expected, "{name}");
        assert_eq!(rule.save(), clean.save(), "{name}");
    }
}

#[test]
fn every_rule_keeps_every_dtype() {
    for dtype in Dtype::ALL {
        let updates: Vec<_> = (0..=CLIENTS).map(|seed| of(dtype, &pattern(6, seed))).collect();
        for (name, options) in every_rule() {
            for more in [vec![], vec![deterministic()], vec![("accumulate", OptionValue::Text("f64".into()))]] {
                let outcome = round(&mut rule_with(name, &options, &more), &updates[CLIENTS], &updates, &all());
                updates[0].same_layout(&outcome.model).unwrap();
                assert!(outcome.model.all_finite(), "{name} {dtype}");
                assert_eq!(outcome.accepted as usize, CLIENTS, "{name} {dtype}");
            }
        }
    }
}

#[test]
fn clients_that_all_agree_are_followed() {
    let base = of(Dtype::Float32, &[1.0, 2.0, 3.0]);
    let agreed = of(Dtype::Float32, &[1.5, 1.75, 3.25]);
    for (name, options) in every_rule() {
        // These take steps of their own length.
        if ["fedadagrad", "fedadam", "fedyogi", "fedasync", "fedbuff", "qfedavg", "fltrust"].contains(&name) {
            continue;
        }
        for more in [vec![], vec![deterministic()]] {
            let mut rule = rule_with(name, &options, &more);
            begin(&mut rule, &base).unwrap();
            for i in all() {
                add(&mut rule, &agreed, &from(&i, Form::Full, i as u64 + 1)).unwrap();
            }
            for (found, agreed) in rule.finish().unwrap().model.flat_f32().iter().zip(agreed.flat_f32()) {
                assert!((found - agreed).abs() < 1e-6, "{name}: {found} is not {agreed}");
            }
        }
    }
}

#[test]
fn models_without_elements_and_without_tensors_pass_through() {
    let empty: Model = [
        ("a", Tensor::zeros(&[0, 3], Dtype::Float32).unwrap()),
        ("b", Tensor::zeros(&[0], Dtype::Int64).unwrap()),
        ("c", Tensor::zeros(&[], Dtype::Float16).unwrap()),
    ]
    .into_iter()
    .collect();
    for model in [empty, Model::new()] {
        let updates = vec![model.clone(); CLIENTS];
        for (name, options) in every_rule() {
            for more in [vec![], vec![deterministic()]] {
                let outcome = round(&mut rule_with(name, &options, &more), &model, &updates, &all());
                assert_eq!(outcome.model, model, "{name}");
            }
        }
    }
}

#[test]
fn a_streaming_rule_holds_no_update_and_no_rule_copies_one() {
    let updates: Vec<_> = (0..=CLIENTS).map(|seed| of(Dtype::Float32, &pattern(9, seed))).collect();
    for (name, options) in every_rule() {
        let info = rules().iter().find(|info| info.name == name).unwrap();
        let mut rule = rule_with(name, &options, &[]);
        begin(&mut rule, &updates[CLIENTS]).unwrap();
        for i in all() {
            let update: Model = updates[i].iter().map(|(name, tensor)| (name, copy(tensor))).collect();
            rule.add(&update, &about(i), None, &[("control".to_owned(), updates[i].clone())]).unwrap();
            // A handle elsewhere shows; a copy of the numbers would not be one.
            assert_eq!(update.get("w").unwrap().is_shared(), !info.streams, "{name}");
        }
        assert_eq!(rule.held_bytes(), if info.streams { 0 } else { 7 * 36 }, "{name}");
        rule.finish().unwrap();
        assert_eq!(rule.held_bytes(), 0, "{name}");
    }
}

fn copy(tensor: &Tensor) -> Tensor {
    Tensor::from_bytes(tensor.shape(), tensor.dtype(), tensor.bytes()).unwrap()
}
