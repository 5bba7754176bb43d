//! Names bases that it never received, and rounds that are not.

use attacks::Turn;
use flame_sdk::{Context, Form, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    let ends = std::slice::from_ref(&turn.base.sender);
    for base in [0, turn.base.id + 1, u64::MAX] {
        let message = Outgoing::new("update", 1).base(base).samples(3).form(Form::Full).model("model", &turn.trained);
        attacks::tried("base", turn.channel.send(ends, &message));
    }
    for round in [0, 77, u64::MAX] {
        attacks::tried("round", turn.channel.send(ends, &Outgoing::new("note", round).base(turn.base.id)));
    }
    turn.end()
}

flame_sdk::worker! { trainer => run }
