//! What holds for all updates.
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
use flame_aggregate::rules;
use flame_model::{Dtype, Form, Model, Tensor};
use proptest::prelude::*;

fn updates(least: usize) -> impl Strategy<Value = Vec<(Vec<f32>, u64)>> {
    (0_usize..6).prop_flat_map(move |len| {
        prop::collection::vec((prop::collection::vec(-100_f32..100.0, len), 1_u64..1000), least..8)
    })
}

fn in_f32(updates: &[(Vec<f32>, u64)]) -> Vec<(Model, u64)> {
    updates.iter().map(|(values, samples)| (f32s(values), *samples)).collect()
}

fn in_f64(updates: &[(Vec<f32>, u64)]) -> Vec<(Model, u64)> {
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    updates.iter().map(|(values, samples)| (f64s(&wide(values)), *samples)).collect()
}

fn mean(updates: &[(Vec<f32>, u64)]) -> Vec<f64> {
    let total: u64 = updates.iter().map(|(_, samples)| samples).sum();
    let len = updates[0].0.len();
    let at = |i: usize| updates.iter().map(|(x, n)| f64::from(x[i]) * *n as f64).sum::<f64>() / total as f64;
    (0..len).map(at).collect()
}

proptest! {
    #[test]
    fn fedavg_is_within_k_half_ulps_of_the_exact_mean(updates in updates(1)) {
        let base = f32s(&vec![0.5; updates[0].0.len()]);
        let found = round(&mut rule("fedavg", &[]), &base, &in_f32(&updates)).unwrap().model.flat_f32();
        let largest = updates.iter().flat_map(|(x, _)| x).fold(0_f32, |a, x| a.max(x.abs()));
        let bound = f64::from(largest) * updates.len() as f64 * 2_f64.powi(-24);
        for (found, exact) in found.iter().zip(mean(&updates)) {
            prop_assert!((f64::from(*found) - exact).abs() <= bound, "{found} {exact} {bound}");
        }
    }

    #[test]
    fn the_same_updates_in_the_same_order_give_the_same_bits(updates in updates(1)) {
        let base = f32s(&vec![0.25; updates[0].0.len()]);
        for name in ["fedavg", "fedavgm", "fedadam", "fedasync"] {
            let first = round(&mut rule(name, &[]), &base, &in_f32(&updates)).unwrap();
            prop_assert_eq!(first, round(&mut rule(name, &[]), &base, &in_f32(&updates)).unwrap(), "{}", name);
        }
    }

    #[test]
    fn scaling_all_weights_changes_nothing(updates in updates(1), factor in 1_u64..1000) {
        let base = f32s(&vec![0.0; updates[0].0.len()]);
        let scaled: Vec<_> = in_f32(&updates).into_iter().map(|(model, samples)| (model, samples * factor)).collect();
        for name in ["fedavg", "fedyogi"] {
            let plain = round(&mut rule(name, &[]), &base, &in_f32(&updates)).unwrap().model;
            prop_assert_eq!(round(&mut rule(name, &[]), &base, &scaled).unwrap().model, plain);
        }
    }

    #[test]
    fn clients_that_all_send_one_model_give_that_model(x in prop::collection::vec(-1e6_f32..1e6, 1..6), weights in prop::collection::vec(1_u64..1 << 40, 1..9)) {
        let base = f32s(&vec![3.0; x.len()]);
        let updates: Vec<_> = weights.iter().map(|samples| (f32s(&x), *samples)).collect();
        prop_assert_eq!(round(&mut rule("fedavg", &[]), &base, &updates).unwrap().model.flat_f32(), x);
    }

    #[test]
    fn clients_that_return_the_base_leave_it(x in prop::collection::vec(-1e6_f32..1e6, 1..6), clients in 1_usize..6) {
        let base = f32s(&x);
        let updates: Vec<_> = (0..clients).map(|i| (base.clone(), i as u64 + 1)).collect();
        for name in ["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "fedasync"] {
            prop_assert_eq!(round(&mut rule(name, &[]), &base, &updates).unwrap().model.flat_f32(), x.clone(), "{}", name);
        }
    }

    #[test]
    fn a_mean_of_partial_means_is_the_mean(updates in updates(2), cut in any::<prop::sample::Index>()) {
        let cut = 1 + cut.index(updates.len() - 1);
        let base = f64s(&vec![1.0; updates[0].0.len()]);
        let part = |updates: &[(Vec<f32>, u64)]| {
            let outcome = round(&mut rule("fedavg", &[]), &base, &in_f64(updates)).unwrap();
            (outcome.model, outcome.samples)
        };
        let (left, right) = updates.split_at(cut);
        let split = round(&mut rule("fedavg", &[]), &base, &[part(left), part(right)]).unwrap().model;
        for (split, whole) in flat64(&split).iter().zip(mean(&updates)) {
            prop_assert!((split - whole).abs() <= 1e-11);
        }
    }

    #[test]
    fn the_order_of_updates_matters_only_in_the_last_digits(updates in updates(1)) {
        let base = f64s(&vec![1.0; updates[0].0.len()]);
        let mut turned = in_f64(&updates);
        turned.reverse();
        let forward = round(&mut rule("fedadam", &[]), &base, &in_f64(&updates)).unwrap().model;
        let backward = round(&mut rule("fedadam", &[]), &base, &turned).unwrap().model;
        for (a, b) in flat64(&forward).iter().zip(flat64(&backward)) {
            prop_assert!((a - b).abs() <= 1e-9);
        }
    }

    #[test]
    fn whole_models_and_their_deltas_agree(updates in updates(1)) {
        let len = updates[0].0.len();
        let base = f64s(&vec![0.5; len]);
        let differences: Vec<_> = in_f64(&updates)
            .into_iter()
            .map(|(model, samples)| (model.difference(&base).unwrap(), samples))
            .collect();
        for info in rules().iter().filter(|info| info.options.iter().all(|option| option.default.is_some())) {
            if info.name == "fedasync" && updates.len() > 1 {
                continue; // Its base moves with every arrival.
            }
            let whole = round(&mut rule(info.name, &[]), &base, &in_f64(&updates)).unwrap().model;
            let delta = deltas(&mut rule(info.name, &[]), &base, &differences).unwrap().model;
            for (a, b) in flat64(&whole).iter().zip(flat64(&delta)) {
                prop_assert!((a - b).abs() <= 1e-8, "{}: {a} {b}", info.name);
            }
        }
    }

    #[test]
    fn an_abstainer_changes_nothing(updates in updates(1), at in any::<prop::sample::Index>()) {
        let len = updates[0].0.len();
        let base = f32s(&vec![0.5; len]);
        let plain = round(&mut rule("fedadam", &[]), &base, &in_f32(&updates)).unwrap();
        let mut with = in_f32(&updates);
        with.insert(at.index(with.len() + 1), (f32s(&vec![1e9; len]), 0));
        prop_assert_eq!(round(&mut rule("fedadam", &[]), &base, &with).unwrap(), plain);
    }

    #[test]
    fn one_update_is_the_new_model(x in prop::collection::vec(-1e30_f32..1e30, 0..6), samples in 1_u64..1 << 40) {
        let base = f32s(&vec![1.0; x.len()]);
        prop_assert_eq!(round(&mut rule("fedavg", &[]), &base, &[(f32s(&x), samples)]).unwrap().model.flat_f32(), x);
    }
}

#[test]
fn accumulating_in_f64_keeps_what_f32_rounds_away() {
    let value = |i: u32| 1.0 + (i * 37 % 1000) as f32 * 1e-6;
    let exact = (0..1000).map(|i| f64::from(value(i))).sum::<f64>() / 1000.0;
    let off = |kind: &str| {
        let options = [("accumulate".to_owned(), flame_aggregate::OptionValue::Text(kind.to_owned()))];
        let mut fedavg = flame_aggregate::Aggregator::create("fedavg", &options).unwrap();
        let updates: Vec<_> = (0..1000).map(|i| (f32s(&[value(i)]), 1)).collect();
        let found = round(&mut fedavg, &f32s(&[0.0]), &updates).unwrap().model.flat_f32()[0];
        (f64::from(found) - exact).abs()
    };
    assert!(off("f64") <= 2_f64.powi(-24), "{}", off("f64"));
    assert!(off("f32") <= 1000.0 * 2_f64.powi(-24), "{}", off("f32"));
}

#[test]
fn zero_sized_tensors_and_models_without_tensors_pass_through() {
    let empty: Model = [
        ("a", Tensor::zeros(&[0, 3], Dtype::Float32).unwrap()),
        ("b", Tensor::zeros(&[0], Dtype::Int64).unwrap()),
        ("c", Tensor::zeros(&[], Dtype::Float16).unwrap()),
    ]
    .into_iter()
    .collect();
    for model in [empty, Model::new()] {
        for name in ["fedavg", "fedavgm", "fedadam", "fedasync"] {
            let updates = [(model.clone(), 1), (model.clone(), 2)];
            assert_eq!(round(&mut rule(name, &[]), &model, &updates).unwrap().model, model, "{name}");
        }
    }
}

#[test]
fn a_thousand_updates_and_many_tiny_tensors_stay_in_one_accumulator() {
    let model = |value: f32| -> Model {
        (0..500).map(|i| (format!("t{i}"), Tensor::from_f32(&[1], &[value]).unwrap())).collect()
    };
    let mut rule = rule("fedavg", &[]);
    rule.begin(&model(0.0), &[]).unwrap();
    for i in 0..1000_u16 {
        rule.add(&model(f32::from(i % 2)), &from(&i, Form::Full, 1), None, &[]).unwrap();
    }
    for value in rule.finish().unwrap().model.flat_f32() {
        assert!((value - 0.5).abs() < 1e-4, "{value}");
    }
}
