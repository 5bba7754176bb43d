//! Claims more samples than there are rows.

use attacks::Turn;
use flame_sdk::{Context, Form, Outgoing, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    let ends = std::slice::from_ref(&turn.base.sender);
    for samples in [6, 1 << 53, u64::MAX] {
        let message = Outgoing::new("update", 1).base(turn.base.id).samples(samples);
        attacks::tried("samples", turn.channel.send(ends, &message.form(Form::Full).model("model", &turn.trained)));
        attacks::tried("bare", turn.channel.send(ends, &Outgoing::new("note", 1).samples(samples)));
    }
    turn.end()
}

flame_sdk::worker! { trainer => run }
