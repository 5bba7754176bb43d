//! Ends the process that it runs in.

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    std::process::exit(43);
}

flame_sdk::worker! { trainer => run }
