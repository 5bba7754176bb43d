//! Inner loops over slices, written so that the compiler vectorises them.

use crate::Element;

/// Elements between two looks at the flag of [`all_finite`]: long enough to vectorise, short enough to stop early.
const BLOCK: usize = 4096;

/// Independent partial sums of [`sum_of_squares`]: hides the latency of an addition, and keeps the result the same on
/// every machine because the order of additions is fixed here.
const LANES: usize = 8;

/// `y += alpha · x`.
pub(crate) fn axpy<T: Element>(y: &mut [T], alpha: f64, x: &[T]) {
    let alpha = T::scalar(alpha);
    for (y, x) in y.iter_mut().zip(x) {
        *y = y.plus(alpha, *x);
    }
}

/// `y = alpha · y`.
pub(crate) fn scale<T: Element>(y: &mut [T], alpha: f64) {
    let alpha = T::scalar(alpha);
    for y in y {
        *y = T::times(alpha, *y);
    }
}

/// `y = y − x`.
pub(crate) fn subtract<T: Element>(y: &mut [T], x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = y.minus(*x);
    }
}

/// `y = alpha · x + beta · y`, with `x` in `f32`. A `beta` of 0 forgets `y`, also where it is not finite.
pub(crate) fn axpby<T: Element>(y: &mut [T], alpha: f64, x: &[f32], beta: f64) {
    let (a, b) = (T::scalar(alpha), T::scalar(beta));
    if beta == 0.0 {
        for (y, x) in y.iter_mut().zip(x) {
            *y = T::times(a, T::from_f32(*x));
        }
    } else {
        for (y, x) in y.iter_mut().zip(x) {
            *y = T::blend(a, T::from_f32(*x), b, *y);
        }
    }
}

/// Σ x², accumulated in `f64`.
pub(crate) fn sum_of_squares<T: Element>(x: &[T]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f64 = chunks.remainder().iter().map(|x| x.to_f64() * x.to_f64()).sum();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            let x = x.to_f64();
            *lane += x * x;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Whether no element is NaN or infinite.
pub(crate) fn all_finite<T: Element>(x: &[T]) -> bool {
    !T::DTYPE.is_float() || x.chunks(BLOCK).all(|block| block.iter().fold(true, |finite, x| finite & x.finite()))
}

/// Appends `x` as `f32`.
pub(crate) fn extend_f32<T: Element>(target: &mut Vec<f32>, x: &[T]) {
    target.extend(x.iter().map(|x| x.to_f32()));
}

/// `y = x`, converted.
pub(crate) fn assign_f32<T: Element>(y: &mut [T], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = T::from_f32(*x);
    }
}
