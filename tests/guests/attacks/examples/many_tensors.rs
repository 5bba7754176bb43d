//! Builds a model of a hundred thousand tensors.

use flame_sdk::{Context, Dtype, Model, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    let one = Tensor::zeros(&[1], Dtype::Float32)?;
    let mut model = Model::new();
    for at in 0..100_000 {
        if let Err(error) = model.set(&format!("t{at}"), &one) {
            flame_sdk::info!("at {at}");
            return Err(error);
        }
    }
    Ok(())
}

flame_sdk::worker! { trainer => run }
