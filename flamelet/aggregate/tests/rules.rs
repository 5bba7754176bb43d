//! What each rule computes, by hand.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::{deltas, f32s, f64s, flat64, from, round, rule};
use flame_aggregate::{AggregateError, Aggregator, OptionValue};
use flame_model::{Dtype, Form, Model, Tensor};

fn close(found: &Model, expected: &[f64]) {
    for (found, expected) in flat64(found).iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
}

#[test]
fn fedavg_weighs_by_samples() {
    let base = f32s(&[1.0, 2.0]);
    let outcome = deltas(&mut rule("fedavg", &[]), &base, &[(f32s(&[1.0, 0.0]), 10), (f32s(&[0.0, 2.0]), 30)]).unwrap();
    assert_eq!((outcome.model, outcome.accepted, outcome.samples), (f32s(&[1.25, 3.5]), 2, 40));
}

#[test]
fn whole_models_deltas_and_models_of_an_older_base_mix() {
    let (base, older) = (f64s(&[10.0]), f64s(&[4.0]));
    let mut rule = rule("fedavg", &[]);
    rule.begin(&base, &[]).unwrap();
    // Each of them moved by +2.
    rule.add(&f64s(&[12.0]), &from("full", Form::Full, 1), None, &[]).unwrap();
    rule.add(&f64s(&[2.0]), &from("delta", Form::Delta, 2), None, &[]).unwrap();
    rule.add(&f64s(&[6.0]), &from("older", Form::Full, 3), Some(&older), &[]).unwrap();
    rule.add(&f64s(&[12.0]), &from("same base", Form::State, 4), Some(&base), &[]).unwrap();
    close(&rule.finish().unwrap().model, &[12.0]);
}

#[test]
fn the_update_and_the_base_are_left_alone_and_the_result_owns_its_storage() {
    let (base, update) = (f32s(&[1.0]), f32s(&[3.0]));
    let mut rule = rule("fedavg", &[]);
    let outcome = round(&mut rule, &base, &[(update.clone(), 1), (f32s(&[5.0]), 1)]).unwrap();
    assert_eq!((base, update), (f32s(&[1.0]), f32s(&[3.0])));
    assert!(!outcome.model.get("w").unwrap().is_shared());
}

#[test]
fn integers_are_rounded_once_half_to_even_and_keep_their_type() {
    let ints = |values: &[i64]| -> Model {
        [("w", Tensor::from_elements(&[values.len() as u64], values).unwrap())].into_iter().collect()
    };
    let big = (1 << 60) + 1;
    let base = ints(&[5, big, 0]);
    let outcome = deltas(&mut rule("fedavg", &[]), &base, &[(ints(&[1, 0, 1]), 1), (ints(&[0, 0, 0]), 1)]).unwrap();
    assert_eq!(outcome.model, ints(&[6, big, 0]), "5½ goes to 6, ½ to 0, and 2⁶⁰ + 1 keeps its last digit");
    // OPT-14 of the conformance list: two rounds' worth of half a step.
    let once = deltas(&mut rule("fedavg", &[]), &ints(&[5]), &[(ints(&[1]), 1), (ints(&[1]), 1)]).unwrap();
    assert_eq!(once.model, ints(&[6]));
}

#[test]
fn every_dtype_is_kept() {
    for dtype in Dtype::ALL {
        let of = |value: f32| -> Model {
            let mut tensor = Tensor::zeros(&[2], dtype).unwrap();
            tensor.write_f32(0, &[value, 2.0 * value]).unwrap();
            [("w", tensor)].into_iter().collect()
        };
        for form in [Form::Full, Form::Delta] {
            for name in ["fedavg", "fedavgm", "fedasync"] {
                let mut rule = rule(name, if name == "fedasync" { &[("mixing", 1.0)] } else { &[] });
                rule.begin(&of(2.0), &[]).unwrap();
                rule.add(&of(6.0), &from("a", form, 1), None, &[]).unwrap();
                let expected = if form == Form::Full { of(6.0) } else { of(8.0) };
                assert_eq!(rule.finish().unwrap().model, expected, "{name} {form} {dtype}");
            }
        }
    }
}

#[test]
fn fedavgm_carries_its_velocity_on() {
    let mut rule = rule("fedavgm", &[("lr", 0.5), ("momentum", 0.9)]);
    let first = deltas(&mut rule, &f64s(&[1.0]), &[(f64s(&[2.0]), 1)]).unwrap().model;
    close(&first, &[2.0]);
    // v = 0.9·2 + 4 = 5.8
    close(&deltas(&mut rule, &first, &[(f64s(&[4.0]), 1)]).unwrap().model, &[4.9]);
}

#[test]
fn the_flame_variant_begins_with_plain_fedavg_and_corrects_no_bias() {
    for name in ["fedadam", "fedadagrad", "fedyogi"] {
        let mut rule = Aggregator::create(name, &[("variant".into(), OptionValue::Text("flame".into()))]).unwrap();
        let first = deltas(&mut rule, &f64s(&[1.0]), &[(f64s(&[2.0]), 1)]).unwrap().model;
        close(&first, &[3.0]);
        let v: f64 = if name == "fedadagrad" { 4.0 } else { 0.04 };
        let expected = 3.0 + 0.01 * 0.2 / (v.sqrt() + 0.001);
        close(&deltas(&mut rule, &first, &[(f64s(&[2.0]), 1)]).unwrap().model, &[expected]);
    }
}

#[test]
fn a_restored_optimiser_goes_on_where_the_saved_one_stood() {
    for name in ["fedavgm", "fedadagrad", "fedadam", "fedyogi"] {
        let make = || if name == "fedavgm" { rule(name, &[("momentum", 0.5)]) } else { rule(name, &[]) };
        let (mut one, base) = (make(), f32s(&[1.0, -1.0]));
        let update = [(f32s(&[0.3, 0.2]), 3)];
        let first = deltas(&mut one, &base, &update).unwrap().model;
        let mut other = make();
        other.restore(one.save()).unwrap();
        let expected = deltas(&mut one, &first, &update).unwrap().model;
        assert_eq!(deltas(&mut other, &first, &update).unwrap().model, expected, "{name}");
        assert_ne!(deltas(&mut make(), &first, &update).unwrap().model, expected, "{name} has state");
        assert!(other.begin(&f32s(&[1.0]), &[]).is_err(), "{name}: a state of another model is refused");
    }
}

#[test]
fn fedbuff_divides_by_staleness_and_goal_and_ignores_samples() {
    let mut rule = rule("fedbuff", &[("goal", 2.0)]);
    rule.begin(&f64s(&[10.0]), &[]).unwrap();
    rule.add(&f64s(&[4.0]), &from("a", Form::Delta, 1), None, &[]).unwrap();
    assert!(matches!(rule.finish(), Err(AggregateError::NotEnough { needed: 2, found: 1, .. })));
    let mut stale = from("a", Form::Delta, 1000);
    stale.staleness = 3;
    rule.add(&f64s(&[4.0]), &stale, None, &[]).unwrap();
    assert!(rule.add(&f64s(&[4.0]), &stale, None, &[]).is_err(), "the buffer is full");
    // (4 + 4/√4) / 2
    close(&rule.finish().unwrap().model, &[13.0]);
}

#[test]
fn fedasync_mixes_in_the_order_of_arrival() {
    let mut rule = rule("fedasync", &[]);
    rule.begin(&f64s(&[10.0]), &[]).unwrap();
    rule.add(&f64s(&[20.0]), &from("a", Form::Full, 1), None, &[]).unwrap();
    let mut stale = from("b", Form::Delta, 1);
    stale.staleness = 3;
    rule.add(&f64s(&[1.0]), &stale, Some(&f64s(&[5.0])), &[]).unwrap();
    // 10 → 16 ; a = 0.6/2 : 0.7·16 + 0.3·6
    close(&rule.finish().unwrap().model, &[13.0]);
}

#[test]
fn scaffold_moves_the_model_and_the_control_variate() {
    let mut rule = rule("scaffold", &[("clients", 4.0)]);
    let control = |value: f64| vec![("control".to_owned(), f64s(&[value]))];
    rule.begin(&f64s(&[10.0]), &control(0.0)).unwrap();
    assert!(
        rule.add(&f64s(&[1.0]), &from("a", Form::Delta, 7), None, &[]).unwrap_err().to_string().contains("control")
    );
    rule.add(&f64s(&[1.0]), &from("a", Form::Delta, 7), None, &control(2.0)).unwrap();
    rule.add(&f64s(&[3.0]), &from("b", Form::Delta, 1), None, &control(6.0)).unwrap();
    let outcome = rule.finish().unwrap();
    close(&outcome.model, &[12.0]);
    assert_eq!(outcome.extra[0].0, "control");
    close(&outcome.extra[0].1, &[2.0]);
    // The control variate is kept for the next round.
    rule.begin(&outcome.model, &[]).unwrap();
    rule.add(&f64s(&[0.0]), &from("a", Form::Delta, 1), None, &control(4.0)).unwrap();
    close(&rule.finish().unwrap().extra[0].1, &[3.0]);
}
