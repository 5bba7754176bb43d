//! Shapes that are empty, huge, or whose product overflows.

use flame_sdk::{Context, Dtype, Model, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    for (what, shape) in [
        ("overflow", vec![1 << 32, 1 << 32]),
        ("largest", vec![u64::MAX]),
        ("wraps", vec![u64::MAX, 2]),
        ("empty-overflow", vec![0, u64::MAX, u64::MAX]),
        ("overflow-empty", vec![u64::MAX, u64::MAX, 0]),
        ("dimensions", vec![1; 100_000]),
        ("scalar", vec![]),
    ] {
        attacks::tried(what, Tensor::zeros(&shape, Dtype::Float64));
        attacks::tried(what, Tensor::from_f32(&shape, &[1.0]));
        attacks::tried(what, Tensor::from_bytes(&shape, Dtype::Float16, &[1, 2]));
    }
    let empty = Tensor::zeros(&[0, u64::MAX], Dtype::Float32)?;
    let mut model = Model::new();
    model.set("e", &empty)?;
    model.scale(2.0)?;
    let difference = model.difference(&model.duplicate()?)?;
    flame_sdk::info!("empty {} {} {}", model.byte_size(), model.parameter_count(), difference.norm_l2());
    Ok(())
}

flame_sdk::worker! { trainer => run }
