//! Carries data out as kinds, rounds and samples of many small messages.

use attacks::Turn;
use flame_sdk::{Context, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    let ends = std::slice::from_ref(&turn.base.sender);
    for at in 0..100 {
        attacks::tried("small", turn.channel.send(ends, &Outgoing::new("n", 0x7061_7469 + at).samples(43 + at)));
    }
    attacks::tried("kind", turn.channel.send(ends, &Outgoing::new("patient-43", 1)));
    turn.end()
}

flame_sdk::worker! { trainer => run }
