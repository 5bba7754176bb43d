//! What can go wrong with tensors and models in memory.

/// Why an operation on tensors or models was refused. Nothing is changed when one is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Names, order, shapes or element types do not line up; the text names the first difference.
    #[error("layouts differ: {0}")]
    ShapeMismatch(String),
    /// No tensor of this name.
    #[error("no tensor named {0:?} in the model")]
    NotFound(String),
    /// A range, length or shape lies outside what it is applied to.
    #[error("{0}")]
    InvalidArgument(String),
    /// More memory than this host can address or give.
    #[error("cannot allocate {bytes} bytes for {what}; ask for less or raise the host's memory")]
    TooLarge {
        /// What the memory was for.
        what: &'static str,
        /// The number of bytes asked for, `u64::MAX` where the product of the shape overflowed.
        bytes: u64,
    },
    /// An end id that is not 40 lower-case hex digits.
    #[error("{0:?} is not an end id: expected 40 hex digits in lower case")]
    BadEndId(String),
}
