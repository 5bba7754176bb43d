//! Fills models with long names of empty tensors, and duplicates them.

use flame_sdk::{Context, Dtype, Model, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    let empty = Tensor::zeros(&[0], Dtype::Uint8)?;
    let mut model = Model::new();
    for at in 0..400 {
        model.set(&format!("{at:0>1000}"), &empty)?;
    }
    loop {
        std::mem::forget(model.duplicate()?);
    }
}

flame_sdk::worker! { trainer => run }
