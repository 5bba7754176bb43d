//! Carries data out as the body of a message.

use attacks::Turn;
use flame_sdk::{Context, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    for _ in 0..10 {
        attacks::tried("body", turn.send(&turn.message("note").body(b"patient 43".to_vec())));
    }
    attacks::tried("without", turn.send(&turn.message("note")));
    turn.end()
}

flame_sdk::worker! { trainer => run }
