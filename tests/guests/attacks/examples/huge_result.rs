//! Reads more in one host call than its grant has.

use flame_sdk::{Context, Dtype, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    let tensor = Tensor::zeros(&[256 << 20], Dtype::Uint8)?;
    attacks::tried("bytes", tensor.read_bytes(0, 256 << 20));
    attacks::tried("floats", tensor.read_f32(0, 256 << 20));
    attacks::tried("some", tensor.read_bytes(0, 1_000));
    Ok(())
}

flame_sdk::worker! { trainer => run }
