//! Sends kinds of messages that the policy does not allow.

use attacks::Turn;
use flame_sdk::{Context, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::without_data()?;
    let ends = std::slice::from_ref(&turn.base.sender);
    for (what, kind) in
        [("odd", "weights"), ("case", "UPDATE"), ("empty", ""), ("line", "update\nweights"), ("space", "update ")]
    {
        attacks::tried(what, turn.channel.send(ends, &Outgoing::new(kind, 1)));
        attacks::tried(what, turn.channel.broadcast(&Outgoing::new(kind, 1)));
    }
    turn.end()
}

flame_sdk::worker! { trainer => run }
