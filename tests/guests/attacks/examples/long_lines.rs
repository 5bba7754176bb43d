//! Logs lines of megabytes, with what moves a terminal in them.

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    for _ in 0..20 {
        flame_sdk::info!("\u{1b}[2J\u{202e}{}", "\u{7}x".repeat(1 << 20));
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
