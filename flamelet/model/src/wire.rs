//! A message as bytes: a small typed header, then the body and every tensor raw, each on a multiple of 8.
//!
//! ```text
//! 0   magic "FLMSG" 0 0, version 1                      8 bytes
//! 8   header length h, little-endian u64                8 bytes
//! 16  header, zero bytes up to a multiple of 8          h bytes, padded
//!     body, zero bytes up to a multiple of 8
//!     tensors in the header's order, each padded likewise
//! ```
//!
//! The header: kind, round, form, base, samples, metrics, models (each tensor's name, dtype and shape), length of the body.
//! Texts and lists carry their `u32` length. One message has one encoding: padding is zero and nothing follows the last
//! tensor. Lengths, counts, dtypes, shapes and texts of the other side are never trusted, and nothing is allocated that the
//! buffer does not hold.

mod decode;
mod encode;

pub use decode::decode;
pub use encode::{Encoded, Segment, encode};

use crate::Message;

/// First eight bytes: format and version.
pub(crate) const MAGIC: [u8; 8] = *b"FLMSG\0\0\x01";
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
    /// Not our format, or a version that this host does not know.
    #[error("not a Flame message of version 1: it begins with {0:02x?}")]
    BadMagic(Vec<u8>),
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
}

/// Whether the receiver's [`decode`] will take a message: counts, size of the header, distinct model names.
pub fn check(message: &Message) -> Result<(), WireError> {
    let tensors = message.models.iter().map(|(_, model)| model.len()).sum();
    limit("models", message.models.len(), MAX_MODELS)?;
    limit("tensors", tensors, MAX_TENSORS)?;
    limit("metrics", message.metrics.len(), MAX_METRICS)?;
    let mut names: Vec<&str> = message.models.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
        return Err(WireError::Malformed(format!("two models are named {twice:?}")));
    }
    limit("header bytes", encode::header(message).len(), MAX_HEADER_BYTES)
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), WireError> {
    if found <= limit {
        return Ok(());
    }
    let wide = |n| u64::try_from(n).unwrap_or(u64::MAX);
    Err(WireError::TooMany { what, found: wide(found), limit: wide(limit) })
}
