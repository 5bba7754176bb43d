//! Channels beside the bare client, over each broker.

use super::brokers::Broker;
use super::peer::{Order, Peers};
use super::process::cpu_seconds;
use super::report::{Case, Goal, Report, median, quantile};
use super::{Options, inproc};

pub(crate) const MB: usize = 1_000_000;
const SMALL: u32 = 10_000;
const TRIPS: u32 = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Repetitions of each case; the median counts.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(crate) repeat: usize,
    /// Say on stderr how much processor time a repetition takes in the sender, the receivers and the broker.
    #[arg(long)]
    cpu: bool,
}

/// What a case's seconds become.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// MB/s of one transfer of so many bytes.
    Rate(usize),
    /// Seconds until the last end has it.
    Seconds,
    /// Messages a second.
    PerSecond(u32),
    /// Microseconds; two cases.
    Latency,
}

struct Plan {
    /// Names of its cases; latency has two.
    names: Vec<String>,
    order: Order,
    measure: Measure,
    goal: Option<Goal>,
}

pub(crate) async fn run(args: &Args) {
    let report = Report::begin("channel", args.options.json);
    for broker in Broker::both(|name| [1, 4, 10].iter().any(|others| !wanted(args, name, *others).is_empty())) {
        for others in [1, 4, 10] {
            over(&broker, others, args, &report);
        }
    }
    inproc::run(args, &report).await;
}

fn wanted(args: &Args, broker: &str, others: u32) -> Vec<Plan> {
    let mut plans = plans(broker, others);
    plans.retain(|plan| plan.names.iter().any(|name| args.options.wants(name)));
    plans
}

fn plans(broker: &str, others: u32) -> Vec<Plan> {
    let plan =
        |name: String, order, measure, goal| Plan { names: vec![format!("{broker}/{name}")], order, measure, goal };
    let large = |megabytes: usize| megabytes == 100;
    let mut plans = Vec::new();
    if others == 1 {
        for megabytes in [1, 100] {
            let bytes = megabytes * MB;
            let goal = large(megabytes).then_some(Goal::RatioAtLeast(0.7));
            plans.push(plan(format!("unicast-{megabytes}mb"), Order::Unicast(bytes), Measure::Rate(bytes), goal));
        }
    }
    for megabytes in [1, 100] {
        let goal = (others == 10 && large(megabytes)).then_some(Goal::RatioAtMost(1.5));
        let name = format!("broadcast-{megabytes}mb-to-{others}");
        plans.push(plan(name, Order::Broadcast(megabytes * MB), Measure::Seconds, goal));
    }
    if others == 1 {
        plans.push(plan(format!("small-{SMALL}"), Order::Small(SMALL), Measure::PerSecond(SMALL), None));
        plans.push(Plan {
            names: ["p50", "p99"].map(|q| format!("{broker}/round-trip-{q}")).to_vec(),
            order: Order::Trips(TRIPS),
            measure: Measure::Latency,
            goal: Some(Goal::RatioAtMost(2.0)),
        });
    }
    plans
}

/// The cases with so many receivers.
fn over(broker: &Broker, others: u32, args: &Args, report: &Report) {
    let plans = wanted(args, broker.name, others);
    if plans.is_empty() {
        return;
    }
    let mut ours = Peers::start("ours", &broker.url, others);
    let mut bare = Peers::start("bare", &broker.url, others);
    for plan in plans {
        let (ours, bare) = beside(&mut ours, &mut bare, broker, &plan, args);
        tell(&plan, &ours, &bare, args, report);
    }
}

/// Seconds of Flame's ends and of the bare ones. They take turns, and who begins changes, so that whatever else the machine
/// does meets both.
fn beside(ours: &mut Peers, bare: &mut Peers, broker: &Broker, plan: &Plan, args: &Args) -> (Vec<f64>, Vec<f64>) {
    let mut times = [Vec::new(), Vec::new()];
    let mut spent = [[0.0; 3]; 2];
    for turn in 0..=args.repeat {
        for which in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            let peers = if which == 0 { &mut *ours } else { &mut *bare };
            let before = cpu(peers, broker);
            let took = peers.order(plan.order);
            // The first turn warms both up.
            if turn > 0 {
                times[which].extend(took);
                let after = cpu(peers, broker);
                for ((sum, before), after) in spent[which].iter_mut().zip(before).zip(after) {
                    *sum += after - before;
                }
            }
        }
    }
    if args.cpu {
        for (who, spent) in ["ours", "bare"].iter().zip(spent) {
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            let [sender, receivers, broker] = spent.map(|seconds| seconds * 1e3 / args.repeat as f64);
            let name = &plan.names[0];
            eprintln!("{name}: {who}: sender {sender:.1} ms, receivers {receivers:.1} ms, broker {broker:.1} ms");
        }
    }
    let [ours, bare] = times;
    (ours, bare)
}

/// Processor time of the sender, the receivers and the broker.
fn cpu(peers: &Peers, broker: &Broker) -> [f64; 3] {
    let receivers = peers.receivers().map(cpu_seconds).sum();
    [cpu_seconds(peers.sender()), receivers, cpu_seconds(broker.pid())]
}

fn tell(plan: &Plan, ours: &[f64], bare: &[f64], args: &Args, report: &Report) {
    let case = |at: usize, unit, goal, of: &dyn Fn(&[f64]) -> f64| {
        let name = plan.names[at].clone();
        if args.options.wants(&name) {
            report.case(&Case { name, value: of(ours), unit, limit: Some(of(bare)), goal });
        }
    };
    match plan.measure {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Measure::Rate(bytes) => case(0, "MB/s", plan.goal, &|times| bytes as f64 / median(times) / 1e6),
        Measure::Seconds => case(0, "s", plan.goal, &median),
        Measure::PerSecond(count) => case(0, "messages/s", plan.goal, &|times| f64::from(count) / median(times)),
        Measure::Latency => {
            case(0, "us", plan.goal, &|times| quantile(times, 0.5) * 1e6);
            case(1, "us", None, &|times| quantile(times, 0.99) * 1e6);
        }
    }
}
