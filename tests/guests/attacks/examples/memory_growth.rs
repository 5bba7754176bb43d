//! Takes memory and touches it.

use std::hint::black_box;

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(black_box(vec![1; 4 << 20]));
    }
}

flame_sdk::worker! { trainer => run }
