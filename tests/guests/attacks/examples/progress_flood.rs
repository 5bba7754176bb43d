//! Reports progress without end.

use flame_sdk::{Context, Result, telemetry};

fn run(_: &Context) -> Result<()> {
    for round in 0..200_000 {
        telemetry::progress(round, u64::MAX);
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
