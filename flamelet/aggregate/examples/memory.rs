//! Resident memory while 1,000 updates of a million parameters stream through a rule, as CSV: `update,rule,megabytes`.
//! `python3 tests/python/memory_plot.py` runs it and draws `docs/aggregate-memory.svg`.
#![allow(clippy::unwrap_used, reason = "an example")]

use flame_aggregate::{Aggregator, Contribution, OptionValue};
use flame_model::{Dtype, Form, Model, SharedBufferMut, Tensor};

const PARAMETERS: usize = 1_000_000;
const UPDATES: u64 = 1000;

/// An update as it comes from a channel: in a buffer of its own.
fn update(seed: u64) -> Model {
    let mut buffer = SharedBufferMut::for_overwrite(PARAMETERS * 4).unwrap();
    let mut state = seed;
    for bytes in buffer.as_mut_bytes().chunks_exact_mut(4) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0 - 0.5;
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    let tensor = Tensor::from_buffer(&[PARAMETERS as u64], Dtype::Float32, buffer.freeze()).unwrap();
    [("w", tensor)].into_iter().collect()
}

/// Resident megabytes, as Linux tells them.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib * 1024.0 / 1e6)
}

fn main() {
    println!("update,rule,megabytes");
    let flag = |name: &str| vec![(name.to_owned(), OptionValue::Flag(true))];
    for (label, name, options) in [
        ("fedavg", "fedavg", Vec::new()),
        ("fedavg, deterministic", "fedavg", flag("deterministic")),
        ("fedadam", "fedadam", Vec::new()),
    ] {
        let mut rule = Aggregator::create(name, &options).unwrap();
        rule.begin(&update(0), &[]).unwrap();
        for i in 1..=UPDATES {
            let about = Contribution {
                source: i.to_string(),
                form: Form::Full,
                samples: i % 50 + 1,
                staleness: 0,
                metrics: Vec::new(),
            };
            rule.add(&update(i), &about, None, &[]).unwrap();
            if i % 10 == 0 || i == 1 {
                println!("{i},\"{label}\",{:.2}", resident());
            }
        }
        rule.finish().unwrap();
    }
}
