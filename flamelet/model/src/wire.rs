//! A message as bytes: a small typed header, then the body and every tensor, each on a multiple of 8.
//!
//! ```text
//! 0   magic "FLMSG" 0 0, version 2                      8 bytes
//! 8   header length h, little-endian u64                8 bytes
//! 16  header, zero bytes up to a multiple of 8          h bytes, padded
//!     payload: body, zero bytes up to a multiple of 8
//!              tensors in the header's order, each padded likewise
//! ```
//!
//! The header: whether the payload is compressed, kind, round, form, base, samples, metrics, models (each tensor's name,
//! dtype, packing and shape), length of the body. Texts and lists carry their `u32` length.
//!
//! A tensor travels as it is ([`TensorEncoding::Raw`]: no copy on either side) or, if it is `float32` or `float64`,
//! narrowed; it has its dtype again when it arrives. A compressed payload is a row of zstd frames, one for every
//! [`BLOCK`] bytes of it. `docs/protocol.md` has the layout, `docs/decisions/0005-wire-encodings.md` the reasons.
//!
//! Lengths, counts, dtypes, shapes and texts of the other side are never trusted: what a message takes in memory follows
//! from its header, is held against the receiver's limit, and only then allocated. A message whose tensors are all raw
//! has one encoding: padding is zero and nothing follows the last tensor.

mod compress;
mod decode;
mod encode;
mod encoding;
mod header;
mod kernels;
mod layout;

pub use compress::BLOCK;
pub use decode::{Packed, decode, open};
pub use encode::{Encoded, Segment, encode, encode_as};
pub use encoding::{Encoding, TensorEncoding, ZSTD_LEVELS, round};

use crate::Message;

/// First seven bytes: the format.
pub(crate) const MAGIC: [u8; 7] = *b"FLMSG\0\0";
/// The eighth: its version.
pub(crate) const VERSION: u8 = 2;
/// Bytes before the header.
pub(crate) const PREFIX: usize = 16;

/// Most header bytes: names and shapes of [`MAX_TENSORS`] tensors fit many times.
pub const MAX_HEADER_BYTES: usize = 16 << 20;
/// Most models in one message.
pub const MAX_MODELS: usize = 1024;
/// Most tensors in one message, over all models. An empty tensor takes a few bytes on the wire and some hundred in memory:
/// the limit keeps that from mattering.
pub const MAX_TENSORS: usize = 65_536;
/// Most metrics in one message.
pub const MAX_METRICS: usize = 65_536;

/// Why bytes are not a message, or a message cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not our format.
    #[error("not a Flame message: it begins with {0:02x?}")]
    BadMagic(Vec<u8>),
    /// A version that this host does not know.
    #[error("a Flame message of version {found}, and this host reads version {VERSION}; bring both to one release")]
    UnknownVersion {
        /// The message's version.
        found: u8,
    },
    /// The buffer ends inside something.
    #[error("the message ends early: {what} needs {needed} bytes, {left} are left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that it claims.
        needed: u64,
        /// Bytes that there are.
        left: u64,
    },
    /// A value that the format does not allow.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// More of something than a message may have.
    #[error("a message may have at most {limit} {what}, this one has {found}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it has or claims.
        found: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// Unpacked it would be larger than the receiver permits. Nothing was allocated.
    #[error("the message has {needed} bytes when unpacked, over the limit of {limit}")]
    OverLimit {
        /// Bytes of the message with every tensor raw.
        needed: u64,
        /// What is permitted.
        limit: u64,
    },
    /// Values that the encoding which was asked for cannot carry.
    #[error("tensor {tensor:?} of model {model:?} cannot travel as {encoding}: {why}")]
    Unfit {
        /// The model's name.
        model: String,
        /// The tensor's name.
        tensor: String,
        /// The encoding.
        encoding: TensorEncoding,
        /// What is in the way and what to do about it.
        why: String,
    },
    /// The compression library failed, or this host has not the memory.
    #[error("the message cannot be packed or unpacked: {0}")]
    Failed(String),
}

/// Whether the receiver's [`open`] will take a message: counts, size of the header, distinct model names.
pub fn check(message: &Message) -> Result<(), WireError> {
    let tensors = message.models.iter().map(|(_, model)| model.len()).sum();
    limit("models", message.models.len(), MAX_MODELS)?;
    limit("tensors", tensors, MAX_TENSORS)?;
    limit("metrics", message.metrics.len(), MAX_METRICS)?;
    if let Some(twice) = first_twice(message.models.iter().map(|(name, _)| name.as_str())) {
        return Err(WireError::Malformed(format!("two models are named {twice:?}")));
    }
    limit("header bytes", header::largest_len(message), MAX_HEADER_BYTES)
}

/// The first name, in their order as texts, that is there twice.
fn first_twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.array_windows().find(|[a, b]| a == b).map(|[twice, _]| *twice)
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), WireError> {
    if found <= limit {
        return Ok(());
    }
    Err(WireError::TooMany { what, found: wide(found), limit: wide(limit) })
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
