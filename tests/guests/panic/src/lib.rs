//! Panics; its message and place must reach the task's log and reason.

use flame_sdk::{Context, Result};

fn fall(ctx: &Context) -> Result<()> {
    panic!("the {} fell over on purpose", ctx.role());
}

flame_sdk::worker! { trainer => fall, aggregator: honest::Honest }
