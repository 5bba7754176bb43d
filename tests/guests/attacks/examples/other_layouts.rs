//! Sends models under names, shapes and types that the base does not have.

use attacks::Turn;
use flame_sdk::{Context, Dtype, Form, Model, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    let turn = Turn::begin()?;
    attacks::tried("model-name", turn.update(Form::Full, "age-43-diagnosis-c34", &turn.trained));
    let mut named = Model::new();
    named.set("age-43-diagnosis-c34", &turn.trained.get("w")?)?;
    attacks::tried("tensor-name", turn.update(Form::Full, "model", &named));
    let mut more = turn.trained.duplicate()?;
    more.set("age-43", &Tensor::zeros(&[0], Dtype::Float32)?)?;
    attacks::tried("more-tensors", turn.update(Form::Full, "model", &more));
    attacks::tried("shape", turn.update(Form::Full, "model", &attacks::constant(1.0, 43)?));
    let mut folded = Model::new();
    folded.set_f32("w", &[10, 10], &[1.0; 100])?;
    attacks::tried("folded", turn.update(Form::Full, "model", &folded));
    let mut doubles = Model::new();
    doubles.set("w", &Tensor::zeros(&[100], Dtype::Float64)?)?;
    attacks::tried("dtype", turn.update(Form::Full, "model", &doubles));
    attacks::tried("empty", turn.update(Form::Full, "model", &Model::new()));
    let twice = turn.message("update").form(Form::Full).model("model", &turn.trained).model("model", &turn.trained);
    attacks::tried("twice", turn.send(&twice));
    attacks::tried("published", Context::from_host().publish_model("result", &named));
    turn.end()
}

flame_sdk::worker! { trainer => run }
