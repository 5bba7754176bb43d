//! Flower's own averages of as many parameters, where Python has it.

use std::process::Command;

use super::rounds::{Inputs, rule};
use super::{Args, case, taking_turns};
use crate::bench::report::{Goal, Report};
use crate::root;

/// What the project set itself beside the better of Flower's two.
const GOAL: Goal = Goal::RatioAtLeast(2.0);

pub(super) fn run(size: &str, inputs: &Inputs, args: &Args, report: &Report) {
    let script = root().join("tests/python/flower_aggregate.py");
    let numbers = [inputs.len(), inputs.clients(), args.repeat].map(|number| number.to_string());
    let output = match Command::new(&args.python).arg(script).args(numbers).output() {
        Ok(output) if output.status.success() => output.stdout,
        _ => {
            eprintln!("{size}/flower is left out: {} cannot import flwr (see --python)", args.python);
            return;
        }
    };
    let times: Vec<(String, f64)> = String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| {
            let said: serde_json::Value = serde_json::from_str(line).ok()?;
            Some((said["case"].as_str()?.to_owned(), said["seconds"].as_f64()?))
        })
        .collect();
    for (name, seconds) in &times {
        case(report, format!("{size}/flower/{name}"), inputs.rate(*seconds), "MB/s", None, None);
    }
    let best = times.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
    let mut fedavg = rule("fedavg", &[], 0);
    let [ours] = taking_turns(args.repeat, &mut [&mut || inputs.round(&mut fedavg)]);
    let (value, limit) = (inputs.rate(ours), inputs.rate(best));
    case(report, format!("{size}/flower/fedavg-beside-its-best"), value, "MB/s", Some(limit), Some(GOAL));
}
