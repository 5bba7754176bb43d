//! Sends and records long lists of metrics.

use attacks::Turn;
use flame_sdk::{Context, Metrics, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::without_data()?;
    let mut many = Metrics::new();
    for at in 0..20_000 {
        many.set(&format!("m{at}"), f64::from(at));
    }
    attacks::tried("record", Context::from_host().record_metrics(1, &many));
    attacks::tried("send", turn.send(&turn.message("note").metrics(&many)));
    turn.end()
}

flame_sdk::worker! { trainer => run }
