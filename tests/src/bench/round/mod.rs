//! Whole rounds of a job with four participants, beside a bare client that moves as many bytes over the same broker.

mod bare;
mod job;
mod memory;
mod stamps;

use std::time::SystemTime;

use super::Options;
use super::brokers::Broker;
use super::report::{Case, Goal, Report, median};
use crate::{Flame, FlameBuilder};

pub(super) use bare::run as bare_end;

/// Participants of the job, and ends of the bare client besides the one in the middle.
const PARTICIPANTS: u32 = 4;

/// Names of the cases of a broker and a size.
const CASES: [&str; 17] = [
    "round",
    "beyond-training",
    "first-round",
    "round-at-once",
    "distribute",
    "train",
    "return",
    "aggregate",
    "folding",
    "peak-control",
    "peak-control-in-rounds",
    "peak-aggregator",
    "peak-aggregator-in-rounds",
    "peak-aggregator-at-once",
    "peak-aggregator-at-once-in-rounds",
    "peak-participant",
    "peak-participant-in-rounds",
];

/// The processes of a job whose memory is looked at.
const PROCESSES: [&str; 3] = ["control", "aggregator", "participant"];

/// What others need for the same. Constants: this run measures nothing of it.
const ELSEWHERE: &str = "\
measured elsewhere, on another day: Flower 1.41 with four nodes needs 13.3 s a round at 25 M parameters (12.6 to 15.9), with 1.7 GB in
its server app, 1.1 GB in its superlink and 1.5 GB in each node; 6.4 s a round for an MNIST MLP. Most of it is waiting: it polls
every 3 s and starts a process for each message.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Rounds of each job, instead of 6 at 25 M parameters and 20 below. A first one comes before them and is told apart.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
}

/// A model to send around.
struct Size {
    name: &'static str,
    parameters: u64,
    rounds: u64,
    /// Of the whole round.
    goal: Option<Goal>,
    /// Of the round without its training.
    goal_beyond_training: Option<Goal>,
    /// Of each process.
    goal_memory: Option<Goal>,
    unit: Unit,
}

/// What times are told in.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
}

const SIZES: [Size; 3] = [
    Size {
        name: "1k",
        parameters: 1_000,
        rounds: 20,
        goal: None,
        goal_beyond_training: None,
        goal_memory: None,
        unit: Unit::Milliseconds,
    },
    Size {
        name: "100k",
        parameters: 100_000,
        rounds: 20,
        goal: None,
        goal_beyond_training: Some(Goal::ValueAtMost(50.0)),
        goal_memory: None,
        unit: Unit::Milliseconds,
    },
    Size {
        name: "25m",
        parameters: 25_000_000,
        rounds: 6,
        goal: Some(Goal::ValueAtMost(1.3)),
        goal_beyond_training: None,
        goal_memory: Some(Goal::ValueAtMost(450.0)),
        unit: Unit::Seconds,
    },
];

pub(crate) fn run(args: &Args) {
    let report = Report::begin("round", args.options.json);
    let wanted = |broker: &str, size: &Size| {
        CASES.iter().any(|case| args.options.wants(&format!("{broker}/{}/{case}", size.name)))
    };
    for broker in Broker::both(|broker| SIZES.iter().any(|size| wanted(broker, size))) {
        for size in SIZES.iter().filter(|size| wanted(broker.name, size)) {
            over(&broker, size, args, &report);
        }
    }
    if args.options.names("1g") {
        let wanted =
            |broker: &str| PROCESSES.iter().any(|process| args.options.wants(&one_model_case(broker, process)));
        for broker in Broker::both(wanted) {
            one_model(&broker, args, &report);
        }
    }
    eprintln!("{ELSEWHERE}");
}

/// What sending and receiving 1 GiB takes a flamelet: the model and 64 MiB at most.
fn one_model(broker: &Broker, args: &Args, report: &Report) {
    let peaks = job::one_model(&flame(broker), (1 << 30) / 4);
    let goal = Some(Goal::ValueAtMost(f64::from((1 << 30) + (64 << 20)) / 1e6));
    let peaks = [(peaks.control, None), (peaks.aggregator, goal), (peaks.participant, goal)];
    for (process, (peak, goal)) in PROCESSES.into_iter().zip(peaks) {
        let name = one_model_case(broker.name, process);
        if args.options.wants(&name) {
            report.case(&Case { name, value: peak.whole, unit: "MB", limit: None, goal });
        }
    }
}

fn one_model_case(broker: &str, process: &str) -> String {
    format!("{broker}/1g/peak-{process}")
}

/// Two jobs and, between them, the bare client.
fn over(broker: &Broker, size: &Size, args: &Args, report: &Report) {
    let rounds = args.rounds.unwrap_or(size.rounds);
    let mut bare = bare::Measured::default();
    let bytes = usize::try_from(size.parameters * 4).expect("bytes that fit into memory");
    bare.turn(&broker.url, bytes);
    let flame = flame(broker);
    let usual = job::run(&flame, "aggregator", size.parameters, rounds + 1);
    bare.turn(&broker.url, bytes);
    let stamping = job::run(&flame, "stamping-aggregator", size.parameters, rounds + 1);
    drop(flame);
    bare.turn(&broker.url, bytes);

    let tell = |name: &str, value, unit, limit, goal| {
        let name = format!("{}/{}/{name}", broker.name, size.name);
        if args.options.wants(&name) {
            report.case(&Case { name, value, unit, limit, goal });
        }
    };
    let (unit, factor) = size.unit.of_seconds();
    let time = |name: &str, seconds: f64, limit: Option<f64>, goal| {
        tell(name, seconds * factor, unit, limit.map(|limit| limit * factor), goal);
    };
    let (first, rest) = usual.rounds.split_first().expect("there was a first round");
    let of = |rounds: &[stamps::Round], figure: fn(&stamps::Round) -> f64| {
        median(&rounds.iter().map(figure).collect::<Vec<_>>())
    };
    time("round", of(rest, stamps::Round::whole), Some(median(&bare.whole)), size.goal);
    time(
        "beyond-training",
        of(rest, stamps::Round::beyond_training),
        Some(median(&bare.whole)),
        size.goal_beyond_training,
    );
    time("first-round", first.whole(), None, None);
    let rest = &stamping.rounds[1..];
    time("round-at-once", of(rest, stamps::Round::whole), Some(median(&bare.whole)), None);
    time("distribute", of(rest, stamps::Round::distribute), Some(median(&bare.distribute)), None);
    time("train", of(rest, stamps::Round::train), None, None);
    time("return", of(rest, stamps::Round::give_back), Some(median(&bare.give_back)), None);
    time("aggregate", of(rest, stamps::Round::aggregate), None, None);
    time("folding", of(rest, |round| round.folding), None, None);

    // The embedded broker is part of the control plane: its limit is the broker's process with the bare client on it.
    let embedded = broker.name == "embedded";
    let processes = [
        ("control", usual.peaks.control, embedded.then(|| memory::peak(broker.pid()))),
        ("aggregator", usual.peaks.aggregator, Some(bare.peak_in_the_middle)),
        ("aggregator-at-once", stamping.peaks.aggregator, Some(bare.peak_in_the_middle)),
        ("participant", usual.peaks.participant, Some(bare.peak_of_others)),
    ];
    for (process, peak, limit) in processes {
        let goal = size.goal_memory.filter(|_| !process.ends_with("at-once"));
        tell(&format!("peak-{process}"), peak.whole, "MB", limit, goal);
        tell(&format!("peak-{process}-in-rounds"), peak.in_rounds, "MB", limit, None);
    }
}

/// A control plane that uses this broker, or its own embedded one.
fn flame(broker: &Broker) -> Flame {
    let builder = FlameBuilder::control().without_example();
    if broker.name == "embedded" { builder.start() } else { builder.args(["--broker", &broker.url]).start() }
}

/// The clock that all processes of the machine share, in seconds.
fn since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Unit {
    /// Its name, and how many of it a second has.
    fn of_seconds(self) -> (&'static str, f64) {
        match self {
            Self::Seconds => ("s", 1.0),
            Self::Milliseconds => ("ms", 1e3),
        }
    }
}
