//! Prints without end, and without an end of line.

use std::io::Write;

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    let block = vec![b'x'; 1 << 16];
    for _ in 0..1_000 {
        let _ = std::io::stdout().write_all(&block);
        let _ = std::io::stderr().write_all(&block);
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
