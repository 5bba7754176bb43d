//! The mathematics of the egress filters: from a guest's model to the one that leaves.
//!
//! Pure. What the guest holds is never written to: a filter that changes something makes tensors of its own, in one pass
//! that subtracts the base, scales, adds noise, puts the base back and rounds; a filter that changes nothing hands out the
//! guest's own storage. Norms and arithmetic are in `f64`, with one rounding to the stored type.

use flame_model::half::f16;
use flame_model::{Element, Model, ModelError, SharedBufferMut, Tensor, with_element};
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::{Filters, Rounding};

/// Independent partial sums of a norm, which hide the latency of an addition and fix its order.
const LANES: usize = 8;
/// How often a clipped update is scaled again because rounding carried it over the bound; then nothing of it leaves.
const TRIES: usize = 8;
/// What a repeated scaling stays below the bound.
const MARGIN: f64 = 1e-6;
/// Steps of `int8` on either side of zero.
const INT8_STEPS: f64 = 127.0;

/// A model as it leaves.
#[derive(Debug)]
pub(crate) struct Filtered {
    pub(crate) model: Model,
    /// L2 norm of the update as the guest made it.
    pub(crate) norm: f64,
    /// The same as it leaves.
    pub(crate) norm_sent: f64,
}

/// Why a model cannot be filtered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// Its layout is not the base's.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What would leave is no number.
    #[error("tensor `{0}` is not finite after the filters: a value or the noise is beyond what its type holds")]
    NotFinite(String),
    /// The sum of squares is beyond `f64`.
    #[error("the update's norm is beyond what 64-bit floats hold")]
    Norm,
}

/// L2 norm of `model − base`, or of `model` where it is a difference already. The layouts must be the same.
pub(crate) fn update_norm(model: &Model, base: Option<&Model>) -> f64 {
    let mut sum = 0.0;
    for (name, tensor) in model.iter() {
        let base = base.and_then(|base| base.get(name));
        sum += with_element!(tensor.dtype(), T => {
            squares(tensor.as_slice::<T>().unwrap_or_default(), base.and_then(Tensor::as_slice::<T>))
        });
    }
    sum.sqrt()
}

/// Clips, adds noise and rounds, in this order.
///
/// `base` is what a full model's update is the difference to; none for a model that is a difference itself. Its layout has
/// been compared. The norm of what leaves is at most `clip` where there is no noise, rounding included (if rounding alone
/// exceeds it, the base leaves instead of the update).
pub(crate) fn apply(
    model: &Model,
    base: Option<&Model>,
    filters: &Filters,
    noise: &mut ChaCha20Rng,
) -> Result<Filtered, FilterError> {
    let norm = update_norm(model, base);
    if !norm.is_finite() {
        return Err(FilterError::Norm);
    }
    let clip = filters.clip;
    let mut scale = match clip {
        Some(clip) if norm > clip => clip / norm,
        _ => 1.0,
    };
    let changes = scale < 1.0 || filters.noise.is_some() || filters.rounding.is_some();
    if !changes {
        return Ok(Filtered { model: model.clone(), norm, norm_sent: norm });
    }
    for tries in 0.. {
        let pass = Pass { scale, noise: filters.noise, rounding: filters.rounding };
        let made = pass.over(model, base, noise)?;
        let norm_sent = update_norm(&made, base);
        match clip {
            Some(clip) if filters.noise.is_none() && norm_sent > clip && scale > 0.0 => {
                scale = if tries < TRIES { scale * (clip / norm_sent) * (1.0 - MARGIN) } else { 0.0 };
            }
            _ => return Ok(Filtered { model: made, norm, norm_sent }),
        }
    }
    Err(FilterError::Norm)
}

/// What one pass does to every element.
#[derive(Debug, Clone, Copy)]
struct Pass {
    scale: f64,
    noise: Option<f64>,
    rounding: Option<Rounding>,
}

impl Pass {
    fn over(self, model: &Model, base: Option<&Model>, noise: &mut ChaCha20Rng) -> Result<Model, FilterError> {
        let mut made = Model::new();
        for (name, tensor) in model.iter() {
            let base = base.and_then(|base| base.get(name));
            let tensor = with_element!(tensor.dtype(), T => self.tensor::<T>(tensor, base, noise))?;
            if !tensor.all_finite() {
                return Err(FilterError::NotFinite(name.to_owned()));
            }
            made.insert(name, tensor);
        }
        Ok(made)
    }

    fn tensor<T: Element>(
        self,
        tensor: &Tensor,
        base: Option<&Tensor>,
        noise: &mut ChaCha20Rng,
    ) -> Result<Tensor, ModelError> {
        let values = tensor.as_slice::<T>().unwrap_or_default();
        let base = base.and_then(Tensor::as_slice::<T>);
        let mut buffer = SharedBufferMut::for_overwrite(tensor.byte_len())?;
        let made: &mut [T] = bytemuck::try_cast_slice_mut(buffer.as_mut_bytes())
            .map_err(|error| ModelError::InvalidArgument(error.to_string()))?;
        let whole = made.len() == values.len() && base.is_none_or(|base| base.len() == values.len());
        if !whole {
            return Err(ModelError::ShapeMismatch("the base has another number of elements".into()));
        }
        let half = self.rounding == Some(Rounding::F16);
        let scale = self.scale;
        // A scale of one leaves a value alone, also where the difference to the base would round.
        let clipped = |value: T, base: T| {
            let (value, base) = (value.to_f64(), base.to_f64());
            if scale < 1.0 { base + scale * (value - base) } else { value }
        };
        let stored = |value: f64| T::from_f64(if half { to_half(value) } else { value });
        let zero = T::from_f64(0.0);
        let base = base.map(|base| base.iter().copied());
        let bases = Bases { base, zero };
        match self.noise {
            None => {
                for ((made, value), base) in made.iter_mut().zip(values).zip(bases) {
                    *made = stored(clipped(*value, base));
                }
            }
            Some(deviation) => {
                for ((made, value), base) in made.iter_mut().zip(values).zip(bases) {
                    let standard: f64 = StandardNormal.sample(noise);
                    *made = stored(clipped(*value, base) + deviation * standard);
                }
            }
        }
        if self.rounding == Some(Rounding::Int8) {
            to_steps(made);
        }
        Tensor::from_buffer(tensor.shape(), tensor.dtype(), buffer.freeze())
    }
}

/// The base's elements, or zeros for ever.
struct Bases<T, I> {
    base: Option<I>,
    zero: T,
}

impl<T: Copy, I: Iterator<Item = T>> Iterator for Bases<T, I> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.base {
            Some(base) => base.next(),
            None => Some(self.zero),
        }
    }
}

/// The nearest half; what is beyond the largest is the largest.
fn to_half(value: f64) -> f64 {
    let largest = f16::MAX.to_f64();
    f16::from_f64(value.clamp(-largest, largest)).to_f64()
}

/// Rounds to 127 equal steps on either side of zero, the last of which is the largest magnitude.
fn to_steps<T: Element>(values: &mut [T]) {
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.to_f64().abs()));
    let step = largest / INT8_STEPS;
    if step > 0.0 && step.is_finite() {
        for value in values {
            *value = T::from_f64((value.to_f64() / step).round() * step);
        }
    }
}

fn squares<T: Element>(values: &[T], base: Option<&[T]>) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let mut rest = 0.0;
    let (chunks, last) = values.as_chunks::<LANES>();
    match base {
        None => {
            for chunk in chunks {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    let value = value.to_f64();
                    *lane += value * value;
                }
            }
            rest += last.iter().map(|value| value.to_f64().powi(2)).sum::<f64>();
        }
        Some(base) => {
            let (base_chunks, base_last) = base.as_chunks::<LANES>();
            for (chunk, base) in chunks.iter().zip(base_chunks) {
                for ((lane, value), base) in lanes.iter_mut().zip(chunk).zip(base) {
                    let difference = value.to_f64() - base.to_f64();
                    *lane += difference * difference;
                }
            }
            rest += last.iter().zip(base_last).map(|(v, b)| (v.to_f64() - b.to_f64()).powi(2)).sum::<f64>();
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use flame_model::Dtype;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn model(values: &[f32]) -> Model {
        let mut model = Model::new();
        model.insert("w", Tensor::from_f32(&[values.len() as u64], values).unwrap());
        model
    }

    fn run(model: &Model, base: Option<&Model>, filters: &Filters) -> Filtered {
        apply(model, base, filters, &mut ChaCha20Rng::from_seed([1; 32])).unwrap()
    }

    fn values(model: &Model) -> Vec<f32> {
        model.flat_f32()
    }

    #[test]
    fn a_full_model_is_clipped_against_its_base_and_a_delta_by_itself() {
        let filters = Filters { clip: Some(1.0), ..Filters::default() };
        let base = model(&[10.0; 100]);
        let trained = model(&[20.0; 100]);
        let full = run(&trained, Some(&base), &filters);
        assert!((full.norm - 100.0).abs() < 1e-9);
        assert!(full.norm_sent <= 1.0 && full.norm_sent > 0.99, "{}", full.norm_sent);
        assert!((values(&full.model)[0] - 10.1).abs() < 1e-4);
        assert_eq!(trained, model(&[20.0; 100]));

        let delta = run(&model(&[10.0; 100]), None, &filters);
        assert!((delta.norm - 100.0).abs() < 1e-9);
        assert!(delta.norm_sent <= 1.0 && delta.norm_sent > 0.99);
    }

    #[test]
    fn the_bound_holds_where_the_base_is_so_large_that_results_round() {
        let filters = Filters { clip: Some(1.0), ..Filters::default() };
        let base = model(&[1e7; 333]);
        let trained = model(&(0..333_u16).map(|i| 1e7 + f32::from(i)).collect::<Vec<_>>());
        let sent = run(&trained, Some(&base), &filters);
        assert!(sent.norm_sent <= 1.0, "{}", sent.norm_sent);
        assert!(update_norm(&sent.model, Some(&base)) <= 1.0);
    }

    #[test]
    fn what_needs_no_change_keeps_its_storage() {
        let update = model(&[0.1; 4]);
        let sent = run(&update, None, &Filters { clip: Some(1.0), ..Filters::default() });
        assert!(sent.model.get("w").unwrap().shares_storage(update.get("w").unwrap()));
        assert_eq!(sent.norm.to_bits(), sent.norm_sent.to_bits());
    }

    #[test]
    fn noise_has_the_deviation_that_was_asked_for() {
        let update = model(&vec![1.0; 20_000]);
        let sent = run(&update, None, &Filters { noise: Some(0.5), ..Filters::default() });
        let noise: Vec<f64> = values(&sent.model).iter().map(|value| f64::from(*value) - 1.0).collect();
        let mean = noise.iter().sum::<f64>() / 20_000.0;
        let deviation = (noise.iter().map(|x| x * x).sum::<f64>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((deviation - 0.5).abs() < 0.02, "{deviation}");
        assert_eq!(update, model(&vec![1.0; 20_000]));
    }

    #[test]
    fn rounding_comes_last_and_keeps_the_type() {
        let filters = |rounding| Filters { rounding: Some(rounding), ..Filters::default() };
        let sent = run(&model(&[1.000_1, 1e9, -1e9, 0.0]), None, &filters(Rounding::F16));
        assert_eq!(values(&sent.model), [1.0, 65504.0, -65504.0, 0.0]);
        let sent = run(&model(&[127.0, 1.4, -1.6, 0.2]), None, &filters(Rounding::Int8));
        assert_eq!(values(&sent.model), [127.0, 1.0, -2.0, 0.0]);
        assert_eq!(sent.model.dtype(), Some(Dtype::Float32));
        let zeros = run(&model(&[0.0; 9]), None, &filters(Rounding::Int8));
        assert_eq!(values(&zeros.model), [0.0; 9]);
    }

    #[test]
    fn rounding_does_not_carry_an_update_over_the_bound() {
        let filters = Filters { clip: Some(1.0), rounding: Some(Rounding::Int8), ..Filters::default() };
        let update = model(&(0..1_000_u16).map(|i| f32::from(i % 7) - 2.9).collect::<Vec<_>>());
        let sent = run(&update, None, &filters);
        assert!(sent.norm_sent <= 1.0, "{}", sent.norm_sent);
    }

    #[test]
    fn integers_and_narrow_floats_are_parameters_like_any_other() {
        let mut update = Model::new();
        update.insert("count", Tensor::from_elements::<i64>(&[1], &[300]).unwrap());
        update.insert("half", Tensor::from_elements(&[1], &[f16::from_f32(400.0)]).unwrap());
        let sent = run(&update, None, &Filters { clip: Some(5.0), ..Filters::default() });
        assert!((sent.norm - 500.0).abs() < 1e-9);
        assert!(sent.norm_sent <= 5.0 && sent.norm_sent > 4.0, "{}", sent.norm_sent);
        assert_eq!(sent.model.get("count").unwrap().dtype(), Dtype::Int64);
    }

    #[test]
    fn what_overflows_is_refused() {
        let mut huge = Model::new();
        huge.insert("w", Tensor::from_elements(&[1], &[1e200_f64]).unwrap());
        let filters = Filters { clip: Some(1.0), ..Filters::default() };
        let refused = apply(&huge, None, &filters, &mut ChaCha20Rng::from_seed([1; 32])).unwrap_err();
        assert!(refused.to_string().contains("norm"), "{refused}");

        let mut half = Model::new();
        half.insert("w", Tensor::from_elements(&[64], &[f16::MAX; 64]).unwrap());
        let filters = Filters { noise: Some(1e6), ..Filters::default() };
        let refused = apply(&half, None, &filters, &mut ChaCha20Rng::from_seed([1; 32])).unwrap_err();
        assert!(refused.to_string().contains("`w`"), "{refused}");
    }
}
