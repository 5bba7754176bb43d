//! Rules, selectors and client terms through the SDK's own loop, on the real sandbox; and aggregators that are killed and go on.

mod cast;

use std::collections::BTreeSet;
use std::sync::Arc;

use cast::{Link, Said, Stage, completes, first_value};
use flame_sandbox::{OptimizerSpec, OptionValue, Outcome};
use flame_tests::{DEADLINE, guest};
use tokio::task::JoinHandle;

const RATE: f64 = 0.25;
const STEPS: u32 = 3;

fn stage(trainers: u32, rule: &str, options: &[(&str, f64)]) -> Stage {
    let links = vec![Link("param", ["aggregator", "trainer"], ["distribute", "fetch"])];
    let mut stage = Stage::new(&[("aggregator", 1), ("trainer", trainers)], links);
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), OptionValue::Number(*value)));
    stage.optimizer = OptimizerSpec { rule: rule.into(), options: options.collect() };
    stage
}

/// Starts the trainers, whose targets are 1, 2, 4 …
fn trainers(stage: &Stage, client: &str) -> Vec<JoinHandle<Outcome>> {
    let (quadratic, client) = (guest("quadratic"), format!("\"{client}\""));
    let (rate, steps) = (RATE.to_string(), STEPS.to_string());
    let train = |(at, me)| {
        let target = f64::powi(2.0, at).to_string();
        let hyper = [("target", target.as_str()), ("rate", &rate), ("steps", &steps), ("client", &client)];
        stage.run(&quadratic, me, &hyper).1
    };
    (0..).zip(&stage.of_role("trainer")).map(train).collect()
}

fn aggregator(stage: &Stage, rounds: &str) -> (Arc<Said>, JoinHandle<Outcome>) {
    stage.run(&guest("quadratic"), &stage.of_role("aggregator")[0], &[("rounds", rounds)])
}

/// Runs a whole job and gives what its aggregator said.
async fn run(stage: &Stage, client: &str, rounds: &str) -> Arc<Said> {
    let trainers = trainers(stage, client);
    let (said, task) = aggregator(stage, rounds);
    completes(task).await;
    for trainer in trainers {
        completes(trainer).await;
    }
    said
}

fn assert_near(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() < 1e-5, "{found} is not {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scaffold_travels_in_both_directions_and_meets_its_formulas() {
    let said = run(&stage(2, "scaffold", &[("clients", 2.0)]), "scaffold", "3").await;
    let (mut w, mut c, mut own) = (0.0, 0.0, [0.0; 2]);
    for _ in 0..3 {
        let (mut moved, mut changed) = (0.0, 0.0);
        for (target, own) in [1.0, 2.0].into_iter().zip(&mut own) {
            let mut y = w;
            for _ in 0..STEPS {
                y -= RATE * (y - target);
                y -= RATE * (c - *own);
            }
            let change = (w - y) / (f64::from(STEPS) * RATE) - c;
            *own += change;
            (moved, changed) = (moved + (y - w) / 2.0, changed + change / 2.0);
        }
        (w, c) = (w + moved, c + changed);
    }
    assert_near(first_value(&said.model()), w);
}

#[tokio::test(flavor = "multi_thread")]
async fn feddyns_clients_train_from_what_the_rule_broadcasts() {
    let said = run(&stage(2, "feddyn", &[("clients", 2.0), ("alpha", 0.5)]), "feddyn", "3").await;
    let (mut w, mut from, mut own, mut history) = (0.0, 0.0, [0.0; 2], [0.0; 2]);
    for _ in 0..3 {
        let mut trained = [0.0; 2];
        for (at, target) in [1.0, 2.0].into_iter().enumerate() {
            let mut y: f64 = from;
            for _ in 0..STEPS {
                y -= RATE * (y - target);
                y -= RATE * (0.5 * (y - from) - own[at]);
            }
            own[at] -= 0.5 * (y - from);
            history[at] += y - from;
            trained[at] = y;
        }
        w = f64::midpoint(trained[0], trained[1]);
        from = w + f64::midpoint(history[0], history[1]);
    }
    assert_near(first_value(&said.model()), w);
}

#[tokio::test(flavor = "multi_thread")]
async fn fedprox_hears_its_mu_from_the_jobs_rule() {
    let said = run(&stage(1, "fedprox", &[("mu", 0.5)]), "fedprox", "2").await;
    let mut w = 0.0;
    for _ in 0..2 {
        let mut y = w;
        for _ in 0..STEPS {
            y -= RATE * (y - 1.0);
            y -= RATE * 0.5 * (y - w);
        }
        w = y;
    }
    assert_near(first_value(&said.model()), w);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_selects_some_of_its_participants() {
    let mut stage = stage(3, "fedavg", &[]);
    stage.selector = Some(r#"{"sort": "round-robin", "kwargs": {"k": 2}}"#.into());
    let said = run(&stage, "", "3").await;
    assert_eq!(said.values("participants"), [2.0; 3]);
    // Trainers 0 and 1, 2 and 0, 1 and 2: as many steps towards 1, 2 and 4.
    let mut w = 0.0;
    for (a, b) in [(1.0, 2.0), (1.0, 4.0), (2.0, 4.0)] {
        let trained = |target: f64| target + (w - target) * (1.0 - RATE).powf(f64::from(STEPS));
        w = f64::midpoint(trained(a), trained(b));
    }
    assert_near(first_value(&said.model()), w);
}

#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_rounds_end_when_the_buffer_is_full() {
    let mut stage = stage(4, "fedbuff", &[("goal", 2.0)]);
    stage.selector = Some(r#"{"sort": "fedbuff", "kwargs": {"concurrency": 4}}"#.into());
    let said = run(&stage, "", "5").await;
    assert_eq!(said.values("participants"), [2.0; 5]);
    let value = first_value(&said.model());
    assert!((0.5..8.0).contains(&value), "{value}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_participant_may_fill_a_buffer_alone() {
    let mut stage = stage(1, "fedbuff", &[("goal", 2.0)]);
    stage.selector = Some(r#"{"sort": "fedbuff", "kwargs": {"c": 1}}"#.into());
    assert_eq!(run(&stage, "", "2").await.values("participants"), [2.0; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn training_ends_before_the_privacy_budget_is_passed() {
    let options = [("clip", 1.0), ("noise-multiplier", 2.0), ("epsilon", 4.0), ("delta", 1e-5)];
    let said = run(&stage(2, "fedavg", &options), "", "50").await;
    let spent = said.values("privacy-epsilon");
    assert!(!spent.is_empty() && spent.len() < 50, "{spent:?}");
    assert!(spent.iter().all(|epsilon| *epsilon <= 4.0), "{spent:?}");
    said.model();
}

/// Two trainers and FedAdam in deterministic mode, with checkpoints.
fn fed_adam(folder: &tempfile::TempDir) -> Stage {
    let mut stage = stage(2, "fedadam", &[]);
    stage.deterministic = true;
    stage.state_dir = Some(folder.path().join("state"));
    stage
}

/// Kills the aggregator in the middle of its rounds and lets it go on. What its second run said, and after how many rounds.
async fn killed_and_restarted(stage: &mut Stage) -> (Arc<Said>, usize) {
    let trainers = trainers(stage, "");
    // More rounds than anybody waits for.
    let (said, task) = aggregator(stage, "1000000");
    let enough = async {
        while said.values("participants").len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, enough).await.expect("the rounds are recorded in time");
    task.abort();
    let _ = task.await;
    // Those that were recorded, the two that may have followed them, and some more.
    let rounds = said.values("participants").len() + 8;
    stage.attempt = 2;
    let (said, task) = aggregator(stage, &rounds.to_string());
    completes(task).await;
    for trainer in trainers {
        completes(trainer).await;
    }
    (said, rounds)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_was_killed_goes_on_with_the_same_momenta() {
    let folder = tempfile::tempdir().unwrap();
    let (said, rounds) = killed_and_restarted(&mut fed_adam(&folder)).await;
    assert!(said.values("participants").len() < rounds, "the second run began anew");
    let other = tempfile::tempdir().unwrap();
    let whole = run(&fed_adam(&other), "", &rounds.to_string()).await;
    assert_eq!(said.model(), whole.model());
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_were_recorded_and_not_stored_when_an_aggregator_was_killed_are_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = fed_adam(&folder);
    stage.unheard = true;
    let (said, rounds) = killed_and_restarted(&mut stage).await;
    let recorded: BTreeSet<u64> = said.metrics.lock().unwrap().iter().map(|(round, _)| *round).collect();
    assert_eq!(recorded.into_iter().collect::<Vec<_>>(), (1..=rounds as u64).collect::<Vec<_>>());
}
