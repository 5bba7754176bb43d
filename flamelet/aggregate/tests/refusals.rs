//! What is refused, and that a refusal leaves the round as it was.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::{begin, deltas, f32s, from, metric, round, rule};
use flame_aggregate::{AggregateError, Aggregator, MAX_SAMPLES, OptionValue, common_options, rules};
use flame_model::{Dtype, Form, Model, Tensor};

fn create(rule: &str, options: &[(&str, OptionValue)]) -> Result<Aggregator, AggregateError> {
    let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Aggregator::create(rule, &options)
}

#[test]
fn an_unknown_rule_is_refused_with_the_list_of_known_ones() {
    let error = create("fedavgg", &[]).unwrap_err();
    assert!(matches!(error, AggregateError::UnknownRule { .. }));
    for rule in rules() {
        assert!(error.to_string().contains(rule.name), "{error}");
    }
}

#[test]
fn an_unknown_option_is_refused_with_the_list_of_known_ones() {
    let error = create("fedavgm", &[("rate", OptionValue::Number(1.0))]).unwrap_err().to_string();
    assert!(error.contains("\"rate\"") && error.contains("lr, momentum"), "{error}");
    let error = create("fedavg", &[("lr", OptionValue::Number(1.0))]).unwrap_err().to_string();
    assert!(common_options().all(|option| error.contains(option.name)), "{error}");
}

#[test]
fn options_out_of_range_of_the_wrong_kind_or_missing_are_refused() {
    use OptionValue::{Flag, Number, Text};
    let cases: [(&str, &[(&str, OptionValue)]); 11] = [
        ("fedavgm", &[("lr", Number(0.0))]),
        ("fedavgm", &[("lr", Number(f64::NAN))]),
        ("fedavgm", &[("lr", Text("1".into()))]),
        ("fedavgm", &[("momentum", Number(1.0))]),
        ("fedavgm", &[("lr", Number(1.0)), ("lr", Number(1.0))]),
        ("fedadam", &[("bias-correction", Number(1.0))]),
        ("fedadam", &[("variant", Text("google".into()))]),
        ("fedadam", &[("variant", Text("flame".into())), ("bias-correction", Flag(true))]),
        ("fedbuff", &[]),
        ("fedbuff", &[("goal", Number(1.5))]),
        ("fedasync", &[("mixing", Number(1.1))]),
    ];
    for (rule, options) in cases {
        let error = create(rule, options).unwrap_err();
        assert!(matches!(error, AggregateError::InvalidArgument(_)), "{rule} {options:?}: {error}");
    }
    assert!(create("fedadam", &[("beta_1", Number(0.5))]).is_ok(), "underscores are read as hyphens");
}

/// A round with one good update and one refused must give what the good one alone gives.
fn refused(update: &Model, samples: u64, form: Form, base: Option<&Model>) -> AggregateError {
    let start = f32s(&[1.0, 2.0]);
    let good = f32s(&[3.0, 6.0]);
    let mut rule = rule("fedavg", &[]);
    rule.begin(&start, &[]).unwrap();
    rule.add(&good, &from("good", Form::Full, 5), None, &[]).unwrap();
    let error = rule.add(update, &from("bad", form, samples), base, &[]).unwrap_err();
    let outcome = rule.finish().unwrap();
    assert_eq!((outcome.model, outcome.accepted, outcome.samples), (good, 1, 5));
    error
}

#[test]
fn a_model_of_another_layout_is_refused_by_the_tensors_name() {
    let other: Model = [("v", Tensor::from_f32(&[2], &[0.0; 2]).unwrap())].into_iter().collect();
    let int: Model = [("w", Tensor::zeros(&[2], Dtype::Int64).unwrap())].into_iter().collect();
    for bad in [f32s(&[1.0; 3]), other, int, Model::new()] {
        let error = refused(&bad, 1, Form::Full, None);
        assert!(matches!(error, AggregateError::ShapeMismatch { .. }), "{error}");
        assert!(error.to_string().contains("\"w\"") && error.to_string().contains("bad"), "{error}");
    }
    let error = refused(&f32s(&[1.0; 2]), 1, Form::Full, Some(&f32s(&[1.0])));
    assert!(error.to_string().contains("the base of bad"), "{error}");
}

#[test]
fn nan_and_infinity_are_refused_by_the_tensors_name_even_from_an_abstainer() {
    for (value, samples) in [(f32::NAN, 1), (f32::INFINITY, 1), (f32::NEG_INFINITY, 0)] {
        let error = refused(&f32s(&[0.0, value]), samples, Form::Delta, None);
        assert!(matches!(&error, AggregateError::NotFinite { tensor, .. } if tensor == "w"), "{error}");
    }
    assert!(matches!(
        refused(&f32s(&[0.0; 2]), 1, Form::Full, Some(&f32s(&[f32::NAN, 0.0]))),
        AggregateError::NotFinite { .. }
    ));
    assert!(rule("fedavg", &[]).begin(&f32s(&[f32::NAN]), &[]).is_err());
}

#[test]
fn nonsensical_weights_and_forms_are_refused() {
    for samples in [u64::MAX, 1 << 63, MAX_SAMPLES + 1] {
        assert!(matches!(refused(&f32s(&[0.0; 2]), samples, Form::Full, None), AggregateError::InvalidArgument(_)));
    }
    assert!(matches!(refused(&f32s(&[0.0; 2]), 1, Form::PartialSum, None), AggregateError::InvalidArgument(_)));
}

#[test]
fn a_source_contributes_once_a_round_and_may_try_again_after_a_refusal() {
    let base = f32s(&[0.0]);
    let mut rule = rule("fedavg", &[]);
    rule.begin(&base, &[]).unwrap();
    assert!(rule.add(&f32s(&[f32::NAN]), &from("a", Form::Full, 1), None, &[]).is_err());
    rule.add(&f32s(&[1.0]), &from("a", Form::Full, 1), None, &[]).unwrap();
    assert!(rule.add(&f32s(&[9.0]), &from("a", Form::Full, 1), None, &[]).unwrap_err().to_string().contains("already"));
    assert_eq!(rule.finish().unwrap().model, f32s(&[1.0]));
    rule.begin(&base, &[]).unwrap();
    rule.add(&f32s(&[2.0]), &from("a", Form::Full, 1), None, &[]).unwrap();
    assert_eq!(rule.finish().unwrap().model, f32s(&[2.0]));
}

#[test]
fn calls_out_of_order_are_refused() {
    let mut rule = rule("fedavg", &[]);
    assert!(rule.add(&f32s(&[1.0]), &from("a", Form::Full, 1), None, &[]).unwrap_err().to_string().contains("begin"));
    assert!(rule.finish().unwrap_err().to_string().contains("begin"));
    rule.begin(&f32s(&[0.0]), &[]).unwrap();
    rule.finish().unwrap();
    assert!(rule.finish().is_err());
}

#[test]
fn nothing_accepted_gives_the_very_base_and_keeps_the_state() {
    let base = f32s(&[1.0, 2.0]);
    for info in rules() {
        let options: Vec<_> = info
            .options
            .iter()
            .filter(|option| option.default.is_none())
            .map(|option| (option.name.to_owned(), OptionValue::Number(2.0)))
            .collect();
        let mut rule = Aggregator::create(info.name, &options).unwrap();
        begin(&mut rule, &base).unwrap();
        rule.add(&f32s(&[7.0, 7.0]), &from("a", Form::Full, 0), None, &[]).unwrap();
        let before = rule.save();
        let outcome = rule.finish().unwrap();
        assert_eq!((outcome.accepted, outcome.samples), (0, 0), "{}", info.name);
        assert!(outcome.model.get("w").unwrap().shares_storage(base.get("w").unwrap()), "{}", info.name);
        assert_eq!(rule.save(), before, "{}", info.name);
    }
}

#[test]
fn finite_updates_whose_result_is_not_are_refused_and_the_next_round_is_well() {
    let base = f32s(&[f32::MAX]);
    for name in ["fedavg", "fedasync"] {
        let mut rule = rule(name, &[]);
        let error = deltas(&mut rule, &base, &[(f32s(&[f32::MAX]), 1)]).unwrap_err();
        assert!(matches!(error, AggregateError::NotFinite { .. }), "{name}: {error}");
        assert!(deltas(&mut rule, &base, &[(f32s(&[-1e30]), 1)]).is_ok(), "{name}");
    }
}

#[test]
fn opposite_extremes_average_without_overflow() {
    let mut rule = rule("fedavg", &[]);
    let outcome = round(&mut rule, &f32s(&[1.0]), &[(f32s(&[f32::MAX]), 1), (f32s(&[f32::MIN]), 1)]).unwrap();
    assert_eq!(outcome.model, f32s(&[0.0]));
}

#[test]
fn an_absurd_mean_does_not_get_into_an_optimisers_state() {
    let base = f32s(&[0.0]);
    for name in ["fedavgm", "fedadagrad", "fedadam", "fedyogi"] {
        let mut rule = rule(name, &[]);
        assert!(deltas(&mut rule, &base, &[(f32s(&[1e30]), 1)]).is_err(), "{name}");
        let after = deltas(&mut rule, &base, &[(f32s(&[1.0]), 1)]).unwrap().model;
        let fresh = deltas(&mut common::rule(name, &[]), &base, &[(f32s(&[1.0]), 1)]).unwrap().model;
        assert_eq!(after, fresh, "{name}");
    }
}

#[test]
fn metrics_that_are_not_numbers_do_not_spoil_the_mean() {
    let mut rule = rule("fedavg", &[]);
    rule.begin(&f32s(&[0.0]), &[]).unwrap();
    for (source, samples, loss) in [("a", 1, 1.0), ("b", 3, 2.0), ("c", 5, f64::NAN), ("d", 0, 50.0)] {
        let mut about = from(source, Form::Full, samples);
        about.metrics = vec![metric("loss", loss), metric(source, 4.0)];
        rule.add(&f32s(&[0.0]), &about, None, &[]).unwrap();
    }
    let metrics = rule.finish().unwrap().metrics;
    assert_eq!(metrics.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>(), ["loss", "a", "b", "c"]);
    assert!((metrics[0].value - 1.75).abs() < 1e-12);
}

#[test]
fn what_fixed_point_has_no_room_for_is_refused_and_leaves_the_round_as_it_was() {
    let options = [("deterministic".to_owned(), OptionValue::Flag(true))];
    let start = f32s(&[1.0, 2.0]);
    for name in ["fedavg", "fedavgm", "fedadam", "scaffold", "fednova", "norm-bound", "fltrust", "qfedavg"] {
        let numbers = common::every_rule().into_iter().find(|(rule, _)| *rule == name).unwrap().1;
        let mut rule = common::rule_with(name, &numbers, &[("deterministic", OptionValue::Flag(true))]);
        begin(&mut rule, &start).unwrap();
        common::add(&mut rule, &f32s(&[3.0, 4.0]), &from("good", Form::Full, 5)).unwrap();
        let refused = common::add(&mut rule, &f32s(&[1.0, 1e35]), &from("bad", Form::Full, 1));
        // These scale the update down first.
        if !["norm-bound", "fltrust"].contains(&name) {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("bad") && error.contains("deterministic"), "{name}: {error}");
            assert_eq!(rule.accepted(), 1, "{name}");
        }
        assert!(rule.finish().is_ok(), "{name}");
    }
    let mut fedavg = Aggregator::create("fedavg", &options).unwrap();
    let outcome = round(&mut fedavg, &start, &[(f32s(&[1e12, -1e12]), 1 << 40), (f32s(&[0.0; 2]), 1 << 40)]).unwrap();
    assert_eq!(outcome.model, f32s(&[5e11, -5e11]), "sums that leave 64 bits stay exact");
}

#[test]
fn the_outcome_lists_who_was_refused_and_why() {
    let base = f32s(&[1.0]);
    let mut fedavg = rule("fedavg", &[]);
    fedavg.begin(&base, &[]).unwrap();
    assert!(fedavg.add(&f32s(&[f32::NAN]), &from("a", Form::Full, 1), None, &[]).is_err());
    assert!(fedavg.add(&f32s(&[1.0, 2.0]), &from("b", Form::Full, 1), None, &[]).is_err());
    fedavg.add(&f32s(&[2.0]), &from("c", Form::Full, 1), None, &[]).unwrap();
    let outcome = fedavg.finish().unwrap();
    let refused: Vec<_> = outcome.refused.iter().map(|refused| refused.source.as_str()).collect();
    assert_eq!(refused, ["a", "b"]);
    assert!(outcome.refused[0].reason.contains("NaN") && outcome.refused[1].reason.contains("\"w\""));
    fedavg.begin(&base, &[]).unwrap();
    assert!(fedavg.finish().unwrap().refused.is_empty(), "they are of one round");
}
