//! Aggregators with nonsensical rules, options, calls and updates.

use flame_sdk::{Aggregation, Context, Contribution, Form, Metrics, OptionValue, Result};

fn run(_: &Context) -> Result<()> {
    let base = attacks::constant(1.0, 10)?;
    attacks::tried("rule", Aggregation::create("../fedavg", &[]));
    attacks::tried("option", Aggregation::create("fedavg", &[("no-such", OptionValue::Number(1.0))]));
    attacks::tried("text", Aggregation::create("fedavgm", &[("momentum", OptionValue::Text("x".repeat(1 << 20)))]));
    for number in [f64::NAN, f64::INFINITY, -1.0, 1e308] {
        attacks::tried("number", Aggregation::create("fedavgm", &[("momentum", OptionValue::Number(number))]));
        attacks::tried("number", Aggregation::create("fedbuff", &[("bufferSize", OptionValue::Number(number))]));
    }
    let many: Vec<_> = (0..100_000).map(|_| ("momentum", OptionValue::Number(0.5))).collect();
    attacks::tried("many", Aggregation::create("fedavgm", &many));
    let mut rule = Aggregation::create("fedavg", &[])?;
    let about = |samples| Contribution {
        source: String::new(),
        form: Form::Full,
        samples,
        staleness: u64::MAX,
        metrics: Metrics::new(),
    };
    attacks::tried("early-add", rule.add(&base, &about(1), None, &[]));
    attacks::tried("early-finish", rule.finish());
    rule.begin(&base, &[])?;
    attacks::tried("samples", rule.add(&base, &about(u64::MAX), None, &[]));
    attacks::tried("samples", rule.add(&base, &about(u64::MAX), None, &[]));
    let mut broken = base.duplicate()?;
    broken.scale(f64::NAN)?;
    attacks::tried("nan", rule.add(&broken, &about(1), None, &[]));
    let outcome = rule.finish();
    if let Ok(outcome) = &outcome {
        flame_sdk::info!("finite: {}", outcome.model.all_finite());
    }
    attacks::tried("finish", outcome);
    attacks::tried("again", rule.finish());
    Ok(())
}

flame_sdk::worker! { trainer => run }
