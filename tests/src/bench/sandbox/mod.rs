//! What the sandbox costs: to start a guest, to cross its boundary, and to keep it within limits.

mod stage;

use std::sync::Arc;
use std::time::Instant;

use flame_sandbox::{Dataset, Sandbox, SandboxConfig};

use super::Options;
use super::report::{Case, Goal, Report, median};
use crate::{guest, mnist, root};
use stage::{Stage, Watch, component, run as to_its_end};

const CALLS: u64 = 1_000_000;
/// Pieces of 4 MiB that make 400 MB.
const LARGE: u64 = 96;
const MB: f64 = 1e6;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Repetitions of each case; the median counts.
    #[arg(long, value_name = "N", default_value_t = 9)]
    repeat: usize,
}

pub(crate) async fn run(args: &Args) {
    let report = Report::begin("sandbox", args.options.json);
    let wants = |case: &str| args.options.wants(case);
    let folder = tempfile::tempdir().expect("a folder");
    let config = SandboxConfig { cache: Some(folder.path().to_owned()), ..SandboxConfig::default() };
    if wants("instantiate") || wants("cached-start") {
        starts(&config, args, &report).await;
    }
    if ["empty-call", "in-", "out-"].iter().any(|case| wants(case)) {
        crossings(&config, args, &report).await;
    }
    if wants("limits") {
        limits(args, &report).await;
    }
}

fn case(report: &Report, name: &str, value: f64, unit: &'static str, limit: Option<f64>, goal: Option<Goal>) {
    report.case(&Case { name: name.to_owned(), value, unit, limit, goal });
}

fn hyper(calls: u64, large: u64, repeat: u64, work: u64) -> [(&'static str, String); 4] {
    [("calls", calls), ("large", large), ("repeat", repeat), ("work", work)]
        .map(|(name, value)| (name, value.to_string()))
}

/// From nothing but a compiled component on disk to the guest's first word; and the instance alone.
async fn starts(config: &SandboxConfig, args: &Args, report: &Report) {
    let bytes = component(&guest("paces"));
    let stage = Stage::new(&["paces", "other"]);
    let (mut cached, mut instances, mut pooled) = (Vec::new(), Vec::new(), Vec::new());
    let pool = Arc::new(Sandbox::new(&SandboxConfig { pooled: true, ..config.clone() }).expect("a sandbox"));
    for _ in 0..=args.repeat {
        // A new one has nothing in memory.
        let sandbox = Arc::new(Sandbox::new(config).expect("a sandbox"));
        let watch = Arc::new(Watch::default());
        let spec = stage.spec("paces", &hyper(0, 0, 0, 0), Vec::new(), &watch);
        let began = Instant::now();
        let prepared = sandbox.prepare(&bytes, "paces").expect("it is admitted");
        let again = prepared.clone();
        to_its_end(&sandbox, prepared, spec).await;
        cached.push((watch.first("first") - began).as_secs_f64() * 1e3);
        let slotted = pool.prepare(&bytes, "paces").expect("it is admitted");
        for (prepared, times) in [(&again, &mut instances), (&slotted, &mut pooled)] {
            for _ in 0..20 {
                let spec = stage.spec("paces", &hyper(0, 0, 0, 0), Vec::new(), &watch);
                times.push(prepared.instantiate(spec).await.expect("an instance").as_secs_f64() * 1e6);
            }
        }
    }
    // The first one compiled.
    case(report, "cached-start", median(&cached[1..]), "ms", None, Some(Goal::ValueAtMost(5.0)));
    case(report, "instantiate-on-demand", median(&instances[20..]), "us", None, Some(Goal::ValueAtMost(100.0)));
    case(report, "instantiate-pooled", median(&pooled[20..]), "us", None, Some(Goal::ValueAtMost(100.0)));
}

/// What a host call takes, and numbers on their way in and out, beside memcpy of as many bytes.
async fn crossings(config: &SandboxConfig, args: &Args, report: &Report) {
    let sandbox = Arc::new(Sandbox::new(config).expect("a sandbox"));
    let prepared = sandbox.prepare(&component(&guest("paces")), "paces").expect("it is admitted");
    let watch = Arc::new(Watch::default());
    let repeat = u64::try_from(args.repeat).expect("a count");
    let spec = Stage::new(&["paces", "other"]).spec("paces", &hyper(CALLS, LARGE, repeat, 0), Vec::new(), &watch);
    to_its_end(&sandbox, prepared, spec).await;
    let pairs = watch.pairs();
    #[expect(clippy::cast_precision_loss, reason = "a million")]
    let call = median(&pairs["calls"]) * 1e9 / CALLS as f64;
    case(report, "empty-call", call, "ns", None, None);
    for (name, pieces) in [("in-4mb", 1), ("out-4mb", 1), ("in-400mb", LARGE), ("out-400mb", LARGE)] {
        let bytes = usize::try_from(pieces << 22).expect("a size");
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |seconds: f64| bytes as f64 / seconds / MB;
        case(report, name, rate(median(&pairs[name])), "MB/s", Some(rate(copied(bytes, args.repeat))), None);
    }
}

/// Seconds that memcpy takes for so many bytes.
fn copied(bytes: usize, repeat: usize) -> f64 {
    let (from, mut to) = (vec![1_u8; bytes], vec![2_u8; bytes]);
    let mut times = Vec::new();
    for _ in 0..=repeat {
        let began = Instant::now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&to);
        times.push(began.elapsed().as_secs_f64());
    }
    median(&times[1..])
}

/// Processor time of the MNIST trainer through a whole job, and of a loop written naively, with and without limits.
async fn limits(args: &Args, report: &Report) {
    let data: Vec<_> = Dataset::load("mnist", &root().join("examples/mnist-wasm/data/train")).expect("the digits");
    let data: Vec<Arc<Dataset>> = data.into_iter().map(Arc::new).collect();
    let sandboxes = [false, true].map(|unmetered| {
        Arc::new(Sandbox::new(&SandboxConfig { unmetered, ..SandboxConfig::default() }).expect("a sandbox"))
    });
    let (mnist, paces) = (component(&mnist()), component(&guest("paces")));
    let (mut trained, mut naive) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for turn in 0..=args.repeat {
        // They take turns, and who begins changes.
        for which in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            let sandbox = &sandboxes[which];
            let cpu = train(sandbox, &mnist, &data).await;
            let watch = Arc::new(Watch::default());
            let spec = Stage::new(&["paces", "other"]).spec("paces", &hyper(0, 0, 0, 3), Vec::new(), &watch);
            let prepared = sandbox.prepare(&paces, "paces").expect("it is admitted");
            to_its_end(sandbox, prepared, spec).await;
            // The first turn compiled, and warmed up.
            if turn > 0 {
                trained[which].push(cpu);
                naive[which].push(median(&watch.pairs()["naive"]));
            }
        }
    }
    for (name, [with, without], goal) in
        [("limits/mnist-training", trained, Some(Goal::RatioAtMost(1.1))), ("limits/naive-loop", naive, None)]
    {
        case(report, name, median(&with) * 1e3, "ms", Some(median(&without) * 1e3), goal);
    }
}

/// A job of three rounds with one trainer; the trainer's processor time.
async fn train(sandbox: &Arc<Sandbox>, component: &[u8], data: &[Arc<Dataset>]) -> f64 {
    let stage = Stage::new(&["aggregator", "trainer"]);
    let hyper = [("rounds", "3"), ("learningRate", "0.1"), ("batchSize", "32"), ("localEpochs", "1")];
    let hyper = hyper.map(|(name, value)| (name, value.to_owned()));
    let watches = [Arc::new(Watch::default()), Arc::new(Watch::default())];
    let task = |role: &str, data: Vec<Arc<Dataset>>, watch: &Arc<Watch>| {
        let prepared = sandbox.prepare(component, role).expect("it is admitted");
        (prepared, stage.spec(role, &hyper, data, watch))
    };
    let aggregator = task("aggregator", Vec::new(), &watches[0]);
    let trainer = task("trainer", data.to_vec(), &watches[1]);
    tokio::join!(to_its_end(sandbox, aggregator.0, aggregator.1), to_its_end(sandbox, trainer.0, trainer.1));
    watches[1].cpu()
}
