//! Numbers with units, as people write them in a policy: `512 MiB`, `10m`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Bytes: a number, or a text with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A time: seconds as a number, or a text such as `90s`, `10m` or `2h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

const UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn span(text: &str) -> Option<Duration> {
    text.parse::<jiff::SignedDuration>().ok()?.try_into().ok()
}

/// A bound in bytes for people.
pub(crate) fn shown_bytes(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let whole = units.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    whole.map_or_else(|| format!("{bytes} B"), |(unit, size)| format!("{} {unit}", bytes / size))
}

/// A time for people.
pub(crate) fn shown_span(span: Duration) -> String {
    jiff::SignedDuration::try_from(span).map_or_else(|_| format!("{span:?}"), |span| format!("{span:#}"))
}

struct OrText<T> {
    expected: &'static str,
    number: fn(u64) -> T,
    text: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for OrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok((self.number)(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let whole = u64::try_from(number);
        whole.map(self.number).map_err(|_| E::custom(format!("{number} is negative; write {}", self.expected)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).ok_or_else(|| E::custom(format!("`{text}` is not understood; write {}", self.expected)))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrText {
            expected: "bytes, as a number or as a text such as \"512 MiB\" or \"10 MB\"",
            number: Bytes,
            text: |text| bytes(text).map(Bytes),
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrText {
            expected: "a time, as seconds or as a text such as \"90s\", \"10m\" or \"2h 30m\"",
            number: |seconds| Span(Duration::from_secs(seconds)),
            text: |text| span(text).map(Span),
        })
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes: a number, or a text with a unit (B, kB, MB, GB, KiB, MiB, GiB).",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^\\s*[0-9]+\\s*(B|kB|MB|GB|KiB|MiB|GiB)?\\s*$" },
            ],
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time: seconds, or a text such as 90s, 10m or 2h 30m.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("512 MiB"), Some(512 << 20));
        assert_eq!(bytes("10MB"), Some(10_000_000));
        assert_eq!(bytes(" 7 "), Some(7));
        for wrong in ["", "MiB", "1.5 GiB", "-1", "1 TB", "99999999999 GiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        assert_eq!((shown_bytes(512 << 20), shown_bytes(1500)), ("512 MiB".into(), "1500 B".into()));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(span("90s"), Some(Duration::from_secs(90)));
        assert_eq!(span("2h 30m"), Some(Duration::from_mins(150)));
        for wrong in ["", "soon", "-5s"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
        assert_eq!(shown_span(Duration::from_mins(150)), "2h 30m");
    }
}
