//! Why a worker could not go on: the host's cases, and the worker's own reason.

use std::fmt;

use crate::bindings::Failure;
use crate::bindings::flame::worker::types::Error as HostError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call did not succeed. Branch on the case; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The caller's deadline passed first. Safe to retry.
    Timeout,
    /// The job is being stopped: return from the role now.
    Stopped,
    /// The peer, channel or handle is gone; retrying cannot help.
    Closed,
    /// Not in the grant that this task runs under (the participant's policy ∩ the job's request).
    NotPermitted(String),
    /// No such end, key, data set, tensor or model.
    NotFound(String),
    /// Names, shapes or element types do not line up.
    ShapeMismatch(String),
    /// Over a byte, handle, time or rate limit of the grant; the text names limit, need and knob.
    LimitExceeded(String),
    /// An argument lies outside its documented range.
    InvalidArgument(String),
    /// NaN or infinity where only finite values are accepted.
    NotFinite(String),
    /// Fewer updates than the rule or the policy needs.
    NotEnough(String),
    /// The job's privacy budget is spent; only ending the job is left.
    BudgetSpent(String),
    /// The transport is down for now. Safe to retry after a pause.
    Unavailable(String),
    /// A fault of the host, logged there in full.
    Internal(String),
    /// The worker's own reason; it becomes the task's reason word for word.
    Worker(String),
}

impl Error {
    /// The worker's own reason for giving up.
    pub fn worker(reason: impl Into<String>) -> Self {
        Self::Worker(reason.into())
    }

    /// The same error with `place` before its text, so that the reader learns where it came from.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        let name = |text: String| format!("{place}: {text}");
        match self {
            // These carry no text; the caller's branch on them matters more than the place.
            Self::Timeout | Self::Stopped | Self::Closed => self,
            Self::NotPermitted(text) => Self::NotPermitted(name(text)),
            Self::NotFound(text) => Self::NotFound(name(text)),
            Self::ShapeMismatch(text) => Self::ShapeMismatch(name(text)),
            Self::LimitExceeded(text) => Self::LimitExceeded(name(text)),
            Self::InvalidArgument(text) => Self::InvalidArgument(name(text)),
            Self::NotFinite(text) => Self::NotFinite(name(text)),
            Self::NotEnough(text) => Self::NotEnough(name(text)),
            Self::BudgetSpent(text) => Self::BudgetSpent(name(text)),
            Self::Unavailable(text) => Self::Unavailable(name(text)),
            Self::Internal(text) => Self::Internal(name(text)),
            Self::Worker(text) => Self::Worker(name(text)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the deadline passed first"),
            Self::Stopped => f.write_str("the job is being stopped"),
            Self::Closed => f.write_str("the peer, channel or handle is gone"),
            Self::NotPermitted(text) => write!(f, "not permitted: {text}"),
            Self::NotFound(text) => write!(f, "not found: {text}"),
            Self::ShapeMismatch(text) => write!(f, "shapes do not match: {text}"),
            Self::LimitExceeded(text) => write!(f, "limit exceeded: {text}"),
            Self::InvalidArgument(text) => write!(f, "invalid argument: {text}"),
            Self::NotFinite(text) => write!(f, "not finite: {text}"),
            Self::NotEnough(text) => write!(f, "not enough updates: {text}"),
            Self::BudgetSpent(text) => write!(f, "the privacy budget is spent: {text}"),
            Self::Unavailable(text) => write!(f, "the transport is down: {text}"),
            Self::Internal(text) => write!(f, "fault of the host: {text}"),
            Self::Worker(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Timeout => Self::Timeout,
            HostError::Stopped => Self::Stopped,
            HostError::Closed => Self::Closed,
            HostError::NotPermitted(text) => Self::NotPermitted(text),
            HostError::NotFound(text) => Self::NotFound(text),
            HostError::ShapeMismatch(text) => Self::ShapeMismatch(text),
            HostError::LimitExceeded(text) => Self::LimitExceeded(text),
            HostError::InvalidArgument(text) => Self::InvalidArgument(text),
            HostError::NotFinite(text) => Self::NotFinite(text),
            HostError::NotEnough(text) => Self::NotEnough(text),
            HostError::BudgetSpent(text) => Self::BudgetSpent(text),
            HostError::Unavailable(text) => Self::Unavailable(text),
            HostError::Internal(text) => Self::Internal(text),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Host(match error {
            Error::Timeout => HostError::Timeout,
            Error::Stopped => HostError::Stopped,
            Error::Closed => HostError::Closed,
            Error::NotPermitted(text) => HostError::NotPermitted(text),
            Error::NotFound(text) => HostError::NotFound(text),
            Error::ShapeMismatch(text) => HostError::ShapeMismatch(text),
            Error::LimitExceeded(text) => HostError::LimitExceeded(text),
            Error::InvalidArgument(text) => HostError::InvalidArgument(text),
            Error::NotFinite(text) => HostError::NotFinite(text),
            Error::NotEnough(text) => HostError::NotEnough(text),
            Error::BudgetSpent(text) => HostError::BudgetSpent(text),
            Error::Unavailable(text) => HostError::Unavailable(text),
            Error::Internal(text) => HostError::Internal(text),
            Error::Worker(text) => return Self::Guest(text),
        })
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Worker(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_error_survives_the_way_through_the_guest() {
        let back = Failure::from(Error::from(HostError::LimitExceeded("64 MiB".into())));
        assert!(matches!(back, Failure::Host(HostError::LimitExceeded(text)) if text == "64 MiB"));
    }

    #[test]
    fn the_workers_own_reason_is_the_tasks_reason() {
        assert!(matches!(Failure::from(Error::worker("no labels")), Failure::Guest(text) if text == "no labels"));
    }

    #[test]
    fn a_place_is_put_before_the_text_and_keeps_the_case() {
        assert_eq!(Error::NotFound("w1".into()).at("round 3"), Error::NotFound("round 3: w1".into()));
        assert_eq!(Error::Stopped.at("round 3"), Error::Stopped);
    }
}
