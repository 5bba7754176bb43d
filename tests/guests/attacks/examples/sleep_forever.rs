//! Sleeps, and sleeps again.

use attacks::LONG;
use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    loop {
        std::thread::sleep(LONG);
    }
}

flame_sdk::worker! { trainer => run }
