//! Calls itself until the stack ends.

use std::hint::black_box;

use flame_sdk::{Context, Result};

#[expect(unconditional_recursion, reason = "that is the attack")]
fn deeper(level: u64) -> u64 {
    let room = black_box([level; 64]);
    deeper(level + 1) + room[(level % 64) as usize]
}

fn run(_: &Context) -> Result<()> {
    black_box(deeper(0));
    Ok(())
}

flame_sdk::worker! { trainer => run }
