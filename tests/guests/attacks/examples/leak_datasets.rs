//! Opens a data set again and again and drops no handle.

use flame_sdk::{Context, Dataset, Result};

fn run(_: &Context) -> Result<()> {
    loop {
        std::mem::forget(Dataset::open("data")?);
    }
}

flame_sdk::worker! { trainer => run }
