//! Carries data out as the names of published models.

use attacks::Turn;
use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::without_data()?;
    let ctx = Context::from_host();
    for at in 0..10 {
        attacks::tried("publish", ctx.publish_model(&format!("patient-{at}"), &turn.trained));
    }
    for name in ["../model", "/etc/model", ".hidden", "", "a\nb", "\u{1b}[2J"] {
        attacks::tried("bad-name", ctx.publish_model(name, &turn.trained));
    }
    turn.end()
}

flame_sdk::worker! { trainer => run }
