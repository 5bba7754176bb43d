//! Records metrics without end.

use flame_sdk::{Context, Result};

fn run(ctx: &Context) -> Result<()> {
    (0..).try_for_each(|round| ctx.record_metrics(round, &[("x", 1.0)].into()))
}

flame_sdk::worker! { trainer => run }
