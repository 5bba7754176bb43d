//! Joins a channel again and again and drops no handle.

use flame_sdk::{Channel, Context, Result};

fn run(_: &Context) -> Result<()> {
    loop {
        std::mem::forget(Channel::join("param")?);
    }
}

flame_sdk::worker! { trainer => run }
