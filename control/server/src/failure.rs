//! Errors have two faces: the caller gets a problem with a number, the log gets the cause under that number.

use std::fmt::Display;

use flame_api::{Code, Problem};

use crate::store::StoreError;

/// A problem for the caller of something that failed here; the cause goes to the log.
pub(crate) fn internal(cause: &dyn Display) -> Problem {
    let number = getrandom::u32().unwrap_or_default();
    let number = format!("{number:08x}");
    tracing::error!(failure = number, "{cause}");
    Problem::new(Code::Internal, format!("the server failed (failure {number})"))
        .hint(format!("the server's log has the cause under {number}"))
}

/// The same for the store's errors.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
pub(crate) fn store(error: StoreError) -> Problem {
    internal(&error)
}

/// Nobody has that.
pub(crate) fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem::new(Code::NotFound, message).hint(hint)
}
