//! What travels on a channel.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Model, ModelError};

/// A worker's identity on its channels: the 40 lower-case hex digits of its agent id. Cloning is free.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndId(Arc<str>);

impl EndId {
    /// Hex digits of an id.
    pub const LEN: usize = 40;

    /// Checks and takes an id.
    pub fn new(text: &str) -> Result<Self, ModelError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == Self::LEN && text.bytes().all(hex) {
            Ok(Self(text.into()))
        } else {
            // Not the whole of it: the text may be anything, and of any length.
            Err(ModelError::BadEndId(text.chars().take(Self::LEN + 1).collect()))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EndId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndId({})", self.0)
    }
}

impl FromStr for EndId {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::new(text)
    }
}

impl TryFrom<String> for EndId {
    type Error = ModelError;

    fn try_from(text: String) -> Result<Self, ModelError> {
        Self::new(&text)
    }
}

impl From<EndId> for String {
    fn from(id: EndId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl AsRef<str> for EndId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// One scalar measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What was measured: `loss`, `accuracy`, `steps` …
    pub name: String,
    /// Its value; may be NaN.
    pub value: f64,
}

impl Metric {
    /// A measurement.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value }
    }
}

/// What the numbers of a model in a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Not derived from a participant's data.
    #[default]
    State,
    /// A whole model after training.
    Full,
    /// The difference from the base that it was computed from.
    Delta,
    /// A sum over several workers.
    PartialSum,
}

impl Form {
    /// The name in WIT, policies and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Full => "full",
            Self::Delta => "delta",
            Self::PartialSum => "partial-sum",
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::State => 0,
            Self::Full => 1,
            Self::Delta => 2,
            Self::PartialSum => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::State, Self::Full, Self::Delta, Self::PartialSum].into_iter().find(|form| form.code() == code)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The received message whose model an update was computed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BaseRef {
    /// Who sent the base.
    pub sender: EndId,
    /// The sender's number of that message.
    pub message: u64,
    /// The round that it began.
    pub round: u64,
}

/// A channel message's content: as a guest made it, plus what its host stamps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// What it is about, as sender and receiver agreed: `model`, `update`, `stop` …
    pub kind: String,
    /// The sender's round.
    pub round: u64,
    /// What the models' numbers are.
    pub form: Form,
    /// What an update was computed from; stamped by the host.
    pub base: Option<BaseRef>,
    /// Models by name, in order; names differ.
    pub models: Vec<(String, Model)>,
    /// Aggregation weight of the update.
    pub samples: u64,
    /// Scalars.
    pub metrics: Vec<Metric>,
    /// Whatever else.
    pub body: Bytes,
}

impl Message {
    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|(other, _)| other == name).map(|(_, model)| model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_ids_are_forty_lower_hex_digits() {
        let digits = "0123456789abcdef0123456789abcdef01234567";
        let id: EndId = digits.parse().unwrap();
        assert_eq!(id.to_string(), digits);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("{digits:?}"));
        assert_eq!(serde_json::from_str::<EndId>(&json).unwrap(), id);
        for bad in ["", "0123", &digits.to_uppercase(), &format!("{digits}0"), &"é".repeat(20)] {
            assert!(EndId::new(bad).is_err(), "{bad:?}");
            assert!(serde_json::from_value::<EndId>(bad.into()).is_err(), "{bad:?}");
        }
    }
}
