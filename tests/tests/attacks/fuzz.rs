//! Random calls of every family of host functions, and mutated components before admission: the host never panics, no
//! limit is passed, and the same sandbox runs an honest job afterwards.
//!
//! `FLAME_FUZZ_SECONDS` says how long each of them goes on (2 unless told), `FLAME_FUZZ_SEED` where to begin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flame_model::{Message, Tensor};
use flame_sandbox::{Allowance, Egress, Filters, Limits, Outcome, Prepared, Times};
use flame_tests::{DEADLINE, attack};

#[path = "../../../flamelet/model/tests/common/fuzzing.rs"]
mod fuzzing;

use crate::ALONE;
use crate::stage::{Said, Stage, Terms, constant, ends};
use crate::suite::Suite;
use crate::text;
use fuzzing::{Dice, mutate, seed, until};

/// Calls of one guest.
const CALLS: usize = 2_000;
/// The same where calls wait.
const WAITING_CALLS: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_tensors() {
    family("tensors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_channels() {
    family("channels").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_aggregation() {
    family("aggregation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_datasets() {
    family("datasets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_the_job() {
    family("job").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_telemetry() {
    family("telemetry").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_the_abi() {
    family("abi").await;
}

fn limits(dice: &mut Dice) -> Limits {
    let short = Times { call: Duration::from_secs(20), round: Duration::from_mins(1), task: Duration::from_mins(1) };
    Limits {
        memory: 32 << 20,
        tensor_bytes: 1 << (12 + dice.below(12)),
        handles: 20 + dice.below(400),
        call_bytes: 1 << (14 + dice.below(8)),
        artifact_bytes: 1 << 16,
        queued_messages: 1 + dice.below(20),
        log_lines_per_second: 5,
        metrics_per_second: 5,
        wall: short,
        ..Limits::default()
    }
}

fn egress(dice: &mut Dice) -> Egress {
    let filters = Filters {
        clip: (dice.below(2) == 0).then_some(1.0),
        noise: (dice.below(4) == 0).then_some(0.1),
        min_samples: (dice.below(4) == 0).then_some(3),
        partial_sums: dice.below(2) == 0,
        ..Filters::default()
    };
    let per_job = Allowance {
        weights: (dice.below(2) == 0).then_some(1_000),
        metrics: (dice.below(2) == 0).then_some(1_000),
        body: (dice.below(2) == 0).then_some(1_000),
    };
    Egress { filters, per_job, no_body: dice.below(4) == 0, no_logs: dice.below(4) == 0, ..Egress::default() }
}

async fn family(family: &str) {
    let _alone = ALONE.lock().await;
    let suite = Suite::new();
    let (mut dice, until) = (Dice(seed()), until());
    let guest = suite.prepared(if family == "abi" { "fuzz_abi" } else { "fuzz" }, false);
    let (mut runs, mut failed) = (0, 0);
    while runs == 0 || Instant::now() < until {
        let began = dice.0;
        let (limits, egress) = (limits(&mut dice), egress(&mut dice));
        let (said, outcome) = run(&suite.stage(), &guest, family, &mut dice, &limits, egress.clone()).await;
        let told = format!("FLAME_FUZZ_SEED={began} did it: {outcome:?}");
        let Ok(()) = holds(&said, &outcome, &limits, &egress) else { panic!("{told} {:?}", said.usage) };
        failed += usize::from(outcome != Outcome::Completed);
        runs += 1;
    }
    println!("{family}: {runs} guests, of which {failed} failed");
    suite.nothing_is_left(family).await;
    suite.verdict();
}

/// Runs one guest, with an aggregator that sends whatever bases it comes by.
async fn run(
    stage: &Stage,
    guest: &Prepared,
    family: &str,
    dice: &mut Dice,
    limits: &Limits,
    egress: Egress,
) -> (Arc<Said>, Outcome) {
    let (family_text, seed) = (format!("{family:?}"), (dice.roll() >> 12).to_string());
    let calls = if family == "channels" { WAITING_CALLS } else { CALLS }.to_string();
    let hyper = [("family", family_text.as_str()), ("dice", seed.as_str()), ("calls", calls.as_str())];
    let terms = Terms { limits: limits.clone(), egress, audited: dice.below(2) == 0, ..Terms::default() };
    let stop = terms.stop.clone();
    let aggregator = if family == "channels" { Some(stage.aggregator().await) } else { None };
    let (said, task) = stage.runs(guest.clone(), "trainer", &hyper, terms);
    let began = Instant::now();
    while let Some(aggregator) = &aggregator
        && !task.is_finished()
    {
        let model = if dice.below(8) == 0 {
            [("b", Tensor::from_f32(&[2], &[1.0; 2]).unwrap())].into_iter().collect()
        } else {
            constant(1.0, 8)
        };
        let kind = ["weights", "update", "", "end-of-training"][dice.below(4)];
        let models = if dice.below(4) == 0 { Vec::new() } else { vec![("model".into(), model)] };
        aggregator.says(Message { kind: kind.into(), round: dice.roll(), models, ..Message::default() }).await;
        aggregator.next().await;
        if began.elapsed() > Duration::from_secs(30) {
            stop.cancel();
        }
        assert!(began.elapsed() < DEADLINE, "a guest does not end");
    }
    (said, ends(task).await)
}

/// Whether the host stood, and the task stayed within what it had.
fn holds(said: &Said, outcome: &Outcome, limits: &Limits, egress: &Egress) -> Result<(), ()> {
    let usage = said.usage.lock().unwrap().clone();
    let within = |used: u64, most: Option<u64>| most.is_none_or(|most| used <= most);
    let kept = usage.memory <= limits.memory
        && usage.tensor_bytes <= limits.tensor_bytes
        && usage.handles <= limits.handles
        && usage.artifact_bytes <= limits.artifact_bytes
        && within(usage.weights_out, egress.per_job.weights)
        && within(usage.metrics_out, egress.per_job.metrics)
        && within(usage.body_out, egress.per_job.body);
    let stood = !matches!(outcome, Outcome::Failed(reason)
        if reason.contains("the host failed") || reason.contains("a fault of the host") || reason.contains("without a word"));
    if kept && stood { Ok(()) } else { Err(()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_of_admission() {
    let _alone = ALONE.lock().await;
    let suite = Suite::new();
    let (mut dice, until) = (Dice(seed()), until());
    let large = std::fs::read(attack("honest_job")).unwrap();
    let small = [
        text::worker("i32.const 0", ""),
        text::table_growth(),
        text::start_loop(),
        text::endless_answer(),
        text::leak_pollables(),
        text::memories(3, 1),
    ];
    let stage = suite.stage();
    let (mut tried, mut admitted) = (0_u32, 0_u32);
    while tried == 0 || Instant::now() < until {
        let began = dice.0;
        // A large one takes its time to compile.
        let of = |at: usize| if at == 0 { &large } else { &small[at % small.len()] };
        let (mut bytes, other) = (of(dice.below(200)).clone(), of(dice.below(50)).clone());
        mutate(&mut dice, &mut bytes, &other);
        let refused = |text: &str| assert!(text.chars().count() < 20_000, "FLAME_FUZZ_SEED={began}: {text}");
        if let Err(error) = flame_bundle::survey(&bytes) {
            refused(&error.to_string());
        }
        tried += 1;
        match stage.sandbox.prepare(&bytes, "trainer") {
            Err(error) => {
                let text = error.to_string();
                refused(&text);
                assert!(!text.contains("the compiler failed"), "FLAME_FUZZ_SEED={began}: {text}");
            }
            Ok(prepared) => {
                admitted += 1;
                let limits = Limits {
                    cpu: Times { call: Duration::from_millis(50), ..Limits::default().cpu },
                    wall: Times { task: Duration::from_secs(2), ..Limits::default().wall },
                    ..limits(&mut dice)
                };
                let terms = Terms { limits: limits.clone(), ..Terms::default() };
                let (said, task) = stage.anew().runs(prepared, "trainer", &[], terms);
                let outcome = ends(task).await;
                let stood = holds(&said, &outcome, &limits, &Egress::default());
                assert!(stood.is_ok(), "FLAME_FUZZ_SEED={began} did it: {outcome:?}");
            }
        }
    }
    println!("admission: {tried} components, of which {admitted} ran");
    suite.nothing_is_left("admission").await;
    suite.verdict();
}
