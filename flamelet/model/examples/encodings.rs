//! How fast messages are encoded and decoded, beside a plain copy of the same bytes:
//! `cargo run --release -p flame-model --example encodings [MiB]`.
//!
//! Gigabytes per second of the *unpacked* tensor, best of five; weights are drawn like those of a trained layer.

use std::error::Error;
use std::time::{Duration, Instant};

use flame_model::wire::{self, Encoding, TensorEncoding};
use flame_model::{Message, Model, SharedBufferMut, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(100), |text| text.parse())?;
    let values = weights(mib * (1 << 20) / 4);
    let bytes = values.len() * 4;

    let mut copy = vec![0.0_f32; values.len()];
    let took = best(|| {
        copy.copy_from_slice(std::hint::black_box(&values));
        Ok(())
    })?;
    std::hint::black_box(&copy);
    // What is received or narrowed goes to memory that the system has to give first; on many machines that is the larger half.
    let fresh = best(|| Ok(SharedBufferMut::with_len(bytes)?))?;
    println!(
        "{mib} MiB of float32; a plain copy: {:.2} GB/s; memory from the system: {:.2} GB/s",
        rate(bytes, took),
        rate(bytes, fresh)
    );
    println!("{:12} {:>10} {:>10} {:>8}", "encoding", "encode", "decode", "size");

    let model: Model = [("w", Tensor::from_f32(&[u64::try_from(values.len())?], &values)?)].into_iter().collect();
    let message = Message { models: vec![("m".into(), model)], ..Message::default() };
    for zstd in [None, Some(1), Some(3)] {
        for tensors in TensorEncoding::ALL {
            let encoding = Encoding { tensors, zstd };
            let encoded = wire::encode_as(&message, encoding)?;
            let encode = best(|| Ok(wire::encode_as(&message, encoding)?))?;
            let buffer = encoded.to_buffer()?;
            let decode = best(|| Ok(wire::decode(buffer.clone(), u64::MAX)?))?;
            let name = zstd.map_or_else(|| tensors.to_string(), |level| format!("{tensors}+zstd{level}"));
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let size = encoded.total_len as f64 * 100.0 / encoded.raw_len as f64;
            println!("{name:12} {:>10.2} {:>10.2} {size:>7.1}%", rate(bytes, encode), rate(bytes, decode));
        }
    }
    Ok(())
}

/// The quickest of five runs, the end of what they made included.
fn best<T>(mut run: impl FnMut() -> Result<T, Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        drop(std::hint::black_box(run()?));
        best = best.min(began.elapsed());
    }
    Ok(best)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn rate(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e9
}

/// Nearly normal, of the size of a layer's weights.
fn weights(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        #[expect(clippy::cast_precision_loss, reason = "24 bits are a float32's")]
        let x = (state >> 40) as f32 / (1_u64 << 24) as f32;
        x - 0.5
    };
    std::iter::repeat_with(move || (uniform() + uniform() + uniform() + uniform()) * 0.1).take(count).collect()
}
