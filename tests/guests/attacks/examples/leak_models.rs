//! Makes models and drops none.

use flame_sdk::{Context, Model, Result};

fn run(_: &Context) -> Result<()> {
    loop {
        std::mem::forget(Model::new());
    }
}

flame_sdk::worker! { trainer => run }
