//! Says that its update is something that no filter is for.

use attacks::Turn;
use flame_sdk::{Context, Form, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    let ends = std::slice::from_ref(&turn.base.sender);
    attacks::tried("state", turn.update(Form::State, "model", &turn.trained));
    attacks::tried("partial-sum", turn.update(Form::PartialSum, "model", &turn.trained));
    let baseless = Outgoing::new("update", 1).samples(3).form(Form::Full).model("model", &turn.trained);
    attacks::tried("baseless", turn.channel.send(ends, &baseless));
    let abstains = Outgoing::new("update", 1).base(turn.base.id).form(Form::Full).model("model", &turn.trained);
    attacks::tried("no-samples", turn.channel.send(ends, &abstains));
    turn.end()
}

flame_sdk::worker! { trainer => run }
