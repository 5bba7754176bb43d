//! Gaussian noise from ChaCha20: a stream of its own for each piece of a model, so that no number of threads changes it.
//!
//! Normal variates are in `f64` by the ziggurat, whose lowest digits do not hide everything from who could see the mean's own (Mironov
//! 2012); the sum is rounded to the accumulator's type, which takes most of them away.

use flame_model::Model;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use crate::AggregateError;
use crate::kernels::elements_mut;
use crate::parallel::{CHUNK, Pieces, Threads};
use crate::wide::{Wide, with_wide};

/// σ = z·C/K of the noise on the mean of K updates, each clipped to C.
pub fn noise_stddev(multiplier: f64, clip: f64, updates: f64) -> f64 {
    multiplier * clip / updates
}

/// The noise of one round.
#[derive(Clone, Copy)]
pub struct Noise {
    key: [u8; 32],
    sigma: f64,
}

impl std::fmt::Debug for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noise").field("sigma", &self.sigma).finish_non_exhaustive()
    }
}

impl Noise {
    pub(super) const fn new(key: [u8; 32], sigma: f64) -> Self {
        Self { key, sigma }
    }

    /// Adds it to a mean update in the accumulators' dtypes.
    pub(crate) fn blur(&self, mean: &mut Model, threads: Threads) {
        fn run<W: Wide>(numbers: &mut [W], mut random: ChaCha20Rng, sigma: f64) {
            for number in numbers {
                let normal: f64 = StandardNormal.sample(&mut random);
                *number = W::from_f64(number.to_f64() + sigma * normal);
            }
        }
        let (mut pieces, mut stream) = (Pieces::default(), 1_u64);
        for (_, tensor) in mean.iter_mut() {
            with_wide!(tensor.dtype(), W => for piece in elements_mut::<W>(tensor).chunks_mut(CHUNK) {
                let random = generator(self.key, stream);
                stream = stream.wrapping_add(1);
                pieces.push(piece.len(), move || run::<W>(piece, random, self.sigma));
            });
        }
        pieces.run(threads);
    }
}

fn generator(key: [u8; 32], stream: u64) -> ChaCha20Rng {
    let mut random = ChaCha20Rng::from_seed(key);
    random.set_stream(stream);
    random
}

/// The job's key: from a seed, or from the operating system.
pub(super) fn key(seed: Option<f64>) -> Result<[u8; 32], AggregateError> {
    let mut key = [0; 32];
    if let Some(seed) = seed {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to 2⁵³")]
        let seed = seed as u64;
        ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut key);
        return Ok(key);
    }
    getrandom::fill(&mut key).map_err(|error| {
        AggregateError::InvalidArgument(format!("the operating system gives no randomness for the noise: {error}"))
    })?;
    Ok(key)
}

/// The key of one round: a restored job goes on with the noise that it would have had.
pub(super) fn round_key(key: &[u8; 32], round: u64) -> [u8; 32] {
    let mut derived = [0; 32];
    generator(*key, round).fill_bytes(&mut derived);
    derived
}

/// One normal variate of a round, apart from those of its mean.
pub(super) fn one(key: [u8; 32]) -> f64 {
    StandardNormal.sample(&mut generator(key, 0))
}
