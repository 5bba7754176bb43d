//! Makes aggregators and drops none.

use flame_sdk::{Aggregation, Context, Result};

fn run(_: &Context) -> Result<()> {
    loop {
        std::mem::forget(Aggregation::create("fedavg", &[])?);
    }
}

flame_sdk::worker! { trainer => run }
