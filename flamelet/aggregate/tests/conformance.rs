//! The cases of the conformance list that concern a server's rule or its privacy, under their ids.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::{deltas, f32s, f64s, flat64, from, round, rule};
use flame_aggregate::{Aggregator, OptionValue};
use flame_model::{Form, Model, Tensor};

#[test]
fn opt_01_fedavg_weighs_deltas_by_samples() {
    let updates = [(f64s(&[1.0, 0.0]), 10), (f64s(&[0.0, 2.0]), 30)];
    let outcome = deltas(&mut rule("fedavg", &[]), &f64s(&[1.0, 2.0]), &updates).unwrap();
    assert_eq!(flat64(&outcome.model), [1.25, 3.5]);
}

#[test]
fn opt_02_a_round_of_nothing_or_of_abstainers_leaves_the_model_and_the_next_goes_on() {
    let base = f64s(&[1.0, 2.0]);
    let mut fedavg = rule("fedavg", &[]);
    for updates in [vec![], vec![(f64s(&[9.0, 9.0]), 0), (f64s(&[7.0, 7.0]), 0)]] {
        let outcome = deltas(&mut fedavg, &base, &updates).unwrap();
        assert_eq!((outcome.model, outcome.accepted, outcome.samples), (base.clone(), 0, 0));
    }
    assert_eq!(flat64(&deltas(&mut fedavg, &base, &[(f64s(&[1.0, 1.0]), 1)]).unwrap().model), [2.0, 3.0]);
}

#[test]
fn opt_07_fedbuff_ignores_sample_counts() {
    let result = |samples: [u64; 2]| {
        let updates = [(f64s(&[1.0]), samples[0]), (f64s(&[3.0]), samples[1])];
        deltas(&mut rule("fedbuff", &[("goal", 2.0)]), &f64s(&[0.0]), &updates).unwrap().model
    };
    assert_eq!(flat64(&result([1, 1000])), [2.0]);
    assert_eq!(result([1, 1000]), result([1000, 1]));
}

#[test]
fn opt_10_scaffold_moves_model_and_control() {
    let mut scaffold = rule("scaffold", &[("clients", 4.0)]);
    let control = |value: f64| vec![("control".to_owned(), f64s(&[value]))];
    scaffold.begin(&f64s(&[10.0]), &control(0.0)).unwrap();
    scaffold.add(&f64s(&[1.0]), &from("a", Form::Delta, 1), None, &control(2.0)).unwrap();
    scaffold.add(&f64s(&[3.0]), &from("b", Form::Delta, 1), None, &control(6.0)).unwrap();
    let outcome = scaffold.finish().unwrap();
    assert_eq!((flat64(&outcome.model), flat64(&outcome.extra[0].1)), (vec![12.0], vec![2.0]));
}

#[test]
fn opt_12_a_hierarchy_of_averages_is_the_flat_average() {
    let base = f64s(&[0.5, -0.5]);
    let clients = [(f64s(&[1.0, 4.0]), 10), (f64s(&[2.0, -3.0]), 30), (f64s(&[-7.0, 0.25]), 60)];
    let flat = round(&mut rule("fedavg", &[]), &base, &clients).unwrap().model;
    let middle = |clients: &[(Model, u64)]| {
        let outcome = round(&mut rule("fedavg", &[]), &base, clients).unwrap();
        (outcome.model, outcome.samples)
    };
    let top = round(&mut rule("fedavg", &[]), &base, &[middle(&clients[..2]), middle(&clients[2..])]).unwrap().model;
    for (flat, top) in flat64(&flat).iter().zip(flat64(&top)) {
        assert!((flat - top).abs() < 1e-12);
    }
}

#[test]
fn opt_14_integers_are_rounded_half_to_even_once() {
    let ints = |value: i64| -> Model { [("w", Tensor::from_elements(&[1], &[value]).unwrap())].into_iter().collect() };
    let updates = [(ints(1), 1), (ints(1), 1)];
    assert_eq!(deltas(&mut rule("fedavg", &[]), &ints(5), &updates).unwrap().model, ints(6));
}

#[test]
fn dp_02_noise_without_a_bound_is_refused() {
    for name in ["noise-multiplier", "clip-quantile", "epsilon"] {
        let error = Aggregator::create("fedavg", &[(name.to_owned(), OptionValue::Number(1.0))]).unwrap_err();
        assert!(error.to_string().contains("clip"), "{error}");
    }
}

#[test]
fn a_client_that_returns_the_unchanged_model_does_not_trouble_clipping() {
    let base = f32s(&[1.0, 2.0]);
    for options in [[("clip", 1e-3), ("clip-quantile", 0.5)], [("clip", 5.0), ("noise-multiplier", 0.0)]] {
        let outcome = round(&mut rule("fedavg", &options), &base, &[(base.clone(), 3), (base.clone(), 1)]).unwrap();
        assert_eq!(outcome.model, base);
    }
}
