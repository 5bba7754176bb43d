//! Fails with a reason of megabytes that moves a terminal.

use flame_sdk::{Context, Error, Result};

fn run(_: &Context) -> Result<()> {
    Err(Error::worker(format!("\u{1b}[2J\n{}", "r".repeat(8 << 20))))
}

flame_sdk::worker! { trainer => run }
