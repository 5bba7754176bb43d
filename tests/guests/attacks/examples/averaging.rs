//! Sends one update again and again, to average the noise away.

use attacks::Turn;
use flame_sdk::{Context, Form, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    let delta = turn.trained.difference(turn.base.model("model")?)?;
    attacks::tried("full", turn.update(Form::Full, "model", &turn.trained));
    attacks::tried("again", turn.update(Form::Full, "model", &turn.trained));
    attacks::tried("delta", turn.update(Form::Delta, "model", &delta));
    attacks::tried("published", Context::from_host().publish_model("result", &turn.trained));
    let all = turn.message("update").form(Form::Full).model("model", &turn.trained);
    attacks::tried("broadcast", turn.channel.broadcast(&all));
    turn.end()
}

flame_sdk::worker! { trainer => run }
