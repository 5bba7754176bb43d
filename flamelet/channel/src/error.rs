//! Why a channel call did not succeed; each case is one of the guest's, so that the host maps them one to one.

/// What went wrong on a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The caller's deadline passed first. Safe to retry.
    #[error("the deadline passed first")]
    Timeout,
    /// The job is being stopped.
    #[error("the job is being stopped")]
    Stopped,
    /// The peer left and nothing of it is queued, or this channel was left.
    #[error("the end or the channel is gone")]
    Closed,
    /// No such end on this channel.
    #[error("not found: {0}")]
    NotFound(String),
    /// A newer attempt of this task has taken its place.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// Over a byte or count limit; the text names limit, need and knob.
    #[error("limit exceeded: {0}")]
    LimitExceeded(String),
    /// An argument lies outside its documented range.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// The transport is down for now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A fault of the host.
    #[error("internal error: {0}")]
    Internal(String),
}
