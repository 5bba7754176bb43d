//! `max-weight-share`: no client weighs more than its share.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::{f64s, flat64, from, round, rule};
use flame_model::{Form, Model};
use proptest::prelude::*;

/// min(n, share·V) with V the sum of these, found by halving; all the same where there is no V.
fn capped(samples: &[u64], share: f64) -> Vec<f64> {
    let sum = |total: f64| samples.iter().map(|n| (*n as f64).min(share * total)).sum::<f64>();
    let (mut low, mut high) = (0.0, samples.iter().sum::<u64>() as f64);
    if share * (samples.len() as f64) < 1.0 {
        return vec![1.0; samples.len()];
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if sum(middle) >= middle { low = middle } else { high = middle }
    }
    samples.iter().map(|n| (*n as f64).min(share * high)).collect()
}

proptest! {
    #[test]
    fn the_capped_mean_is_exact_in_any_order(
        samples in prop::collection::vec(1000_u64..1 << 40, 1..12),
        share in 0.05_f64..1.0,
    ) {
        let value = |i: usize| i as f64 * 1.5 - 3.0;
        let updates: Vec<(Model, u64)> = samples.iter().enumerate().map(|(i, n)| (f64s(&[value(i)]), *n)).collect();
        let run = |updates: &[(Model, u64)], options: &[(&str, f64)]| {
            flat64(&round(&mut rule("fedavg", options), &f64s(&[0.0]), updates).unwrap().model)[0]
        };
        let found = run(&updates, &[("max-weight-share", share)]);
        let weights = capped(&samples, share);
        let expected = weights.iter().enumerate().map(|(i, w)| w * value(i)).sum::<f64>() / weights.iter().sum::<f64>();
        // Caps are whole samples.
        prop_assert!((found - expected).abs() < 0.05, "{} {}", found, expected);
        let turned: Vec<_> = updates.iter().rev().cloned().collect();
        prop_assert!((run(&turned, &[("max-weight-share", share)]) - found).abs() < 1e-9);
    }
}

#[test]
fn a_client_that_claims_everything_has_its_share() {
    let updates = [(f64s(&[100.0]), 1 << 40), (f64s(&[0.0]), 30), (f64s(&[0.0]), 20), (f64s(&[0.0]), 10)];
    let outcome = round(&mut rule("fedavg", &[("max-weight-share", 0.4)]), &f64s(&[7.0]), &updates).unwrap();
    // 40 of 100.
    assert!((flat64(&outcome.model)[0] - 40.0).abs() < 1e-9);
    assert_eq!((outcome.accepted, outcome.samples), (4, (1 << 40) + 60));
}

#[test]
fn few_updates_are_held_back_whatever_their_number() {
    let base = f64s(&[0.0]);
    let mut fedavg = rule("fedavg", &[("max-weight-share", 0.25)]);
    fedavg.begin(&base, &[]).unwrap();
    let updates: Vec<Model> = (0..200).map(|i| f64s(&[f64::from(i)])).collect();
    for (i, update) in updates.iter().enumerate() {
        fedavg.add(update, &from(&i, Form::Full, 1 + (i as u64 % 7)), None, &[]).unwrap();
        let held = updates.iter().filter(|update| update.get("w").unwrap().is_shared()).count();
        assert!(held <= 4, "{held} after {i}");
        assert_eq!(fedavg.held_bytes(), held as u64 * 8);
    }
    fedavg.finish().unwrap();
}
