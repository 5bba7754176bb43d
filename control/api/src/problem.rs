//! What the REST edge says when something is wrong: a stable code, a message and the fix.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stable name for a kind of error, for programs. People read the message and the hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request does not parse, or has a field that nobody knows. HTTP 400.
    InvalidRequest,
    /// No token, or one that does not hold. HTTP 401.
    Unauthenticated,
    /// The token holds but does not allow this. HTTP 403.
    Forbidden,
    /// No such design, schema, code, data set, compute, job, task or model. HTTP 404.
    NotFound,
    /// It exists already. HTTP 409.
    AlreadyExists,
    /// Something else needs it. HTTP 409.
    InUse,
    /// The state of the job or task does not allow this. HTTP 409.
    WrongState,
    /// A newer attempt holds the task. HTTP 409.
    Fenced,
    /// It is not what `If-Match` says any more: somebody else changed it. HTTP 412.
    Changed,
    /// Too many bytes. HTTP 413.
    TooLarge,
    /// It parses, but a field is missing, or a schema, job or component has mistakes; `problems` lists them. HTTP 422.
    Refused,
    /// Too many requests, or too many wrong tokens or keys; `Retry-After` says when to come back. HTTP 429.
    TooManyRequests,
    /// The server failed; its log has the cause under the request's id. HTTP 500.
    Internal,
    /// The server is stopping, or something it needs is away. HTTP 503.
    Unavailable,
}

impl Code {
    /// The HTTP status of the code.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::InUse | Self::WrongState | Self::Fenced => 409,
            Self::Changed => 412,
            Self::TooLarge => 413,
            Self::Refused => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// The body of every REST error (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable name for programs.
    pub code: Code,
    /// One sentence or more for people: what is wrong, and where.
    pub message: String,
    /// What to do about it; empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Further mistakes of the same input, one paragraph each, where all could be found at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl Problem {
    /// A problem with a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new(), problems: Vec::new() }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same with a list of mistakes.
    #[must_use]
    pub fn problems(mut self, problems: Vec<String>) -> Self {
        self.problems = problems;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}
