//! What the rules that hold all updates compute, by hand and beside plain sorting.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::{deltas, f32s, f64s, flat64, from, pattern, round, rule};
use flame_aggregate::AggregateError;
use flame_model::{Form, Model, Tensor};
use proptest::prelude::*;

fn close(found: &Model, expected: &[f64]) {
    let found = flat64(found);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn medians_and_trimmed_means_are_those_of_sorted_columns(
        clients in 1_usize..80,
        len in 1_usize..200,
        beta in 0_f64..0.49,
        seed in 0_usize..1000,
    ) {
        let rows: Vec<_> = (0..clients).map(|i| pattern(len, seed + i * i)).collect();
        let updates: Vec<_> = rows.iter().map(|row| (f32s(row), 1)).collect();
        let base = f32s(&vec![1.0; len]);
        let cut = (beta * clients as f64) as usize;
        let median = round(&mut rule("median", &[]), &base, &updates).unwrap().model.flat_f32();
        let trimmed = round(&mut rule("trimmed-mean", &[("beta", beta)]), &base, &updates).unwrap().model.flat_f32();
        for at in 0..len {
            let mut column: Vec<f64> = rows.iter().map(|row| f64::from(row[at])).collect();
            column.sort_by(f64::total_cmp);
            let middle = f64::midpoint(column[(clients - 1) / 2], column[clients / 2]);
            prop_assert!((f64::from(median[at]) - middle).abs() < 1e-12);
            let kept = &column[cut..clients - cut];
            let mean = kept.iter().sum::<f64>() / kept.len() as f64;
            prop_assert!((f64::from(trimmed[at]) - mean).abs() < 1e-5, "{} {}", trimmed[at], mean);
        }
    }
}

#[test]
fn integers_have_exact_medians_rounded_half_to_even() {
    let ints = |values: &[i64]| -> Model {
        [("w", Tensor::from_elements(&[values.len() as u64], values).unwrap())].into_iter().collect()
    };
    let big = (1_i64 << 60) + 1;
    let updates = [(ints(&[1, big]), 1), (ints(&[2, big + 2]), 1), (ints(&[9, 0]), 1)];
    let base = ints(&[0, 0]);
    assert_eq!(round(&mut rule("median", &[]), &base, &updates).unwrap().model, ints(&[2, big]));
    assert_eq!(round(&mut rule("median", &[]), &base, &updates[..2]).unwrap().model, ints(&[2, big + 1]));
    let delta = deltas(&mut rule("median", &[]), &ints(&[5, big]), &[(ints(&[1, 1]), 1), (ints(&[2, 2]), 1)]);
    assert_eq!(delta.unwrap().model, ints(&[6, big + 1]), "6½ goes to 6, and large integers keep their digits");
}

#[test]
fn one_wild_client_moves_no_median_and_no_trimmed_mean_far() {
    let base = f32s(&[0.0]);
    let mut updates: Vec<_> = (0..9).map(|i| (f32s(&[i as f32 / 10.0]), 1)).collect();
    updates.push((f32s(&[1e30]), 1 << 40));
    for (name, options) in
        [("median", vec![]), ("trimmed-mean", vec![]), ("krum", vec![("f", 1.0)]), ("bulyan", vec![("f", 1.0)])]
    {
        let found = round(&mut rule(name, &options), &base, &updates).unwrap().model.flat_f32()[0];
        assert!((0.0..=0.9).contains(&found), "{name}: {found}");
    }
}

#[test]
fn krum_sees_small_distances_between_large_models() {
    // In 32 bits ‖x‖² + ‖y‖² − 2x·y of these is noise.
    let base = f32s(&[1e6; 4]);
    let near = |offset: f32| (f32s(&[1e6 + offset, 1e6, 1e6 - offset, 1e6]), 1);
    let updates = [near(0.0), near(0.125), near(0.25), near(40.0), near(0.5)];
    let outcome = round(&mut rule("krum", &[("f", 1.0)]), &base, &updates).unwrap();
    assert_eq!(outcome.model, updates[1].0);
    assert!(outcome.warnings.is_empty());
}

#[test]
fn too_few_updates_are_refused_and_a_weak_promise_is_told() {
    let base = f32s(&[0.0]);
    for (name, options, needed) in [
        ("krum", vec![("f", 2.0)], 4),
        ("multi-krum", vec![("f", 1.0), ("keep", 5.0)], 5),
        ("bulyan", vec![("f", 1.0)], 7),
    ] {
        let mut rule = rule(name, &options);
        rule.begin(&base, &[]).unwrap();
        for i in 0..needed {
            let error = rule.finish();
            if i > 0 {
                let found = matches!(error, Err(AggregateError::NotEnough { needed: asked, found, .. }) if (asked, found) == (needed, i));
                assert!(found, "{name}");
                assert!(rule.is_open(), "{name}");
            } else {
                // Nothing folded in: the base comes back.
                rule.begin(&base, &[]).unwrap();
            }
            rule.add(&f32s(&[i as f32]), &from(&i, Form::Full, 1), None, &[]).unwrap();
        }
        let outcome = rule.finish().unwrap();
        assert_eq!(outcome.warnings.len(), usize::from(name == "krum"), "{name}: {:?}", outcome.warnings);
    }
}

#[test]
fn krum_takes_a_delta_for_the_model_that_it_makes() {
    let base = f64s(&[10.0]);
    let mut krum = rule("krum", &[("f", 0.0)]);
    krum.begin(&base, &[]).unwrap();
    krum.add(&f64s(&[11.0]), &from("a", Form::Full, 1), None, &[]).unwrap();
    krum.add(&f64s(&[1.5]), &from("b", Form::Delta, 1), None, &[]).unwrap();
    krum.add(&f64s(&[3.0]), &from("c", Form::Full, 1), Some(&f64s(&[1.75])), &[]).unwrap();
    // 11, 11.5 and 10 + 1.25
    close(&krum.finish().unwrap().model, &[11.0]);
}

#[test]
fn multi_krum_weighs_the_kept_by_samples() {
    let updates = [(f64s(&[0.0]), 1), (f64s(&[1.0]), 3), (f64s(&[2.0]), 2), (f64s(&[90.0]), 50)];
    let outcome = round(&mut rule("multi-krum", &[("f", 1.0), ("keep", 2.0)]), &f64s(&[0.0]), &updates).unwrap();
    // Scores 1, 1, 1 and much: the first two.
    close(&outcome.model, &[0.75]);
}

#[test]
fn bulyan_takes_what_is_near_the_median_of_krums_choice() {
    let values = [1.0, 1.1, 1.2, 1.3, 1.4, 50.0, -40.0];
    let updates: Vec<_> = values.iter().map(|value| (f64s(&[*value]), 1)).collect();
    let found = flat64(&round(&mut rule("bulyan", &[("f", 1.0)]), &f64s(&[0.0]), &updates).unwrap().model)[0];
    // Five are chosen, the three nearest to 1.2 averaged.
    assert!((found - 1.2).abs() < 1e-9, "{found}");
}

#[test]
fn the_geometric_median_of_a_majority_is_where_the_majority_is() {
    let updates = [(f64s(&[1.0, 1.0]), 1), (f64s(&[1.0, 1.0]), 1), (f64s(&[1.0, 1.0]), 1), (f64s(&[1e3, -1e3]), 1)];
    let base = f64s(&[0.0, 0.0]);
    let found = flat64(&round(&mut rule("geometric-median", &[("iterations", 60.0)]), &base, &updates).unwrap().model);
    assert!((found[0] - 1.0).abs() < 1e-3 && (found[1] - 1.0).abs() < 1e-3, "{found:?}");
}

#[test]
fn the_geometric_medians_epsilon_is_a_distance_and_no_budget() {
    // Both are nearer to the mean than 100, so that both weigh the same again.
    let updates = [(f64s(&[0.0]), 1), (f64s(&[6.0]), 2)];
    for options in [vec![("epsilon", 100.0)], vec![("epsilon", 100.0), ("clip", 50.0)]] {
        close(&round(&mut rule("geometric-median", &options), &f64s(&[0.0]), &updates).unwrap().model, &[4.0]);
    }
}

#[test]
fn one_step_of_weiszfeld_by_hand() {
    // From the mean 2 of 0, 1 and 5 (weights 1): distances 2, 1, 3.
    let updates = [(f64s(&[0.0]), 1), (f64s(&[1.0]), 1), (f64s(&[5.0]), 1)];
    let found = round(&mut rule("geometric-median", &[("iterations", 1.0)]), &f64s(&[7.0]), &updates).unwrap().model;
    close(&found, &[(1.0 + 5.0 / 3.0) / (0.5 + 1.0 + 1.0 / 3.0)]);
}

#[test]
fn centred_clipping_starts_from_the_last_rounds_model() {
    let mut clip = rule("centred-clip", &[("tau", 1.0)]);
    let updates = [(f64s(&[3.0]), 1), (f64s(&[0.5]), 9)];
    // From w = 0: mean(1, 0.5).
    close(&round(&mut clip, &f64s(&[0.0]), &updates).unwrap().model, &[0.75]);
    // From v = 0.75 whatever the base is: mean(1, −0.25).
    close(&round(&mut clip, &f64s(&[0.25]), &updates).unwrap().model, &[0.75 + 0.375]);
    let mut twice = rule("centred-clip", &[("tau", 1.0), ("iterations", 2.0)]);
    close(&round(&mut twice, &f64s(&[0.0]), &updates).unwrap().model, &[0.75 + 0.375]);
}

#[test]
fn norm_bounding_bounds_what_one_client_can_do() {
    let updates = [(f64s(&[3.0, 4.0]), 1), (f64s(&[0.6, 0.0]), 3)];
    let found = deltas(&mut rule("norm-bound", &[("bound", 1.0)]), &f64s(&[1.0, 1.0]), &updates).unwrap().model;
    close(&found, &[1.0 + (0.6 + 3.0 * 0.6) / 4.0, 1.0 + 0.8 / 4.0]);
}

#[test]
fn fltrust_trusts_by_direction_and_scales_to_the_servers_norm() {
    let mut trust = rule("fltrust", &[]);
    let base = f64s(&[1.0, 1.0]);
    assert!(trust.begin(&base, &[]).unwrap_err().to_string().contains("server-update"));
    let server = vec![("server-update".to_owned(), f64s(&[2.0, 0.0]))];
    trust.begin(&base, &server).unwrap();
    for (source, delta) in
        [("along", [5.0, 0.0]), ("against", [-1.0, 0.0]), ("across", [3.0, 3.0]), ("nowhere", [0.0, 0.0])]
    {
        trust.add(&f64s(&delta), &from(source, Form::Delta, 1), None, &[]).unwrap();
    }
    let half = 0.5_f64.sqrt();
    // Trust 1 and √½, both at the norm 2.
    let expected = [1.0 + (2.0 + half * 2.0 * half) / (1.0 + half), 1.0 + half * 2.0 * half / (1.0 + half)];
    close(&trust.finish().unwrap().model, &expected);
    trust.begin(&base, &server).unwrap();
    trust.add(&f64s(&[-1.0, 0.0]), &from("against", Form::Delta, 1), None, &[]).unwrap();
    let outcome = trust.finish().unwrap();
    assert_eq!((outcome.model, outcome.warnings.len()), (base, 1));
}

#[test]
fn fednova_undoes_unequal_numbers_of_steps() {
    let mut nova = rule("fednova", &[]);
    nova.begin(&f64s(&[1.0]), &[]).unwrap();
    for (source, delta, samples, steps) in [("a", 2.0, 1, 2.0), ("b", 12.0, 3, 4.0)] {
        let mut about = from(source, Form::Delta, samples);
        about.metrics = vec![common::metric("steps", steps)];
        nova.add(&f64s(&[delta]), &about, None, &[]).unwrap();
    }
    // Σpτ = 3.5 ; Σpδ/τ = 0.25·1 + 0.75·3
    close(&nova.finish().unwrap().model, &[1.0 + 3.5 * 2.5]);
    nova.begin(&f64s(&[1.0]), &[]).unwrap();
    let mut about = from("a", Form::Delta, 1);
    for steps in [None, Some(0.0), Some(-1.0), Some(f64::NAN)] {
        about.metrics = steps.map(|steps| common::metric("steps", steps)).into_iter().collect();
        assert!(nova.add(&f64s(&[1.0]), &about, None, &[]).unwrap_err().to_string().contains("steps"));
    }
}

#[test]
fn qfedavg_asks_for_a_loss() {
    let mut fair = rule("qfedavg", &[("q", 1.0), ("lr", 0.1)]);
    fair.begin(&f64s(&[1.0]), &[]).unwrap();
    let mut about = from("a", Form::Delta, 1);
    for loss in [None, Some(-0.5), Some(f64::INFINITY), Some(1e300)] {
        about.metrics = loss.map(|loss| common::metric("loss", loss)).into_iter().collect();
        assert!(fair.add(&f64s(&[1.0]), &about, None, &[]).unwrap_err().to_string().contains("loss"), "{loss:?}");
    }
}

#[test]
fn feddyn_broadcasts_the_mean_history_of_the_rounds_clients() {
    let mut dyn_rule = rule("feddyn", &[("alpha", 0.1), ("clients", 2.0)]);
    let first = deltas(&mut dyn_rule, &f64s(&[10.0]), &[(f64s(&[1.0]), 1), (f64s(&[3.0]), 9)]).unwrap();
    close(&first.model, &[12.0]);
    assert_eq!(first.extra[0].0, "broadcast");
    close(&first.extra[0].1, &[14.0]);
    // Histories 1 + 0.5 and 3 + 0.5.
    let second = deltas(&mut dyn_rule, &first.model, &[(f64s(&[0.5]), 1), (f64s(&[0.5]), 1)]).unwrap();
    close(&second.model, &[12.5]);
    close(&second.extra[0].1, &[12.5 + 2.5]);
    dyn_rule.begin(&second.model, &[]).unwrap();
    let error = dyn_rule.add(&f64s(&[0.5]), &from("a third", Form::Delta, 1), None, &[]).unwrap_err();
    assert!(error.to_string().contains("clients"), "{error}");
}
