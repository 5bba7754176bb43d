//! What is wrong with a user's file: every mistake with its place and its fix.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// Most mistakes that are told at once. Nobody mends more before looking again, and each costs the search for its fix.
pub const MAX_PROBLEMS: usize = 500;

/// Whether as many mistakes were found as are told: what looks for more may stop.
pub(crate) fn is_full(problems: &[Problem]) -> bool {
    problems.len() > MAX_PROBLEMS
}

/// One mistake in a schema, a job file or what they mean together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file as the caller named it; empty where the input came from no file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Line in the file, from 1, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the line, from 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Path of the field, such as `channels[0].pair[1]`; empty for the whole file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty where the message says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
                if let Some(column) = self.column {
                    write!(f, ":{column}")?;
                }
            }
            f.write_str(": ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// All mistakes that were found, in the order of the files. Never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// The mistakes one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// `Ok(value)` when nothing is wrong, otherwise all that is.
    pub(crate) fn check<T>(problems: Vec<Problem>, value: T) -> Result<T, Self> {
        if problems.is_empty() { Ok(value) } else { Err(Self::sorted(problems)) }
    }

    /// Each mistake once, file by file from top to bottom; of very many the first.
    pub(crate) fn sorted(mut problems: Vec<Problem>) -> Self {
        let mut seen = HashSet::new();
        problems.retain(|problem| seen.insert(problem.clone()));
        let mut files: BTreeMap<String, usize> = BTreeMap::new();
        for problem in &problems {
            let next = files.len();
            files.entry(problem.file.clone()).or_insert(next);
        }
        problems.sort_by_key(|problem| (files.get(&problem.file).copied(), problem.line, problem.column));
        if let Some(first_left_out) = problems.get(MAX_PROBLEMS) {
            let left_out = problems.len() - MAX_PROBLEMS;
            let closing = Problem {
                message: format!("and {left_out} more mistakes, which are told when these are mended"),
                field: String::new(),
                hint: String::new(),
                ..first_left_out.clone()
            };
            problems.truncate(MAX_PROBLEMS);
            problems.push(closing);
        }
        Self(problems)
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
