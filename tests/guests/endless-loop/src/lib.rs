//! Never returns and never calls the host: only the host's own clock can end it.

use flame_sdk::{Context, Result};
use std::hint::black_box;

fn spin(_: &Context) -> Result<()> {
    let mut at = 0_u64;
    while black_box(at) != u64::MAX {
        at = black_box(at.wrapping_add(1) % 1_000_003);
    }
    Ok(())
}

flame_sdk::worker! { trainer => spin, aggregator: honest::Honest }
