//! What each element type is accumulated in.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

use flame_model::Element;
use half::{bf16, f16};

/// A type that sums are kept in: `f32` or `f64`.
pub(crate) trait Wide:
    Element
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// √x.
    fn root(self) -> Self;
}

/// Runs `$body` with the type alias `$w` for the type of a mean: `f32` or `f64`.
macro_rules! with_wide {
    ($dtype:expr, $w:ident => $body:expr) => {
        if $dtype == flame_model::Dtype::Float32 {
            type $w = f32;
            $body
        } else {
            type $w = f64;
            $body
        }
    };
}
pub(crate) use with_wide;

impl Wide for f32 {
    fn root(self) -> Self {
        self.sqrt()
    }
}

impl Wide for f64 {
    fn root(self) -> Self {
        self.sqrt()
    }
}

/// A stored element that can be averaged.
pub(crate) trait Summand: Element {
    /// `self − other`; exact for integers before it becomes a float.
    fn offset(self, other: Self) -> f64 {
        self.to_f64() - other.to_f64()
    }
    /// `self + step`, rounded once, half to even; integers are exact at any size and saturate.
    fn settle(self, step: f64) -> Self {
        Self::from_f64(self.to_f64() + step)
    }
}

impl Summand for f32 {}
impl Summand for f16 {}
impl Summand for bf16 {}
impl Summand for f64 {}

macro_rules! integer_summand {
    ($t:ty) => {
        impl Summand for $t {
            #[expect(clippy::cast_precision_loss, reason = "a difference beyond 2⁵³ is rounded like any sum in f64")]
            fn offset(self, other: Self) -> f64 {
                (i128::from(self) - i128::from(other)) as f64
            }
            #[expect(clippy::cast_possible_truncation, reason = "whole by then, and `as` saturates")]
            fn settle(self, step: f64) -> Self {
                // base + step in i128: an f64 sum would lose the low digits of a large i64.
                let whole = step.floor();
                let part = step - whole;
                let below = i128::from(self).saturating_add(whole as i128);
                let up = match part.partial_cmp(&0.5) {
                    Some(Ordering::Greater) => true,
                    Some(Ordering::Equal) => below & 1 == 1,
                    _ => false,
                };
                let sum = below.saturating_add(i128::from(up));
                Self::try_from(sum).unwrap_or(if sum < 0 { Self::MIN } else { Self::MAX })
            }
        }
    };
}

integer_summand!(i64);
integer_summand!(i32);
integer_summand!(u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_integers_settle_exactly_and_half_to_even() {
        let big = (1_i64 << 60) + 1;
        assert_eq!(big.settle(0.0), big);
        assert_eq!(big.settle(0.5), big + 1, "odd + ½ goes up to even");
        assert_eq!((big + 1).settle(0.5), big + 1, "even + ½ stays");
        assert_eq!(big.settle(-0.5), big - 1);
        assert_eq!(5_i32.settle(-0.5), 4);
        assert_eq!(i64::MAX.settle(1.0), i64::MAX);
        assert_eq!(3_u8.settle(-10.0), 0);
        assert!((i64::MAX.offset(i64::MIN) - 2_f64.powi(64)).abs() < 1.0);
    }
}
