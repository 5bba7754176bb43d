//! How quickly rules run, and in how much memory, beside a plain loop over the same bytes and beside Flower.

mod flower;
mod memory;
mod rounds;

use super::Options;
use super::report::{Case, Goal, Report, median};
use rounds::{Inputs, rule};

/// Updates of a round.
const CLIENTS: usize = 10;

/// What has a goal: at least this much of the plain loop, on one thread and without the small size, which fits a cache.
const AVERAGE: Goal = Goal::RatioAtLeast(0.9);

/// MB/s of updates for rules that look at one coordinate of all.
const COORDINATEWISE: Goal = Goal::ValueAtLeast(2000.0);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Repetitions of each case; the median counts.
    #[arg(long, value_name = "N", default_value_t = 7)]
    repeat: usize,
    /// Where Python finds Flower, if it does.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
}

pub(crate) fn run(args: &Args) {
    let report = Report::begin("aggregate", args.options.json);
    for (name, len) in [("1m", 1_000_000), ("10m", 10_000_000), ("50m", 50_000_000)] {
        let cases = [rounds::RULES.map(|(rule, _)| rule).as_slice(), &["add", "memory", "flower"]].concat();
        // Inputs of 2 GB are made for cases that are asked for alone.
        if cases.iter().any(|case| args.options.wants(&format!("{name}/{case}"))) {
            size(name, len, args, &report);
        }
    }
}

fn size(size: &str, len: usize, args: &Args, report: &Report) {
    let inputs = Inputs::new(len, CLIENTS);
    let mut sums = vec![0.0; len];
    let wants = |case: &str| args.options.wants(&format!("{size}/{case}"));
    // Before anything else has left memory behind; smaller models come from the allocator, which keeps what it had.
    if wants("memory") && len > 1_000_000 {
        for name in ["fedavg", "fedadam", "median"] {
            let models = memory::beyond(|| inputs.round(&mut rule(name, &[], 1))) / inputs.model_bytes();
            let goal = (name == "fedavg").then_some(Goal::ValueAtMost(1.1));
            case(report, format!("{size}/memory/{name}"), models, "models", None, goal);
        }
    }
    for (threads, said) in [(1, "one"), (0, "all")] {
        for (name, options) in rounds::RULES.into_iter().filter(|(name, _)| wants(name)) {
            let mut rule = rule(name, options, threads);
            let [ours, limit] = taking_turns(
                args.repeat,
                &mut [&mut || inputs.round(&mut rule), &mut || inputs.plain(threads, &mut sums)],
            );
            let (value, limit) = (inputs.rate(ours), inputs.rate(limit));
            let goal = match name {
                "fedavg" if threads == 1 && len > 1_000_000 => Some(AVERAGE),
                "median" | "trimmed-mean" if threads == 1 => Some(COORDINATEWISE),
                _ => None,
            };
            case(report, format!("{size}/{name}/{said}"), value, "MB/s", Some(limit), goal);
        }
    }
    if wants("add") {
        let mut rule = rule("fedavg", &[], 1);
        let known = inputs.adds(&mut rule, args.repeat, Clone::clone);
        let unknown = inputs.adds(&mut rule, args.repeat, rounds::never_looked_at);
        let limit = inputs.rate(taking_turns(args.repeat, &mut [&mut || inputs.plain(1, &mut sums)])[0]);
        case(report, format!("{size}/add/known-finite"), inputs.rate(known), "MB/s", Some(limit), None);
        case(report, format!("{size}/add/looked-at"), inputs.rate(unknown), "MB/s", Some(limit), None);
    }
    if wants("flower") {
        flower::run(size, &inputs, args, report);
    }
}

fn case(report: &Report, name: String, value: f64, unit: &'static str, limit: Option<f64>, goal: Option<Goal>) {
    report.case(&Case { name, value, unit, limit, goal });
}

/// Median seconds of each, run in turns after one to warm up; who begins changes.
fn taking_turns<const N: usize>(repeat: usize, runs: &mut [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for turn in 0..=repeat {
        for i in 0..N {
            let which = (i + turn) % N;
            let began = std::time::Instant::now();
            runs[which]();
            if turn > 0 {
                times[which].push(began.elapsed().as_secs_f64());
            }
        }
    }
    times.map(|times| median(&times))
}
