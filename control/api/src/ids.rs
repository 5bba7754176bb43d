//! Identifiers, checked once where they enter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct IdError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok(Self(text))
                } else {
                    // Foreign text is cut before it gets into a message.
                    let text = text.chars().take(80).collect();
                    Err(IdError { what: $what, text, rule: $rule })
                }
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String);
                text.pattern(Some($pattern)).description(Some($rule)).into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

id!(
    /// A design's name, chosen by its user: 1-64 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
    DesignId,
    "design id",
    "use 1 to 64 letters, digits, dots, underscores and hyphens, beginning with a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    is_name
);
id!(
    /// A compute's name, chosen by its operator: as a design's.
    ComputeId,
    "compute id",
    "use 1 to 64 letters, digits, dots, underscores and hyphens, beginning with a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    is_name
);
id!(
    /// A data set: 24 lower-case hex digits, chosen by the server.
    DatasetId,
    "dataset id",
    "a dataset id has 24 lower-case hex digits",
    "^[0-9a-f]{24}$",
    |text| is_hex(text, 24)
);
id!(
    /// A job: 24 lower-case hex digits, chosen by the server.
    JobId,
    "job id",
    "a job id has 24 lower-case hex digits",
    "^[0-9a-f]{24}$",
    |text| is_hex(text, 24)
);
id!(
    /// A task, and the agent that serves it, and its end on channels: 40 lower-case hex digits.
    AgentId,
    "agent id",
    "an agent id has 40 lower-case hex digits",
    "^[0-9a-f]{40}$",
    |text| is_hex(text, 40)
);
id!(
    /// A user: who owns designs, data sets and jobs. 1 to 64 letters, digits, dots, underscores and hyphens, beginning with
    /// a letter or digit.
    UserName,
    "user name",
    "use 1 to 64 letters, digits, dots, underscores and hyphens, beginning with a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    is_name
);
id!(
    /// A bearer token's name for people and lists: 12 lower-case hex digits. It opens nothing.
    TokenId,
    "token id",
    "a token id has 12 lower-case hex digits",
    "^[0-9a-f]{12}$",
    |text| is_hex(text, 12)
);

/// The owner of what was made before there were users, and of what the server's own token makes.
impl Default for UserName {
    fn default() -> Self {
        Self("admin".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_where_they_enter() {
        assert!("mnist_non_orchestration".parse::<DesignId>().is_ok());
        for bad in ["", "-x", "a/b", "a b", "..", "ü", &"x".repeat(65)] {
            assert!(bad.parse::<DesignId>().is_err(), "{bad}");
        }
        assert!("624888fda8001d773e34de43".parse::<JobId>().is_ok());
        assert!("624888FDA8001d773e34de43".parse::<JobId>().is_err());
        assert!(serde_json::from_str::<AgentId>("\"12\"").is_err());
    }
}
