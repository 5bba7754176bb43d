//! Receives its base first and opens the data afterwards.

use attacks::Turn;
use flame_sdk::{Context, Dataset, Form, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::without_data()?;
    Dataset::open("data")?;
    attacks::tried("state", turn.update(Form::State, "model", &turn.trained));
    turn.end()
}

flame_sdk::worker! { trainer => run }
