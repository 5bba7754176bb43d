//! Ends rounds of rules that keep state, and drops none of them.

use flame_sdk::{Aggregation, Context, Contribution, Form, Metrics, Result};

fn run(_: &Context) -> Result<()> {
    let base = attacks::constant(1.0, 1 << 18)?;
    let update = attacks::constant(2.0, 1 << 18)?;
    let about =
        Contribution { source: "a".repeat(40), form: Form::Full, samples: 1, staleness: 0, metrics: Metrics::new() };
    loop {
        let mut rule = Aggregation::create("fedadam", &[])?;
        rule.begin(&base, &[])?;
        rule.add(&update, &about, None, &[])?;
        drop(rule.finish()?);
        std::mem::forget(rule);
    }
}

flame_sdk::worker! { trainer => run }
