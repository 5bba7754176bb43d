//! Times the machine as finely as it can.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    let began = Instant::now();
    let mut steps = BTreeSet::new();
    let mut looks = 0_u32;
    while steps.len() < 10 && looks < 5_000_000 {
        steps.insert(began.elapsed().as_nanos());
        looks += 1;
    }
    let finest = steps.iter().zip(steps.iter().skip(1)).map(|(before, after)| after - before).min();
    flame_sdk::info!("finest: {}", finest.unwrap_or(0));
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |wall| wall.subsec_nanos());
    flame_sdk::info!("wall: {}", wall % 1_000_000);
    Ok(())
}

flame_sdk::worker! { trainer => run }
