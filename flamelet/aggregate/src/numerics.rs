//! How sums are kept: in which type, in which order, on how many threads.

use flame_model::Dtype;

use crate::AggregateError;
use crate::options::{OptionInfo, Options, Range};
use crate::parallel::Threads;

/// The options of every rule that concern sums.
pub(crate) static OPTIONS: [OptionInfo; 4] = [
    OptionInfo {
        name: "accumulate",
        default: Some("f32"),
        doc: "`f32`: means of float32, float16 and bfloat16 are kept in f32, off by at most K·2⁻²⁴ of the largest value after K updates; \
              `f64`: in f64, for twice the memory",
    },
    OptionInfo {
        name: "deterministic",
        default: Some("false"),
        doc: "sums in fixed point: the result does not depend on the order of arrival, to the bit; for twice the memory",
    },
    OptionInfo {
        name: "max-weight-share",
        default: Some("1"),
        doc: "most that one client may weigh of a round, above 0 and at most 1: min(n, share·V), V the sum of the capped weights; \
              fewer than 1/share updates are held back to know V; without effect where a rule ignores samples",
    },
    OptionInfo {
        name: "threads",
        default: Some("0"),
        doc: "threads of a loop over a model, at most 256; 0: one below a million parameters, else all of the machine's. Never changes a result",
    },
];

/// What the common options `accumulate`, `deterministic` and `threads` say.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numerics {
    /// `accumulate = "f64"`: sums and optimiser state of all floats in `f64`.
    pub(crate) in_f64: bool,
    /// Fixed-point sums: independent of the order of arrival, to the bit.
    pub(crate) deterministic: bool,
    /// How many threads a loop over a model may take. Results never depend on it.
    pub(crate) threads: Threads,
}

impl Numerics {
    pub(crate) fn read(options: &Options<'_>) -> Result<Self, AggregateError> {
        let threads = options.number("threads", Range::Threads)?.unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to 256")]
        let threads = Threads(threads as usize);
        Ok(Self {
            in_f64: options.word("accumulate", &["f32", "f64"])? == Some("f64"),
            deterministic: options.flag("deterministic")?.unwrap_or(false),
            threads,
        })
    }

    /// For rules that hold their updates and fold them in canonical order: no fixed point is needed for the same bits.
    pub(crate) const fn ordered(self) -> Self {
        Self { deterministic: false, ..self }
    }

    /// The dtype that a tensor's mean and a rule's state are kept in.
    pub(crate) const fn wide(self, dtype: Dtype) -> Dtype {
        match dtype {
            Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16 if !self.in_f64 => Dtype::Float32,
            _ => Dtype::Float64,
        }
    }
}
