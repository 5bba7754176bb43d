//! Takes memory and touches it, 16 MiB at a time, until somebody says no.

use flame_sdk::{Context, Error, Result};
use std::hint::black_box;

fn swell(_: &Context) -> Result<()> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for _ in 0..1024 {
        taken.push(black_box(vec![1; 16 << 20]));
    }
    Err(Error::worker(format!("got {} blocks of 16 MiB, which a 32-bit memory cannot hold", black_box(&taken).len())))
}

flame_sdk::worker! { trainer => swell, aggregator: honest::Honest }
