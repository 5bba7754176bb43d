//! What leaves a real component, and what the policy makes of it first.

mod stage;

use flame_model::{Form, Message, Model, safetensors};
use flame_sandbox::{Allowance, Egress, Filters, Outcome, Rounding};
use stage::{Said, Stage, Terms, constant, ends};
use std::sync::Arc;

/// Base of every test: a hundred parameters, so that a step of ten is an update of norm 100.
const BASE: f32 = 5.0;
const LEN: usize = 100;

fn filtered(filters: Filters) -> Terms {
    Terms { egress: Egress { filters, ..Egress::default() }, audited: true, ..Terms::default() }
}

/// Runs `attempts` with each of as many bases as `rounds` says.
async fn rounds(attempts: &str, hyper: &[(&str, &str)], terms: Terms, rounds: u64) -> (Arc<Said>, Vec<Message>) {
    let stage = Stage::new();
    let aggregator = stage.aggregator().await;
    let attempts = format!("{attempts:?}");
    let hyper = [&[("do", "\"attempts\""), ("try", attempts.as_str())], hyper].concat();
    let (said, task) = stage.trains(&hyper, terms);
    let mut came = Vec::new();
    for round in 1..=rounds {
        came.extend(aggregator.round(round, &constant(BASE, LEN)).await);
    }
    aggregator.end().await;
    assert_eq!(ends(task).await, Outcome::Completed);
    (said, came)
}

fn norm(model: &Model) -> f64 {
    model.difference(&constant(BASE, LEN)).unwrap().norm_l2()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_norm_100_arrives_clipped_and_the_auditor_saw_both() {
    for (word, form) in [("full", Form::Full), ("delta", Form::Delta), ("broadcast", Form::Full)] {
        let (said, came) = rounds(word, &[], filtered(Filters { clip: Some(1.0), ..Filters::default() }), 1).await;
        let model = came[0].model("model").unwrap();
        let arrived = if form == Form::Full { norm(model) } else { model.norm_l2() };
        assert!(arrived <= 1.0 && arrived > 0.99, "{word}: {arrived}");
        let departed = said.models_departed().remove(0);
        assert!((departed.norm.unwrap() - 100.0).abs() < 1e-6, "{departed:?}");
        assert!(departed.norm_sent.unwrap() <= 1.0, "{departed:?}");
        assert_eq!(departed.form, form.name());
        // What `b3sum` says of the model's file.
        let file = safetensors::to_bytes(model, &std::collections::BTreeMap::new());
        assert_eq!(departed.blake3, *blake3::hash(&file).as_bytes());
        // The guest's own model is as it was.
        assert_eq!(said.of("mine"), "Some(15.0)");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_and_rounding_change_what_leaves_and_not_what_the_guest_holds() {
    let filters = Filters { clip: Some(1.0), noise: Some(0.1), rounding: Some(Rounding::F16), ..Filters::default() };
    let (said, came) = rounds("full", &[], filtered(filters.clone()), 2).await;
    let [first, second] = [0, 1].map(|at| came[at].model("model").unwrap().flat_f32());
    assert_ne!(first, second);
    assert!(first.iter().any(|value| value.to_bits() != first[0].to_bits()));
    assert!(first.iter().all(|value| half(*value)));
    assert_eq!(said.all("mine"), ["Some(15.0)", "Some(15.0)"]);

    // Noise is nobody's to foresee, in deterministic mode neither.
    let exact = Terms { deterministic: true, ..filtered(filters) };
    let (_, came) = rounds("full", &[], exact, 1).await;
    assert_ne!(came[0].model("model").unwrap().flat_f32(), first);
}

/// Whether a number between 1 and 16 has no more than the ten bits of a half.
fn half(value: f32) -> bool {
    value.to_bits().trailing_zeros() >= 13
}

#[tokio::test(flavor = "multi_thread")]
async fn one_update_of_a_base_leaves_and_by_no_other_name() {
    let filters = Filters { clip: Some(1.0), ..Filters::default() };
    let attempts = "state partial-sum baseless other-name other-tensor full full delta publish";
    let (said, came) = rounds(attempts, &[], filtered(filters), 2).await;
    for (what, word) in [
        ("state", "`full` or `delta`"),
        ("partial-sum", "egress.partial-sums"),
        ("baseless", "names no base"),
        ("other-name", "has no model `secret`"),
        ("other-tensor", "another layout"),
        ("delta", "has left already"),
        ("publish", "has left already"),
    ] {
        for text in said.all(what) {
            assert!(text.contains(word), "{what}: {text}");
        }
    }
    let full = said.all("full");
    assert_eq!((full[0].as_str(), full[2].as_str()), ("ok", "ok"));
    assert!(full[1].contains("has left already") && full[3].contains("has left already"), "{full:?}");
    assert_eq!(came.len(), 2);
    assert_eq!(said.models_departed().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_model_is_filtered_and_a_base_can_be_too_old() {
    let filters = Filters { clip: Some(1.0), ..Filters::default() };
    let (said, came) = rounds("publish publish-other stale", &[], filtered(filters), 3).await;
    assert_eq!(said.all("publish"), ["ok"; 3]);
    assert!(said.of("publish-other").contains("layout"));
    let file = said.models.lock().unwrap()[0].1.clone();
    let (model, _) = safetensors::from_bytes(&file).unwrap();
    assert!(norm(&model) <= 1.0 && norm(&model) > 0.99, "{}", norm(&model));
    // The first base is still held in the second round; its update has left as the published model in the first.
    assert!(said.all("stale")[1].contains("has left already"), "{:?}", said.all("stale"));
    assert!(said.all("stale")[2].contains("newest"), "{:?}", said.all("stale"));
    assert_eq!(came.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_filters_all_forms_leave_as_they_are_but_for_numbers_that_are_none() {
    let (said, came) =
        rounds("full full state partial-sum nan many-samples", &[], filtered(Filters::default()), 1).await;
    assert_eq!(said.all("full"), ["ok", "ok"]);
    assert!(said.of("nan").contains("`w`"), "{}", said.of("nan"));
    assert!((norm(came[0].model("model").unwrap()) - 100.0).abs() < 1e-3);
    // Samples are at most the rows of the data that was granted.
    assert_eq!(came.iter().map(|message| message.samples).collect::<Vec<_>>(), [3, 3, 3, 3, 5]);
    assert_eq!(said.models_departed()[0].norm, said.models_departed()[0].norm_sent);
    assert!((said.models_departed()[0].norm.unwrap() - 100.0).abs() < 1e-6);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_a_task_alone_that_opened_no_data() {
    let filters = Filters { clip: Some(1.0), min_samples: Some(100), ..Filters::default() };
    let (said, came) = rounds("state full", &[("open", "false")], filtered(filters), 1).await;
    assert_eq!((said.of("state"), said.of("full")), ("ok".into(), "ok".into()));
    assert!((norm(came[1].model("model").unwrap()) - 100.0).abs() < 1e-3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_too_few_samples_stays() {
    let filters = Filters { min_samples: Some(4), partial_sums: true, ..Filters::default() };
    let (said, came) = rounds("full partial-sum many-samples", &[], filtered(filters), 1).await;
    assert!(said.of("full").contains("egress.min-samples"), "{}", said.of("full"));
    assert!(said.of("partial-sum").contains("egress.min-samples"));
    assert_eq!(said.of("many-samples"), "ok");
    assert_eq!(came[0].samples, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_kinds_bodies_and_words_stay_where_the_policy_says() {
    let egress = Egress {
        channels: Some(vec!["param".into()]),
        kinds: Some(vec!["update".into(), "note".into(), "done".into()]),
        no_body: true,
        ..Egress::default()
    };
    let (said, came) = rounds("join-other odd-kind body full", &[], Terms { egress, ..Terms::default() }, 1).await;
    assert!(said.of("join-other").contains("egress.channels"));
    assert!(said.of("odd-kind").contains("egress.kinds"));
    assert!(said.of("body").contains("egress.body"));
    assert_eq!(came.len(), 1);

    let stage = Stage::new();
    let egress = Egress { no_logs: true, ..Egress::default() };
    let (said, task) = stage.trains(&[("do", "\"speak\"")], Terms { egress, ..Terms::default() });
    let Outcome::Failed(reason) = ends(task).await else { panic!("it fails") };
    assert!(reason.contains("egress.logs"), "{reason}");
    let told = format!("{reason} {:?}", said.lines.lock().unwrap());
    assert!(!told.contains("secret") && !told.contains("777000777"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn allowances_are_by_class_and_a_base_begins_a_round() {
    // A model is 4 bytes a parameter, its own name, its tensor's name, and 8 bytes for one dimension.
    let model = 4 * LEN as u64 + 5 + 1 + 8;
    let egress = Egress {
        per_round: Allowance { weights: Some(model), body: Some(200), metrics: Some(30) },
        per_job: Allowance { weights: Some(2 * model), ..Allowance::default() },
        ..Egress::default()
    };
    let (said, came) = rounds("full full body body record record", &[], Terms { egress, ..Terms::default() }, 3).await;
    let full = said.all("full");
    assert!(full[1].contains("egress.per-round.weights") && full[1].contains(&format!("{model} may")), "{full:?}");
    assert_eq!((full[0].as_str(), full[2].as_str()), ("ok", "ok"));
    assert!(full[4].contains("egress.per-job.weights"), "{full:?}");
    assert!(said.all("body")[1].contains("egress.per-round.body"), "{:?}", said.all("body"));
    assert!(said.all("record")[1].contains("egress.per-round.metrics"), "{:?}", said.all("record"));
    assert_eq!(came.iter().filter(|message| message.kind == "update").count(), 2);
    assert_eq!(said.usage.lock().unwrap().weights_out, 2 * model);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_does_not_leave() {
    let said = Said { unrecorded: true, ..Said::default() };
    let stage = Stage::new();
    let aggregator = stage.aggregator().await;
    let terms = Terms { said, audited: true, ..Terms::default() };
    let (said, task) = stage.trains(&[("do", "\"queue\"")], terms);
    let Outcome::Failed(reason) = ends(task).await else { panic!("it fails") };
    assert!(reason.contains("the disk is full"), "{reason}");
    assert!(said.departed.lock().unwrap().is_empty());
    drop(aggregator);
}
