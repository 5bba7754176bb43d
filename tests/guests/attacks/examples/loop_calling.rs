//! Never comes back, and asks the host all the time.

use std::hint::black_box;

use flame_sdk::{Context, Result};

fn run(ctx: &Context) -> Result<()> {
    loop {
        black_box(ctx.check_stop().is_ok());
    }
}

flame_sdk::worker! { trainer => run }
