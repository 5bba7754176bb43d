//! Clipping, noise, the bound that follows a quantile, and the budget.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::{deltas, every_rule, f32s, f64s, flat64, from, rule};
use flame_aggregate::{AggregateError, Aggregator, OptionValue, rules};
use flame_model::{Form, Model, Tensor};

fn create(name: &str, options: &[(&str, f64)]) -> Result<Aggregator, AggregateError> {
    let options: Vec<_> =
        options.iter().map(|(name, value)| ((*name).to_owned(), OptionValue::Number(*value))).collect();
    Aggregator::create(name, &options)
}

#[test]
fn the_norm_that_is_clipped_is_that_of_the_whole_model() {
    let of = |a: f64, b: f64| -> Model {
        [("a", Tensor::from_elements(&[1], &[a]).unwrap()), ("b", Tensor::from_elements(&[1], &[b]).unwrap())]
            .into_iter()
            .collect()
    };
    let mut fedavg = rule("fedavg", &[("clip", 1.0)]);
    let outcome = deltas(&mut fedavg, &of(0.0, 0.0), &[(of(3.0, 4.0), 1)]).unwrap();
    assert!((outcome.model.norm_l2() - 1.0).abs() < 1e-12);
    assert!((outcome.model.get("a").unwrap().as_slice::<f64>().unwrap()[0] - 0.6).abs() < 1e-12);
}

#[test]
fn every_rule_takes_clipped_updates_whatever_form_they_have() {
    let base = f32s(&[2.0, 2.0]);
    for (name, options) in every_rule() {
        let options: Vec<_> = options.into_iter().chain([("clip", 0.5)]).collect();
        let mut rule = rule(name, &options);
        common::begin(&mut rule, &base).unwrap();
        for i in 0..7_u8 {
            let (form, values) = if i % 2 == 0 { (Form::Full, [2.0, 32.0]) } else { (Form::Delta, [0.0, 30.0]) };
            common::add(&mut rule, &f32s(&values), &from(&i, form, 1)).unwrap();
        }
        let moved = rule.finish().unwrap().model.flat_f32();
        assert!((moved[0] - 2.0).abs() < 1.0 && moved[1] >= 2.0 && moved[1] < 7.0, "{name}: {moved:?}");
    }
}

#[test]
fn the_noise_has_the_promised_width_and_follows_the_seed() {
    let len = 200_000;
    let base = f64s(&vec![0.0; len]);
    let options = [("clip", 0.5), ("noise-multiplier", 2.0), ("seed", 7.0)];
    for name in ["fedavg", "fedprox", "fedavgm", "norm-bound"] {
        let options: Vec<_> = options.iter().copied().chain((name == "norm-bound").then_some(("bound", 9.0))).collect();
        let updates: Vec<_> = (0..4).map(|i| (base.clone(), i + 1)).collect();
        let noise = flat64(&deltas(&mut rule(name, &options), &base, &updates).unwrap().model);
        let mean = noise.iter().sum::<f64>() / len as f64;
        let sigma = (noise.iter().map(|x| x * x).sum::<f64>() / len as f64).sqrt();
        // z·C/K = 0.25 ; the estimates are off by σ/√n and σ/√(2n).
        assert!(mean.abs() < 5.0 * 0.25 / (len as f64).sqrt(), "{name}: {mean}");
        assert!((sigma - 0.25).abs() < 5.0 * 0.25 / (2.0 * len as f64).sqrt(), "{name}: {sigma}");
        assert_eq!(flat64(&deltas(&mut rule(name, &options), &base, &updates).unwrap().model), noise, "{name}");
        let mut twice = rule(name, &options);
        deltas(&mut twice, &base, &updates).unwrap();
        assert_ne!(
            flat64(&deltas(&mut twice, &base, &updates).unwrap().model),
            noise,
            "{name}: no noise is used twice"
        );
    }
    let fresh = |_| flat64(&deltas(&mut rule("fedavg", &options[..2]), &base, &[(base.clone(), 1)]).unwrap().model);
    assert_ne!(fresh(0), fresh(1), "without a seed it is the operating system's");
}

#[test]
fn under_noise_every_client_weighs_the_same() {
    let mut fedavg = rule("fedavg", &[("clip", 10.0), ("noise-multiplier", 1e-9), ("seed", 1.0)]);
    let updates = [(f64s(&[1.0]), 1), (f64s(&[3.0]), 1_000_000)];
    let found = flat64(&deltas(&mut fedavg, &f64s(&[0.0]), &updates).unwrap().model)[0];
    assert!((found - 2.0).abs() < 1e-6, "{found}");
}

#[test]
fn noise_is_refused_where_it_would_promise_what_it_does_not_give() {
    for (name, options) in every_rule() {
        let noise: Vec<_> = options.into_iter().chain([("clip", 1.0), ("noise-multiplier", 1.0)]).collect();
        let info = rules().iter().find(|info| info.name == name).unwrap();
        assert_eq!(create(name, &noise).is_ok(), info.noise, "{name}");
    }
    assert!(
        create("median", &[("clip", 1.0), ("noise-multiplier", 1.0)]).unwrap_err().to_string().contains("averages")
    );
}

#[test]
fn privacy_options_that_do_not_fit_together_are_refused() {
    for options in [
        &[("clip", 0.0)][..],
        &[("noise-multiplier", 1.0)],
        &[("clip", 1.0), ("noise-multiplier", -1.0)],
        &[("clip", 1.0), ("clip-lr", 0.1)],
        &[("clip", 1.0), ("clip-quantile", 1.5)],
        &[("clip", 1.0), ("epsilon", 1.0), ("delta", 1e-5)],
        &[("clip", 1.0), ("noise-multiplier", 1.0), ("epsilon", 1.0)],
        &[("clip", 1.0), ("noise-multiplier", 1.0), ("delta", 1.0)],
        &[("clip", 1.0), ("noise-multiplier", 1.0), ("sampling-rate", 0.0)],
        &[("clip", 1.0), ("noise-multiplier", 1.0), ("seed", 0.5)],
    ] {
        assert!(matches!(create("fedavg", options), Err(AggregateError::InvalidArgument(_))), "{options:?}");
    }
}

#[test]
fn the_bound_moves_towards_the_quantile_of_the_norms() {
    let base = f64s(&[0.0]);
    let updates: Vec<_> = (1..=9).map(|norm| (f64s(&[f64::from(norm)]), 1)).collect();
    for start in [0.01, 1000.0] {
        let mut fedavg = rule("fedavg", &[("clip", start), ("clip-quantile", 0.5), ("clip-lr", 0.5)]);
        for _ in 0..200 {
            deltas(&mut fedavg, &base, &updates).unwrap();
        }
        let clip = fedavg.privacy().unwrap().clip;
        assert!((3.9..6.1).contains(&clip), "from {start}: {clip}");
    }
}

#[test]
fn a_blurred_count_hides_the_count_and_needs_enough_updates() {
    let options = [("clip", 1.0), ("clip-quantile", 0.5), ("noise-multiplier", 1.0), ("seed", 3.0)];
    let base = f64s(&[0.0]);
    let mut few = rule("fedavg", &options);
    let error = deltas(&mut few, &base, &[(f64s(&[0.1]), 1)]).unwrap_err();
    assert!(error.to_string().contains("clip-count-stddev"), "{error}");
    assert!(few.is_open(), "more may come");
    let many: Vec<_> = (0..40).map(|_| (f64s(&[0.1]), 1)).collect();
    let mut fedavg = rule("fedavg", &options);
    deltas(&mut fedavg, &base, &many).unwrap();
    let clip = fedavg.privacy().unwrap().clip;
    let plain = (-0.2 * 0.5_f64).exp();
    assert!((clip - plain).abs() > 1e-6 && (clip - plain).abs() < 0.1, "{clip} near {plain}, but not it");
}

#[test]
fn a_job_stops_before_its_budget_is_passed_and_a_restored_one_remembers_what_it_spent() {
    let options = [("clip", 1.0), ("noise-multiplier", 1.0), ("seed", 1.0), ("epsilon", 10.0), ("delta", 1e-5)];
    let base = f64s(&[0.0]);
    let mut fedavg = rule("fedavg", &options);
    let mut rounds = 0;
    let error = loop {
        match fedavg.begin(&base, &[]) {
            Ok(()) => {}
            Err(error) => break error,
        }
        // A round that nobody answers costs nothing.
        if rounds == 1 {
            let before = fedavg.privacy();
            fedavg.finish().unwrap();
            assert_eq!(fedavg.privacy(), before);
            fedavg.begin(&base, &[]).unwrap();
        }
        fedavg.add(&f64s(&[1.0]), &from("a", Form::Delta, 1), None, &[]).unwrap();
        fedavg.finish().unwrap();
        rounds += 1;
        let spent = fedavg.privacy().unwrap();
        assert_eq!(spent.rounds, rounds);
        assert!(spent.epsilon.unwrap() <= 10.0);
    };
    assert!(rounds >= 3, "{rounds}");
    assert!(matches!(error, AggregateError::BudgetSpent { next, budget, .. } if next > budget), "{error}");
    let mut restored = rule("fedavg", &options);
    restored.restore(fedavg.save()).unwrap();
    assert!(matches!(restored.begin(&base, &[]), Err(AggregateError::BudgetSpent { .. })));
    // Where each client is drawn with probability 1/10, the same lasts longer.
    let mut sampled = rule("fedavg", &[&options[..], &[("sampling-rate", 0.1)]].concat());
    for _ in 0..=rounds {
        deltas(&mut sampled, &base, &[(f64s(&[1.0]), 1)]).unwrap();
    }
}

#[test]
fn optimisers_see_the_blurred_mean() {
    let base = f64s(&[0.0]);
    let blurred = rule("fedadam", &[("clip", 1.0), ("noise-multiplier", 1.0), ("seed", 2.0)]);
    let state = |mut rule: Aggregator| {
        deltas(&mut rule, &base, &[(f64s(&[0.5]), 1)]).unwrap();
        flat64(&rule.save().into_iter().find(|(name, _)| name == "m").unwrap().1)[0]
    };
    assert!((state(blurred) - state(rule("fedadam", &[]))).abs() > 1e-3);
}
