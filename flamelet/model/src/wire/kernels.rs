//! Loops that narrow and widen elements, written so that the compiler vectorises them; f16 by `half`, which uses the
//! processor's own conversion where it has one.

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::WireError;
use super::encoding::Packing;
use crate::{Dtype, Element};

/// The least magnitude that rounds to infinity in f16: half a step above 65,504.
pub(super) const F16_BOUND: f64 = 65_520.0;
/// The same in bf16, half a step above its largest: 255.5 · 2¹²⁰.
pub(super) const BF16_BOUND: f64 = f64::from_bits(0x47ef_f000_0000_0000);

/// Elements between two steps of a loop that goes through a small buffer.
const BLOCK: usize = 1024;

/// The largest finite magnitude, and whether all elements are finite.
pub(super) fn magnitude_f32(x: &[f32]) -> (f64, bool) {
    // Magnitudes compare as their bits do; integers, because their maximum may be taken in any order.
    let (mut largest, mut not_finite) = (0_i32, 0_i32);
    for x in x {
        let bits = x.abs().to_bits().cast_signed();
        let finite = bits < 0x7f80_0000;
        largest = largest.max(if finite { bits } else { 0 });
        not_finite |= i32::from(!finite);
    }
    (f32::from_bits(largest.cast_unsigned()).into(), not_finite == 0)
}

/// The same for `float64`.
pub(super) fn magnitude_f64(x: &[f64]) -> (f64, bool) {
    let (mut largest, mut not_finite) = (0_i64, 0_i64);
    for x in x {
        let bits = x.abs().to_bits().cast_signed();
        let finite = bits < 0x7ff0_0000_0000_0000;
        largest = largest.max(if finite { bits } else { 0 });
        not_finite |= i64::from(!finite);
    }
    (f64::from_bits(largest.cast_unsigned()), not_finite == 0)
}

/// The scale of a tensor whose largest magnitude is `largest`; 0 where it is too small to divide by.
pub(super) fn scale(largest: f64) -> f64 {
    let scale = largest / 127.0;
    if !(1.0 / scale).is_finite() {
        return 0.0;
    }
    // The quotient may have been rounded up, and 127 times it beyond the largest number.
    if (scale * 127.0).is_finite() { scale } else { scale.next_down() }
}

/// Whether 127 times a scale that came from outside is a number of the dtype.
pub(super) fn scale_fits(scale: f64, dtype: Dtype) -> bool {
    let largest = scale * 127.0;
    // A float32 of the largest magnitude comes back through a product that is a hair above it.
    #[expect(clippy::cast_possible_truncation, reason = "whether it survives the rounding is the question")]
    let fits = if dtype == Dtype::Float32 { (largest as f32).is_finite() } else { largest.is_finite() };
    scale >= 0.0 && fits
}

/// Writes elements in their narrow form.
pub(super) fn narrow(packing: Packing, dtype: Dtype, from: &[u8], to: &mut [u8]) -> Result<(), WireError> {
    match (packing, dtype) {
        (Packing::Raw, _) => copy(from, to),
        (Packing::F16, Dtype::Float32) => {
            let (from, to): (&[f32], &mut [f16]) = (elements(from)?, elements_mut(to)?);
            same_len(from.len(), to.len())?;
            to.convert_from_f32_slice(from);
            Ok(())
        }
        (Packing::F16, Dtype::Float64) => through_f32(elements(from)?, elements_mut(to)?, |from, to: &mut [f16]| {
            to.convert_from_f32_slice(from);
        }),
        (Packing::Bf16, Dtype::Float32) => {
            let (from, to) = (elements(from)?, elements_mut(to)?);
            same_len(from.len(), to.len())?;
            to_bf16(from, to);
            Ok(())
        }
        (Packing::Bf16, Dtype::Float64) => through_f32(elements(from)?, elements_mut(to)?, to_bf16),
        (Packing::Int8 { scale }, Dtype::Float32) => quantise::<f32>(elements(from)?, scale, to),
        (Packing::Int8 { scale }, Dtype::Float64) => quantise::<f64>(elements(from)?, scale, to),
        _ => Err(not_packed(dtype)),
    }
}

/// Writes elements in the form that they had before [`narrow`].
pub(super) fn widen(packing: Packing, dtype: Dtype, from: &[u8], to: &mut [u8]) -> Result<(), WireError> {
    match (packing, dtype) {
        (Packing::Raw, _) => copy(from, to),
        (Packing::F16, Dtype::Float32) => {
            let (from, to): (&[f16], &mut [f32]) = (elements(from)?, elements_mut(to)?);
            same_len(from.len(), to.len())?;
            from.convert_to_f32_slice(to);
            Ok(())
        }
        (Packing::F16, Dtype::Float64) => {
            let (from, to): (&[f16], &mut [f64]) = (elements(from)?, elements_mut(to)?);
            same_len(from.len(), to.len())?;
            from.convert_to_f64_slice(to);
            Ok(())
        }
        (Packing::Bf16, Dtype::Float32) => from_bf16::<f32>(elements(from)?, elements_mut(to)?),
        (Packing::Bf16, Dtype::Float64) => from_bf16::<f64>(elements(from)?, elements_mut(to)?),
        (Packing::Int8 { scale }, Dtype::Float32) => multiples::<f32>(from, scale, elements_mut(to)?),
        (Packing::Int8 { scale }, Dtype::Float64) => multiples::<f64>(from, scale, elements_mut(to)?),
        _ => Err(not_packed(dtype)),
    }
}

/// Half to even; NaN stays one. Finite values beyond [`BF16_BOUND`] do not come here.
fn to_bf16(from: &[f32], to: &mut [u16]) {
    for (to, x) in to.iter_mut().zip(from) {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        // A NaN whose payload lies in the lower half would become an infinity.
        let quiet = bits | 0x0040_0000;
        let chosen = if x.is_nan() { quiet } else { rounded };
        *to = (chosen >> 16) as u16;
    }
}

fn from_bf16<T: From<f32>>(from: &[u16], to: &mut [T]) -> Result<(), WireError> {
    same_len(from.len(), to.len())?;
    for (to, x) in to.iter_mut().zip(from) {
        *to = f32::from_bits(u32::from(*x) << 16).into();
    }
    Ok(())
}

/// `float64` by way of `float32`. Rounding twice would miss the nearest value now and then, so the first rounding goes to
/// the neighbour with an odd last bit where the value is not exact: the second one then sees on which side it lay.
fn through_f32<T>(from: &[f64], to: &mut [T], narrow: impl Fn(&[f32], &mut [T])) -> Result<(), WireError> {
    same_len(from.len(), to.len())?;
    let mut block = [0.0_f32; BLOCK];
    for (from, to) in from.chunks(BLOCK).zip(to.chunks_mut(BLOCK)) {
        for (between, x) in block.iter_mut().zip(from) {
            *between = to_odd(*x);
        }
        narrow(block.get(..from.len()).unwrap_or_default(), to);
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "what the rounding loses is put into the last bit")]
#[expect(clippy::float_cmp, reason = "whether the rounding changed anything is the question")]
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    let bits = near.to_bits();
    let towards = if back.abs() < x.abs() { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    let is_exact = back == x || x.is_nan();
    f32::from_bits(if is_exact || bits & 1 == 1 { bits } else { towards })
}

/// `x / scale`, half to even, as two's complement.
fn quantise<T: Copy + Into<f64>>(from: &[T], scale: f64, to: &mut [u8]) -> Result<(), WireError> {
    /// Added to a small number it leaves the nearest whole one in the lowest bits: rounding without a call.
    const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 · 2⁵²
    same_len(from.len(), to.len())?;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (to, x) in to.iter_mut().zip(from) {
        let [lowest, ..] = ((*x).into() * inverse + MAGIC).to_bits().to_le_bytes();
        *to = lowest;
    }
    Ok(())
}

/// `q · scale`, rounded to the dtype. There are only 256 of them.
fn multiples<T: Element>(from: &[u8], scale: f64, to: &mut [T]) -> Result<(), WireError> {
    same_len(from.len(), to.len())?;
    let mut table = [T::from_f64(0.0); 256];
    for (q, entry) in (0..=u8::MAX).zip(&mut table) {
        *entry = T::from_f64(f64::from(q.cast_signed()) * scale);
    }
    for (to, q) in to.iter_mut().zip(from) {
        // A byte is always in the table: the compiler knows, and makes no branch of it.
        if let Some(product) = table.get(usize::from(*q)) {
            *to = *product;
        }
    }
    Ok(())
}

fn copy(from: &[u8], to: &mut [u8]) -> Result<(), WireError> {
    same_len(from.len(), to.len())?;
    to.copy_from_slice(from);
    Ok(())
}

fn elements<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Result<&[T], WireError> {
    bytemuck::try_cast_slice(bytes).map_err(|error| WireError::Failed(error.to_string()))
}

fn elements_mut<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(bytes: &mut [u8]) -> Result<&mut [T], WireError> {
    bytemuck::try_cast_slice_mut(bytes).map_err(|error| WireError::Failed(error.to_string()))
}

fn same_len(from: usize, to: usize) -> Result<(), WireError> {
    if from == to { Ok(()) } else { Err(WireError::Failed(format!("{from} elements for room for {to}"))) }
}

fn not_packed(dtype: Dtype) -> WireError {
    WireError::Malformed(format!("{dtype} elements travel as they are and in no other form"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn f16_of(x: f64) -> f16 {
        let mut out = [0_u8; 8];
        narrow(Packing::F16, Dtype::Float64, bytemuck::bytes_of(&x), &mut out[..2]).unwrap();
        f16::from_le_bytes([out[0], out[1]])
    }

    #[test]
    fn a_float64_is_rounded_once() {
        // Just above the middle between 1 and the next f16: rounded to f32 first, it would lie on it and go to even.
        let middle = 1.0 + f64::from(f16::EPSILON) / 2.0;
        assert_eq!(f16_of(middle), f16::ONE);
        assert_eq!(f16_of(middle.next_up()), f16::from_bits(0x3c01));
        assert_eq!(f16_of(-middle.next_up()), f16::from_bits(0xbc01));
        assert_eq!(f16_of(F16_BOUND.next_down()), f16::MAX);
        assert_eq!(f16_of(1e-300), f16::ZERO);
        assert_eq!(f16_of(f64::NEG_INFINITY), f16::NEG_INFINITY);
        assert!(f16_of(f64::NAN).is_nan());
        assert_eq!(to_odd(f64::MAX).to_bits(), f32::MAX.to_bits());
        assert_eq!(to_odd(1e-300).to_bits(), 1);
    }

    #[test]
    fn every_pattern_of_sixteen_bits_goes_there_and_back() {
        for bits in 0..=u16::MAX {
            let (mut packed, mut wide) = ([0_u16], [0.0_f32]);
            from_bf16(&[bits], &mut wide).unwrap();
            to_bf16(&wide, &mut packed);
            let expected = bf16::from_f32(bf16::from_bits(bits).to_f32());
            assert_eq!(packed[0], expected.to_bits(), "{bits:#x}");
        }
    }

    #[test]
    fn bf16_agrees_with_half_on_every_kind_of_value() {
        for upper in 0..=u16::MAX {
            for lower in [0_u16, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(upper) << 16 | u32::from(lower));
                let mut packed = [0];
                to_bf16(&[x], &mut packed);
                assert_eq!(packed[0], bf16::from_f32(x).to_bits(), "{x:e}");
            }
        }
        assert!(bf16::from_f64(BF16_BOUND).is_infinite() && bf16::from_f64(BF16_BOUND.next_down()) == bf16::MAX);
    }

    #[test]
    fn magnitudes_pass_over_what_is_not_finite_and_say_so() {
        assert_eq!(magnitude_f32(&[]), (0.0, true));
        assert_eq!(magnitude_f32(&[1.0, -3.0, 2.0]), (3.0, true));
        assert_eq!(magnitude_f32(&[f32::NAN, -3.0, f32::NEG_INFINITY]), (3.0, false));
        assert_eq!(magnitude_f64(&[f64::INFINITY, 1.0, -f64::MAX]), (f64::MAX, false));
    }

    #[test]
    fn scales_are_usable_at_both_ends_of_the_range() {
        assert_eq!(scale(0.0).to_bits(), 0);
        assert_eq!(scale(f64::from_bits(1)).to_bits(), 0);
        assert!((scale(f64::MAX) * 127.0).is_finite() && scale_fits(scale(f64::MAX), Dtype::Float64));
        assert!(scale_fits(scale(f32::MAX.into()), Dtype::Float32));
        assert!(!scale_fits(scale(f64::MAX), Dtype::Float32));
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(!scale_fits(bad, Dtype::Float64), "{bad}");
        }
    }
}
