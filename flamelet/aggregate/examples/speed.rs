//! How quickly rules run beside the machine's own: `cargo run --release -p flame-aggregate --example speed -- 10000000 10 1`
//! (parameters, clients, threads). The whole table is `bench -- aggregate`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "an example, of small numbers"
)]

use std::time::Instant;

use flame_aggregate::{Aggregator, Contribution, OptionValue};
use flame_model::{Form, Model, Tensor};

/// As in the programs: the system's own gives memory back after every round, and gets it page by page again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn model(len: usize, seed: u32) -> Model {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    let values: Vec<f32> = (0..len).map(|_| next()).collect();
    let model: Model = [("w", Tensor::from_f32(&[len as u64], &values).unwrap())].into_iter().collect();
    assert!(model.all_finite());
    model
}

/// Seconds of this thread's processor time where one thread does it all, so that whatever else runs here counts for little.
fn clock(threads: usize, start: Instant) -> f64 {
    let spent = (threads == 1).then(|| std::fs::read_to_string("/proc/thread-self/schedstat").ok()).flatten();
    let nanos = spent.and_then(|spent| spent.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| start.elapsed().as_secs_f64(), |nanos| nanos * 1e-9)
}

fn best(times: usize, threads: usize, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let once = |_| {
        let before = clock(threads, start);
        run();
        clock(threads, start) - before
    };
    (0..times).map(once).fold(f64::INFINITY, f64::min)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (len, clients, threads) = (number(10_000_000), number(10), number(1));
    let only = args.next().unwrap_or_default();
    let base = model(len, 1000);
    let updates: Vec<Model> = (0..clients).map(|i| model(len, i as u32)).collect();
    let bytes = (len * clients * 4) as f64;
    let slices: Vec<&[f32]> =
        updates.iter().map(|update| update.get("w").unwrap().as_slice::<f32>().unwrap()).collect();
    let mut sums = vec![0.0_f32; len];
    let limit = best(5, threads, || {
        sums.fill(0.0);
        for (i, slice) in slices.iter().enumerate() {
            let weight = (i + 1) as f32;
            sums.iter_mut().zip(*slice).for_each(|(sum, x)| *sum += weight * x);
        }
        std::hint::black_box(&sums);
    });
    println!("{:<28} {:8.2} ms {:6.2} GB/s of updates", "acc += w * x", limit * 1e3, bytes / limit / 1e9);
    let number = |name: &str, value: f64| (name.to_owned(), OptionValue::Number(value));
    let flag = ("deterministic".to_owned(), OptionValue::Flag(true));
    let wide = ("accumulate".to_owned(), OptionValue::Text("f64".into()));
    let cases: Vec<(&str, Vec<(String, OptionValue)>)> = vec![
        ("fedavg", vec![]),
        ("fedavg", vec![flag]),
        ("fedavg", vec![wide]),
        ("fedavg", vec![number("clip", 1.0)]),
        ("fedavg", vec![number("clip", 1.0), number("noise-multiplier", 1.0)]),
        ("fedadam", vec![]),
        ("median", vec![]),
        ("trimmed-mean", vec![]),
        ("krum", vec![number("f", 2.0)]),
        ("bulyan", vec![number("f", 1.0)]),
        ("geometric-median", vec![]),
        ("centred-clip", vec![number("tau", 1.0)]),
    ];
    for (name, mut options) in cases.into_iter().filter(|(name, _)| name.contains(&only)) {
        let label = format!("{name} {}", options.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" "));
        options.push(number("threads", threads as f64));
        let mut rule = Aggregator::create(name, &options).unwrap();
        let time = best(3, threads, || {
            rule.begin(&base, &[]).unwrap();
            for (i, update) in updates.iter().enumerate() {
                let about = Contribution {
                    source: i.to_string(),
                    form: Form::Full,
                    samples: i as u64 + 1,
                    staleness: 0,
                    metrics: Vec::new(),
                };
                rule.add(update, &about, None, &[]).unwrap();
            }
            std::hint::black_box(rule.finish().unwrap());
        });
        println!("{label:<28} {:8.2} ms {:6.2} GB/s  {:.2} of the limit", time * 1e3, bytes / time / 1e9, limit / time);
    }
}
