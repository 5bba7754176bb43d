//! Makes large tensors and drops none.

use flame_sdk::{Context, Dtype, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    loop {
        std::mem::forget(Tensor::zeros(&[1 << 18], Dtype::Float32)?);
    }
}

flame_sdk::worker! { trainer => run }
