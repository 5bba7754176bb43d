//! Never comes back.

use std::hint::black_box;

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    let mut at = 0_u64;
    while black_box(at) != u64::MAX {
        at = black_box(at.wrapping_add(1) % 1_000_003);
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
