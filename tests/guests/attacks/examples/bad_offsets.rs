//! Offsets and counts that overflow or lie outside.

use flame_sdk::{Context, Dataset, Dtype, Result, Tensor};

fn run(_: &Context) -> Result<()> {
    let tensor = Tensor::zeros(&[10], Dtype::Float32)?;
    let mut model = attacks::constant(1.0, 10)?;
    let part = attacks::constant(1.0, 3)?;
    let data = Dataset::open("data")?;
    let target = Tensor::zeros(&[2, 1], Dtype::Float32)?;
    for at in [8, 11, 1 << 32, 1 << 62, 1 << 63, u64::MAX - 1, u64::MAX] {
        attacks::tried("read", tensor.read_f32(at, 3));
        attacks::tried("read", tensor.read_f32(1, at.max(10)));
        attacks::tried("read", tensor.read_bytes(at, at));
        attacks::tried("write", tensor.write_f32(at, &[1.0; 3]));
        attacks::tried("write", tensor.write_bytes(at, &[1; 12]));
        attacks::tried("slice", model.slice(at, 3));
        attacks::tried("slice", model.slice(1, at.max(10)));
        attacks::tried("axpby", model.axpby_slice(at, 1.0, &part, 1.0));
        attacks::tried("rows", data.rows("rows", at, 3));
        attacks::tried("rows", data.rows("rows", 1, at.max(10)));
        attacks::tried("gather", data.gather_into("rows", &[0, at], &target));
    }
    attacks::tried("gather", data.gather_into("rows", &[0; 3], &target));
    attacks::tried("write-odd", tensor.write_bytes(0, &[1; 3]));
    Ok(())
}

flame_sdk::worker! { trainer => run }
