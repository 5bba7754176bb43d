//! How the host's errors become the guest's.

use flame_aggregate::AggregateError;
use flame_channel::ChannelError;
use flame_model::ModelError;
use wasmtime::component::ResourceTableError;

use crate::bindings::flame::worker::types::Error;
use crate::limits::OverLimit;

/// What a host function fails with: an error that the guest sees, or a trap that ends it.
#[derive(Debug)]
pub(crate) enum HostError {
    /// Goes to the guest as a value.
    Guest(Error),
    /// Ends the guest.
    Trap(wasmtime::Error),
}

impl HostError {
    pub(crate) fn limit(text: impl Into<String>) -> Self {
        Self::Guest(Error::LimitExceeded(text.into()))
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Guest(Error::InvalidArgument(text.into()))
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::Guest(Error::NotFound(text.into()))
    }

    pub(crate) fn not_permitted(text: impl Into<String>) -> Self {
        Self::Guest(Error::NotPermitted(text.into()))
    }
}

impl From<HostError> for wasmtime::Error {
    /// Where a host function has no error to return.
    fn from(error: HostError) -> Self {
        match error {
            HostError::Guest(Error::LimitExceeded(text)) => Self::new(OverLimit(text)),
            HostError::Guest(error) => Self::new(OverLimit(format!("{error:?}"))),
            HostError::Trap(trap) => trap,
        }
    }
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        Self::Guest(error)
    }
}

impl From<wasmtime::Error> for HostError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<ResourceTableError> for HostError {
    fn from(error: ResourceTableError) -> Self {
        // A handle that wasmtime passed on and that is not there, or of another type: a fault, not a mistake.
        Self::Trap(error.into())
    }
}

impl From<ModelError> for HostError {
    fn from(error: ModelError) -> Self {
        let text = error.to_string();
        Self::Guest(match error {
            ModelError::NotFound(_) => Error::NotFound(text),
            ModelError::ShapeMismatch(_) => Error::ShapeMismatch(text),
            _ => Error::InvalidArgument(text),
        })
    }
}

impl From<ChannelError> for HostError {
    fn from(error: ChannelError) -> Self {
        Self::Guest(match error {
            ChannelError::Timeout => Error::Timeout,
            ChannelError::Stopped => Error::Stopped,
            ChannelError::Closed => Error::Closed,
            ChannelError::NotFound(text) => Error::NotFound(text),
            ChannelError::NotPermitted(text) => Error::NotPermitted(text),
            ChannelError::LimitExceeded(text) => Error::LimitExceeded(text),
            ChannelError::InvalidArgument(text) => Error::InvalidArgument(text),
            ChannelError::Unavailable(text) => Error::Unavailable(text),
            ChannelError::Internal(text) => Error::Internal(text),
        })
    }
}

impl From<AggregateError> for HostError {
    fn from(error: AggregateError) -> Self {
        let text = error.to_string();
        Self::Guest(match error {
            AggregateError::ShapeMismatch { .. } => Error::ShapeMismatch(text),
            AggregateError::NotFinite { .. } => Error::NotFinite(text),
            AggregateError::NotEnough { .. } => Error::NotEnough(text),
            AggregateError::BudgetSpent { .. } => Error::BudgetSpent(text),
            AggregateError::Memory(_) => Error::LimitExceeded(text),
            _ => Error::InvalidArgument(text),
        })
    }
}
