//! Carries more into a host call than its grant has.

use flame_sdk::{Context, Dtype, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    Tensor::from_bytes(&[8 << 20], Dtype::Uint8, &vec![0; 8 << 20]).map(drop)
}

flame_sdk::worker! { trainer => run }
