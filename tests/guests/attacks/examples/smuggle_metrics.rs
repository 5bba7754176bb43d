//! Carries numbers out as values and names of metrics.

use attacks::Turn;
use flame_sdk::{Context, Metrics, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    let ctx = Context::from_host();
    for at in 0..10 {
        attacks::tried("record", ctx.record_metrics(at, &[("loss", 43.0)].into()));
    }
    for _ in 0..10 {
        attacks::tried("send", turn.send(&turn.message("note").metrics(&[("loss", 43.0)].into())));
    }
    let mut named = Metrics::new();
    named.set(&"patient-43\n\u{1b}[2J".repeat(50), 1.0);
    attacks::tried("name", ctx.record_metrics(1, &named));
    attacks::tried("name-sent", turn.send(&turn.message("note").metrics(&named)));
    turn.end()
}

flame_sdk::worker! { trainer => run }
