//! Reads typed fields out of a [`Node`] tree and collects every mistake instead of stopping at the first.

use std::sync::Arc;

use crate::document::{Mark, Node, Value, join};
use crate::names::{nearest, suggest};
use crate::problem::{Problem, is_full};

/// A node with its path in the file.
#[derive(Clone)]
pub(crate) struct At<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
    pub(crate) mark: Mark,
}

/// The fields of an object, known to be known.
pub(crate) struct Object<'n> {
    pub(crate) path: String,
    mark: Mark,
    entries: &'n [(String, Mark, Node)],
}

impl<'n> Object<'n> {
    /// A field; one that is null counts as absent.
    pub(crate) fn get(&self, field: &str) -> Option<At<'n>> {
        let (key, key_mark, node) = self.entries.iter().find(|(key, ..)| key == field)?;
        (!matches!(node.value, Value::Null)).then(|| entry(&self.path, key, *key_mark, node))
    }
}

fn entry<'n>(path: &str, key: &str, key_mark: Mark, node: &'n Node) -> At<'n> {
    let mark = match node.value {
        Value::List(_) | Value::Map(_) => key_mark,
        _ => node.mark,
    };
    At { node, path: join(path, key), mark }
}

/// Collects the mistakes of one file.
pub(crate) struct Reader {
    file: Arc<str>,
    pub(crate) problems: Vec<Problem>,
    /// Something that others refer to could not be read, so that checks of references would only echo it.
    pub(crate) broken: bool,
}

impl Reader {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: Arc::from(file), problems: Vec::new(), broken: false }
    }

    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    fn add(&mut self, path: &str, mark: Mark, message: String, hint: String) {
        self.problems.push(Problem {
            file: self.file.to_string(),
            line: (mark.line > 0).then_some(mark.line),
            column: (mark.line > 0).then_some(mark.column),
            field: path.to_owned(),
            message,
            hint,
        });
    }

    /// Notes a mistake at a node.
    pub(crate) fn problem(&mut self, at: &At<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.add(&at.path, at.mark, message.into(), hint.into());
    }

    fn wrong_kind(&mut self, at: &At<'_>, wanted: &str, hint: &str) {
        let kind = at.node.value.kind();
        self.problem(at, format!("expected {wanted}, found {kind}"), hint);
    }

    /// An object with known fields; others are refused with the nearest known name.
    pub(crate) fn object<'n>(&mut self, at: &At<'n>, known: &[&str]) -> Option<Object<'n>> {
        let Value::Map(entries) = &at.node.value else {
            self.wrong_kind(at, "an object", &format!("its fields are {}", known.join(", ")));
            return None;
        };
        for (key, mark, _) in entries {
            if !known.contains(&key.as_str()) && !is_full(&self.problems) {
                let hint = match nearest(key, known.iter().copied()) {
                    Some(name) => format!("did you mean {name}?"),
                    None => format!("known fields are {}", known.join(", ")),
                };
                let key: String = key.chars().take(64).collect();
                let key = if key.is_empty() { "\"\"".to_owned() } else { key };
                self.add(&join(&at.path, &key), *mark, format!("unknown field {key}"), hint);
            }
        }
        Some(Object { path: at.path.clone(), mark: at.mark, entries })
    }

    /// A field that must be there. Its absence is a mistake with `fix` as the hint.
    pub(crate) fn required<'n>(&mut self, object: &Object<'n>, field: &str, fix: &str) -> Option<At<'n>> {
        let found = object.get(field);
        if found.is_none() {
            let path = join(&object.path, field);
            self.add(&path, object.mark, format!("required field {field} is missing"), fix.to_owned());
        }
        found
    }

    /// A text.
    pub(crate) fn text(&mut self, at: &At<'_>) -> Option<String> {
        match &at.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                self.wrong_kind(at, "a text", "put it in quotes");
                None
            }
            _ => {
                self.wrong_kind(at, "a text", "write one in quotes");
                None
            }
        }
    }

    /// An optional text; empty when absent.
    pub(crate) fn text_or_empty(&mut self, object: &Object<'_>, field: &str) -> String {
        object.get(field).and_then(|at| self.text(&at)).unwrap_or_default()
    }

    /// An integer in the range of `T` and not below `least`.
    pub(crate) fn integer<T: TryFrom<i128>>(&mut self, at: &At<'_>, least: i128) -> Option<T> {
        let Value::Integer(number) = at.node.value else {
            self.wrong_kind(at, "a whole number", "write it without quotes and without a decimal point");
            return None;
        };
        let value = if number < least { None } else { T::try_from(number).ok() };
        if value.is_none() {
            let message =
                if number < least { format!("{number} is below {least}") } else { format!("{number} is too large") };
            self.problem(at, message, format!("give a whole number from {least} up"));
        }
        value
    }

    /// A revision: a whole number from 1, as a number or, as Flame's own files have it, as a text.
    pub(crate) fn version(&mut self, at: &At<'_>) -> Option<u32> {
        let number = match &at.node.value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|n| *n >= 1);
        if number.is_none() {
            self.problem(at, "not a revision", "revisions count up from 1; leave the field out for the newest");
        }
        number
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, at: &At<'_>) -> Option<bool> {
        if let Value::Bool(value) = at.node.value {
            return Some(value);
        }
        self.wrong_kind(at, "true or false", "write true or false without quotes");
        None
    }

    /// The items of a list.
    pub(crate) fn list<'n>(&mut self, at: &At<'n>, hint: &str) -> Option<Vec<At<'n>>> {
        let Value::List(items) = &at.node.value else {
            self.wrong_kind(at, "a list", hint);
            return None;
        };
        let item = |(i, node): (usize, &'n Node)| At { node, path: format!("{}[{i}]", at.path), mark: node.mark };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A list of texts. What is no text is refused and left out.
    pub(crate) fn texts(&mut self, at: &At<'_>, hint: &str) -> Option<Vec<String>> {
        let items = self.list(at, hint)?;
        Some(items.iter().filter_map(|item| self.text(item)).collect())
    }

    /// The entries of an object whose keys the user chooses.
    pub(crate) fn map<'n>(&mut self, at: &At<'n>, hint: &str) -> Option<Vec<(String, At<'n>)>> {
        let Value::Map(entries) = &at.node.value else {
            self.wrong_kind(at, "an object", hint);
            return None;
        };
        Some(entries.iter().map(|(key, mark, node)| (key.clone(), entry(&at.path, key, *mark, node))).collect())
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, at: &At<'_>, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(at)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let shown: String = text.chars().take(64).collect();
            let hint = suggest(&text, words.iter().map(|(word, _)| *word));
            self.problem(at, format!("unknown {what} {shown}"), hint);
        }
        found
    }

    /// Any JSON value.
    pub(crate) fn json(&mut self, at: &At<'_>) -> Option<serde_json::Value> {
        use serde_json::{Number, Value as Json};
        Some(match &at.node.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Text(text) => Json::String(text.clone()),
            Value::Integer(number) => {
                let Some(number) = Number::from_i128(*number) else {
                    self.problem(at, "the number is too large", "whole numbers have 64 bits");
                    return None;
                };
                Json::Number(number)
            }
            Value::Float(number) => {
                let Some(number) = Number::from_f64(*number) else {
                    self.problem(at, "the number is not finite", "JSON has no infinity and no NaN");
                    return None;
                };
                Json::Number(number)
            }
            Value::List(_) => {
                let items = self.list(at, "")?;
                Json::Array(items.iter().filter_map(|item| self.json(item)).collect())
            }
            Value::Map(_) => Json::Object(self.json_object(at)?),
        })
    }

    /// Any JSON object.
    pub(crate) fn json_object(&mut self, at: &At<'_>) -> Option<serde_json::Map<String, serde_json::Value>> {
        let entries = self.map(at, "write an object")?;
        Some(entries.into_iter().filter_map(|(key, at)| Some((key, self.json(&at)?))).collect())
    }
}
