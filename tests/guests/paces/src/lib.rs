//! What `bench -- sandbox` times: each piece between two log lines with its name.

use std::hint::black_box;

use flame_sdk::{Context, Dtype, Result, Role, Tensor, info};

/// Elements that cross the boundary at once: 4 MiB.
const PIECE: u64 = 1 << 20;

struct Paces;

impl Role for Paces {
    fn run(ctx: &Context) -> Result<()> {
        info!("first");
        let calls: u64 = ctx.hyper("calls")?;
        let large: u64 = ctx.hyper("large")?;
        let repeat: u64 = ctx.hyper("repeat")?;
        let work: u64 = ctx.hyper("work")?;
        if calls > 0 {
            timed("calls", || (0..calls).try_for_each(|_| ctx.check_stop()))?;
        }
        if large > 0 {
            let data = vec![1.5_f32; PIECE as usize];
            let small = Tensor::zeros(&[PIECE], Dtype::Float32)?;
            for _ in 0..repeat {
                timed("in-4mb", || small.write_f32(0, &data))?;
                timed("out-4mb", || small.read_f32(0, PIECE).map(|read| drop(black_box(read))))?;
            }
            let tensor = Tensor::zeros(&[large * PIECE], Dtype::Float32)?;
            for _ in 0..repeat {
                timed("in-400mb", || (0..large).try_for_each(|at| tensor.write_f32(at * PIECE, &data)))?;
                timed("out-400mb", || {
                    (0..large).try_for_each(|at| tensor.read_f32(at * PIECE, PIECE).map(|read| drop(black_box(read))))
                })?;
            }
        }
        for _ in 0..work {
            timed("naive", || {
                naive();
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn timed(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    info!("{name}");
    work()?;
    info!("{name}");
    Ok(())
}

/// A loop as one writes it without thinking of the sandbox: an epoch check for each short inner step.
fn naive() {
    let (x, mut sum) = (vec![1.0_f32; 4096], vec![0.0_f32; 4096]);
    for round in 0..20_000 {
        let weight = black_box(round as f32);
        for (sum, x) in sum.iter_mut().zip(&x) {
            *sum += weight * x;
        }
    }
    black_box(sum);
}

flame_sdk::worker! { paces: Paces }
