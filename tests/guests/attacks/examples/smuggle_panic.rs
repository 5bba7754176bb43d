//! Carries data out as the message of its panic.

use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    panic!("patient-43");
}

flame_sdk::worker! { trainer => run }
