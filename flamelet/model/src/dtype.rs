//! Element types and their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// The element type of a tensor, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary64.
    Float64,
    /// IEEE 754 binary16.
    Float16,
    /// The upper half of a binary32.
    Bfloat16,
    /// Signed 64-bit integer.
    Int64,
    /// Signed 32-bit integer.
    Int32,
    /// Unsigned byte.
    Uint8,
}

impl Dtype {
    /// Every dtype, in the order of their wire codes.
    pub const ALL: [Self; 7] =
        [Self::Float32, Self::Float64, Self::Float16, Self::Bfloat16, Self::Int64, Self::Int32, Self::Uint8];

    /// Bytes per element: 1, 2, 4 or 8.
    pub const fn size(self) -> usize {
        match self {
            Self::Float64 | Self::Int64 => 8,
            Self::Float32 | Self::Int32 => 4,
            Self::Float16 | Self::Bfloat16 => 2,
            Self::Uint8 => 1,
        }
    }

    /// Whether NaN and infinity can be stored.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Float32 | Self::Float64 | Self::Float16 | Self::Bfloat16)
    }

    /// The name in a safetensors header: `F32`, `F64`, `F16`, `BF16`, `I64`, `I32`, `U8`.
    pub const fn safetensors_name(self) -> &'static str {
        match self {
            Self::Float32 => "F32",
            Self::Float64 => "F64",
            Self::Float16 => "F16",
            Self::Bfloat16 => "BF16",
            Self::Int64 => "I64",
            Self::Int32 => "I32",
            Self::Uint8 => "U8",
        }
    }

    /// The dtype of a safetensors header's name; `None` for those that Flame does not hold.
    pub fn from_safetensors_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.safetensors_name() == name)
    }

    /// The code on the wire, 0 to 6; settled for ever.
    pub const fn code(self) -> u8 {
        match self {
            Self::Float32 => 0,
            Self::Float64 => 1,
            Self::Float16 => 2,
            Self::Bfloat16 => 3,
            Self::Int64 => 4,
            Self::Int32 => 5,
            Self::Uint8 => 6,
        }
    }

    /// The dtype of a wire code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code)
    }

    /// The name in WIT, logs and errors: `float32`, `bfloat16`, `uint8` …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Int64 => "int64",
            Self::Int32 => "int32",
            Self::Uint8 => "uint8",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dtype {
    type Err = ModelError;

    /// Reads both `float32` and `F32`.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == text || dtype.safetensors_name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            ModelError::InvalidArgument(format!("unknown dtype {text:?}; known: {known}"))
        })
    }
}
