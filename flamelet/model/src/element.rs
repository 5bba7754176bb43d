//! The arithmetic of each element type, so that a loop over a tensor is written once.

use bytemuck::Pod;
use half::{bf16, f16};

use crate::Dtype;

/// An element that a tensor can hold. `f32` computes in `f32`, everything else in `f64` with one rounding at the end
/// (half to even); integers saturate at their ends and turn NaN into 0.
pub trait Element: Pod + PartialEq + std::fmt::Debug + Send + Sync {
    /// The dtype that stores it.
    const DTYPE: Dtype;
    /// What a factor is converted to once, before the loop.
    type Scalar: Copy + Send + Sync;

    /// A factor for this type's loops.
    fn scalar(value: f64) -> Self::Scalar;
    /// `alpha · x`.
    fn times(alpha: Self::Scalar, x: Self) -> Self;
    /// `self + alpha · x`.
    #[must_use]
    fn plus(self, alpha: Self::Scalar, x: Self) -> Self;
    /// `alpha · x + beta · y`.
    fn blend(alpha: Self::Scalar, x: Self, beta: Self::Scalar, y: Self) -> Self;
    /// `self − x`; exact for integers, saturating.
    #[must_use]
    fn minus(self, x: Self) -> Self;
    /// Exact for all but integers beyond 2⁵³.
    fn to_f64(self) -> f64;
    /// Rounds half to even; integers saturate.
    fn from_f64(value: f64) -> Self;
    /// Rounds half to even.
    fn to_f32(self) -> f32;
    /// Rounds half to even; integers saturate.
    fn from_f32(value: f32) -> Self;
    /// Whether a number; always so for integers.
    fn finite(self) -> bool;
}

/// Runs `$body` with the type alias `$t` for the dtype's element type.
#[macro_export]
macro_rules! with_element {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::Dtype::Float32 => {
                type $t = f32;
                $body
            }
            $crate::Dtype::Float64 => {
                type $t = f64;
                $body
            }
            $crate::Dtype::Float16 => {
                type $t = $crate::half::f16;
                $body
            }
            $crate::Dtype::Bfloat16 => {
                type $t = $crate::half::bf16;
                $body
            }
            $crate::Dtype::Int64 => {
                type $t = i64;
                $body
            }
            $crate::Dtype::Int32 => {
                type $t = i32;
                $body
            }
            $crate::Dtype::Uint8 => {
                type $t = u8;
                $body
            }
        }
    };
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::Float32;
    type Scalar = f32;

    #[expect(clippy::cast_possible_truncation, reason = "an f32 loop takes its factor in f32: documented rounding")]
    fn scalar(value: f64) -> f32 {
        value as f32
    }
    fn times(alpha: f32, x: f32) -> f32 {
        alpha * x
    }
    fn plus(self, alpha: f32, x: f32) -> f32 {
        self + alpha * x
    }
    fn blend(alpha: f32, x: f32, beta: f32, y: f32) -> f32 {
        alpha * x + beta * y
    }
    fn minus(self, x: f32) -> f32 {
        self - x
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding to the stored type is what is asked for")]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}

/// The parts that every type computing in `f64` shares.
macro_rules! through_f64 {
    () => {
        type Scalar = f64;

        fn scalar(value: f64) -> f64 {
            value
        }
        fn times(alpha: f64, x: Self) -> Self {
            Self::from_f64(alpha * x.to_f64())
        }
        fn plus(self, alpha: f64, x: Self) -> Self {
            Self::from_f64(self.to_f64() + alpha * x.to_f64())
        }
        fn blend(alpha: f64, x: Self, beta: f64, y: Self) -> Self {
            Self::from_f64(alpha * x.to_f64() + beta * y.to_f64())
        }
    };
}

impl Element for f64 {
    const DTYPE: Dtype = Dtype::Float64;
    through_f64!();

    fn minus(self, x: f64) -> f64 {
        self - x
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn from_f64(value: f64) -> f64 {
        value
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is asked for")]
    fn to_f32(self) -> f32 {
        self as f32
    }
    fn from_f32(value: f32) -> f64 {
        f64::from(value)
    }
    fn finite(self) -> bool {
        self.is_finite()
    }
}

macro_rules! half_element {
    ($t:ty, $dtype:ident) => {
        impl Element for $t {
            const DTYPE: Dtype = Dtype::$dtype;
            through_f64!();

            fn minus(self, x: Self) -> Self {
                Self::from_f64(self.to_f64() - x.to_f64())
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn from_f64(value: f64) -> Self {
                <$t>::from_f64(value)
            }
            fn to_f32(self) -> f32 {
                f32::from(self)
            }
            fn from_f32(value: f32) -> Self {
                <$t>::from_f32(value)
            }
            fn finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}

half_element!(f16, Float16);
half_element!(bf16, Bfloat16);

macro_rules! integer_element {
    ($t:ty, $dtype:ident) => {
        impl Element for $t {
            const DTYPE: Dtype = Dtype::$dtype;
            through_f64!();

            fn minus(self, x: Self) -> Self {
                self.saturating_sub(x)
            }
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "documented: exact up to 2⁵³")]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "`as` saturates and maps NaN to 0, as documented"
            )]
            fn from_f64(value: f64) -> Self {
                value.round_ties_even() as $t
            }
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "rounding is what is asked for")]
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn from_f32(value: f32) -> Self {
                <Self as Element>::from_f64(f64::from(value))
            }
            fn finite(self) -> bool {
                true
            }
        }
    };
}

integer_element!(i64, Int64);
integer_element!(i32, Int32);
integer_element!(u8, Uint8);
