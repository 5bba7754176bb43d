//! A JSON or YAML text as a tree that knows where each part stands. JSON is read as the subset of YAML that it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use crate::problem::Problem;

/// Largest file that is read: 100,000 tasks named one by one fit.
pub const MAX_FILE_BYTES: usize = 8 << 20;
/// Deepest nesting. Real files have fewer than ten levels; the reader recurses once a level.
const MAX_DEPTH: usize = 64;

/// A part of the text.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

/// Where something begins, both from 1; zero is "unknown".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Mark, Node)>),
}

impl Value {
    /// The kind as a person would say it, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a number",
            Self::Float(_) => "a number with a fraction or an exponent",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}

impl From<Location> for Mark {
    fn from(location: Location) -> Self {
        let narrow = |n: u64| u32::try_from(n).unwrap_or(0);
        Self { line: narrow(location.line()), column: narrow(location.column()) }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { mark: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON or YAML")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        // Beyond every field's range: whoever reads it as an integer refuses it by its range.
        Ok(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value()?;
            entries.push((key.value, key.referenced.into(), value));
        }
        Ok(Value::Map(entries))
    }
}

/// Reads a text into a tree, or says why it is neither JSON nor YAML.
pub(crate) fn parse(text: &str, file: &str) -> Result<Node, Problem> {
    let problem = |mark: Option<Mark>, message: String, hint: &str| Problem {
        file: file.to_owned(),
        line: mark.map(|m| m.line),
        column: mark.map(|m| m.column),
        field: String::new(),
        message,
        hint: hint.to_owned(),
    };
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, more than the {MAX_FILE_BYTES} that are read", text.len());
        return Err(problem(None, message, "is it the right file?"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(problem(None, "the file is empty".to_owned(), "write JSON or YAML into it"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: 500_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let mark = error.location().map(Mark::from).filter(|mark| mark.line > 0);
        let message = error.without_snippet().to_string();
        problem(mark, format!("not valid JSON or YAML: {}", plain_words(&message)), "correct the file there")
    })
}

/// The parser's message without the place, which the problem says by itself, and without the parser's own options.
fn plain_words(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or_default();
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
    if message.starts_with("budget breached: Documents") {
        return "the file has more than one document".to_owned();
    }
    if message.starts_with("budget breached") {
        return "it is nested too deeply or has too many parts".to_owned();
    }
    let message = message.replace(" rejected by the configured policy", " where JSON has none");
    message.trim_end_matches([':', ' ']).to_owned()
}

/// Where a field stood in the file that it was read from.
#[derive(Debug, Clone)]
struct Place {
    file: Arc<str>,
    field: String,
    mark: Mark,
}

/// Where each field of a value was read from. A value that was not read from text (the server's store) has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    by_path: BTreeMap<String, Place>,
}

/// Where something was read has no part in what it says.
impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Places {
    /// Notes `node` and all below it. `field` is its path in `file`, `path` its path in the value that is read from it.
    pub(crate) fn record(&mut self, node: &Node, mark: Mark, file: &Arc<str>, field: &str, path: &str) {
        self.by_path.insert(path.to_owned(), Place { file: Arc::clone(file), field: field.to_owned(), mark });
        match &node.value {
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.record(item, item.mark, file, &format!("{field}[{i}]"), &format!("{path}[{i}]"));
                }
            }
            Value::Map(entries) => {
                for (key, key_mark, value) in entries {
                    // What spans lines is pointed at by its key, a scalar by itself.
                    let mark = match value.value {
                        Value::List(_) | Value::Map(_) => *key_mark,
                        _ => value.mark,
                    };
                    self.record(value, mark, file, &join(field, key), &join(path, key));
                }
            }
            _ => {}
        }
    }

    /// A problem at `path`, or at the nearest part around it that was read from text.
    pub(crate) fn problem(&self, path: &str, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        let mut around = path;
        loop {
            if let Some(place) = self.by_path.get(around) {
                let field = if around.len() == path.len() { place.field.clone() } else { path.to_owned() };
                return Problem {
                    file: place.file.to_string(),
                    line: (place.mark.line > 0).then_some(place.mark.line),
                    column: (place.mark.line > 0).then_some(place.mark.column),
                    field,
                    message: message.into(),
                    hint: hint.into(),
                };
            }
            if around.is_empty() {
                break;
            }
            around = around.rfind(['.', '[']).and_then(|at| around.get(..at)).unwrap_or("");
        }
        Problem {
            file: String::new(),
            line: None,
            column: None,
            field: path.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The path of a field below another.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_knows_its_line_and_column_in_json_and_in_yaml() {
        let json = "{\n  \"a\": [\n    1,\n    \"two\"\n  ],\n\t\"b\": {\"c\": null}\n}\n";
        let yaml = "a:\n  - 1\n  - two\nb:\n  c: ~\n";
        for (text, item, b) in [(json, (4, 5), (6, 2)), (yaml, (3, 5), (4, 1))] {
            let node = parse(text, "f").unwrap();
            let mut places = Places::default();
            places.record(&node, node.mark, &Arc::from("f"), "", "");
            let problem = places.problem("a[1]", "m", "h");
            assert_eq!((problem.line, problem.column), (Some(item.0), Some(item.1)), "{text}");
            let problem = places.problem("b.x.y", "m", "h");
            assert_eq!((problem.line, problem.column), (Some(b.0), Some(b.1)), "{text}");
            assert_eq!(problem.field, "b.x.y");
        }
    }

    #[test]
    fn a_broken_text_is_refused_at_its_place() {
        let problem = parse("{\"a\": [1, 2}", "job.json").unwrap_err();
        assert_eq!(problem.line, Some(1));
        assert!(problem.message.starts_with("not valid JSON or YAML"), "{problem}");
        let problem = parse("a: 1\nb: 2\na: 3\n", "job.yaml").unwrap_err();
        assert_eq!(problem.line, Some(3), "{problem}");
        assert!(parse(" \n", "job.yaml").is_err());
    }

    #[test]
    fn deep_nesting_and_alias_bombs_are_refused() {
        assert!(parse(&"[".repeat(100_000), "f").is_err());
        assert!(parse(&format!("{}1{}", "[".repeat(100), "]".repeat(100)), "f").is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let reference = format!("*a{}, ", i - 1).repeat(10);
            bomb.extend(["a", &i.to_string(), ": &a", &i.to_string(), " [", reference.trim_end_matches(", "), "]\n"]);
        }
        assert!(parse(&bomb, "f").is_err());
    }
}
