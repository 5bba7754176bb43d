//! A message made ready for the outbox. This is where encoding costs time, so it happens before the core is locked.

use flame_model::Message;
use flame_model::wire::{self, Encoded, Encoding, WireError};

use crate::error::ChannelError;

/// What [`super::Core::queue`] takes.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(super) encoded: Encoded,
    /// The message itself, on transports within one process.
    pub(super) beside: Option<Message>,
    pub(super) round: u64,
}

impl Outbound {
    /// Encodes `message`. On transports that hand it over in memory nothing is encoded, but the values are those that
    /// would arrive by any other: results do not differ by transport.
    pub(crate) fn new(message: &Message, encoding: Encoding, beside: bool) -> Result<Self, ChannelError> {
        wire::check(message).map_err(refused)?;
        if beside {
            let rounded = wire::round(message, encoding.tensors).map_err(refused)?;
            return Ok(Self { encoded: wire::encode(&rounded), beside: Some(rounded), round: message.round });
        }
        let encoded = wire::encode_as(message, encoding).map_err(refused)?;
        Ok(Self { encoded, beside: None, round: message.round })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn refused(error: WireError) -> ChannelError {
    match error {
        WireError::Failed(_) => ChannelError::Internal(error.to_string()),
        _ => ChannelError::InvalidArgument(error.to_string()),
    }
}
