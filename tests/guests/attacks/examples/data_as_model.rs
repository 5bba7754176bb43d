//! Publishes and sends the data itself as a model.

use attacks::Turn;
use flame_sdk::{Context, Dataset, Form, Model, Result};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    let rows = Dataset::open("data")?.rows("rows", 0, 5)?;
    let mut model = Model::new();
    model.set("w", &rows)?;
    attacks::tried("publish", Context::from_host().publish_model("result", &model));
    attacks::tried("full", turn.update(Form::Full, "model", &model));
    attacks::tried("state", turn.update(Form::State, "data", &model));
    turn.end()
}

flame_sdk::worker! { trainer => run }
