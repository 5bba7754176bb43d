//! Logs without end.

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    for line in 0..50_000 {
        flame_sdk::info!("line {line}");
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
