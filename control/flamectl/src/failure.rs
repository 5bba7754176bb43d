//! Why a command did not do what it was asked for, in words for people, and the exit status that goes with it.

use std::io;
use std::process::ExitCode;

use flame_api::{ClientError, Code};

/// How a process ends. `flamectl --help` documents the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The server refused, or the watched job did not complete.
    Refused = 1,
    /// The command line, the configuration or a local file is wrong.
    Usage = 2,
    /// Nobody answers, or nobody who speaks our protocol.
    Unreachable = 3,
    /// What was waited for did not come in time.
    TimeUp = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the user gave is wrong: the command line, the configuration, a local file.
    #[error("{message}")]
    Input {
        /// What is wrong, and where.
        message: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// The server, or the way to it.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The server answered, but has not got what was asked for, or the job ended badly.
    #[error("{message}")]
    Outcome {
        /// What came out.
        message: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// What was waited for did not come in time.
    #[error("{message}")]
    TimeUp {
        /// What is there instead.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What failed is in the output already, for programs; only the status is left to tell.
    #[error("{0}")]
    Told(Box<Failure>),
    /// The result could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// What the user gave is wrong.
    pub(crate) fn input(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { message: message.into(), hint: hint.into() }
    }

    /// What came out is not what was asked for.
    pub(crate) fn outcome(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Outcome { message: message.into(), hint: hint.into() }
    }

    /// What was waited for did not come in time.
    pub(crate) fn time_up(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::TimeUp { message: message.into(), hint: hint.into() }
    }

    /// The same failure, which the output has told already.
    pub(crate) fn told(failure: Self) -> Self {
        Self::Told(Box::new(failure))
    }

    /// The exit status that goes with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Told(failure) => failure.exit(),
            Self::TimeUp { .. } => Exit::TimeUp,
            Self::Input { .. } => Exit::Usage,
            Self::Server(ClientError::Unreachable { .. } | ClientError::Protocol { .. }) => Exit::Unreachable,
            Self::Server(ClientError::Refused(_)) | Self::Outcome { .. } | Self::Output(_) => Exit::Refused,
        }
    }

    /// What is wrong, without what to do about it.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Server(ClientError::Refused(problem)) => {
                let mut message = problem.message.clone();
                for further in &problem.problems {
                    message.push_str("\n  - ");
                    message.push_str(further);
                }
                message
            }
            other => other.to_string(),
        }
    }

    /// What to do about it; empty where there is nothing to say.
    pub(crate) fn hint(&self) -> &str {
        match self {
            Self::Input { hint, .. } | Self::Outcome { hint, .. } | Self::TimeUp { hint, .. } => hint,
            Self::Server(ClientError::Unreachable { .. }) => {
                "start it with `flame-control` or `fiab up`, or give its address with --apiserver URL"
            }
            Self::Server(ClientError::Protocol { .. }) => {
                "check the address (--apiserver URL), and that flamectl and the server are of one version"
            }
            Self::Server(ClientError::Refused(problem)) => &problem.hint,
            Self::Told(failure) => failure.hint(),
            Self::Output(_) => "",
        }
    }

    /// Whether the server did not accept the token.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Server(ClientError::Refused(problem)) if problem.code == Code::Unauthenticated)
    }

    /// Whether nothing is to be said: the output told it, or its reader went away.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Told(_))
            || matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
