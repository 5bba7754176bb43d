//! Options of rules: given by name, checked by kind and range, defaults written once.

use crate::{AggregateError, RuleInfo};

/// An option's value as a guest, a job or a command line gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// A number.
    Number(f64),
    /// A word.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

/// An option as the catalogue lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name, with hyphens. Underscores are accepted for them.
    pub name: &'static str,
    /// The default in words; `None` where it must be given.
    pub default: Option<&'static str>,
    /// What it means and its range.
    pub doc: &'static str,
}

/// The options given to one rule, by known names.
#[derive(Debug)]
pub struct Options<'a> {
    rule: &'static str,
    given: Vec<(String, &'a OptionValue)>,
}

/// The numbers that an option may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Range {
    /// Above 0.
    Positive,
    /// 0 or more.
    NotNegative,
    /// 0 or more, below 1.
    Fraction,
    /// Above 0, at most 1.
    Share,
    /// Whole, from 1 to 2³².
    Count,
}

impl Range {
    fn holds(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Positive => value > 0.0,
                Self::NotNegative => value >= 0.0,
                Self::Fraction => (0.0..1.0).contains(&value),
                Self::Share => value > 0.0 && value <= 1.0,
                Self::Count => (1.0..=4_294_967_296.0).contains(&value) && value.fract() == 0.0,
            }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Positive => "a number above 0",
            Self::NotNegative => "a number of at least 0",
            Self::Fraction => "a number of at least 0 and below 1",
            Self::Share => "a number above 0 and at most 1",
            Self::Count => "a whole number of at least 1",
        }
    }
}

impl<'a> Options<'a> {
    /// Refuses names that the rule does not have, and names given twice.
    pub(crate) fn new(rule: &'static RuleInfo, given: &'a [(String, OptionValue)]) -> Result<Self, AggregateError> {
        let mut options = Self { rule: rule.name, given: Vec::with_capacity(given.len().min(rule.options.len())) };
        for (name, value) in given {
            let plain = name.replace('_', "-");
            if !rule.options.iter().any(|option| option.name == plain) {
                let known = rule.options.iter().map(|option| option.name).collect();
                return Err(AggregateError::UnknownOption { rule: rule.name, option: name.clone(), known });
            }
            if options.get(&plain).is_some() {
                return Err(options.invalid(&plain, "is given twice"));
            }
            options.given.push((plain, value));
        }
        Ok(options)
    }

    fn get(&self, name: &str) -> Option<&'a OptionValue> {
        self.given.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }

    fn invalid(&self, name: &str, what: &str) -> AggregateError {
        AggregateError::InvalidArgument(format!("option {name:?} of rule {} {what}", self.rule))
    }

    /// A number within a range, if given.
    pub(crate) fn number(&self, name: &str, range: Range) -> Result<Option<f64>, AggregateError> {
        match self.get(name) {
            None => Ok(None),
            Some(OptionValue::Number(value)) if range.holds(*value) => Ok(Some(*value)),
            Some(other) => Err(self.invalid(name, &format!("must be {}, not {other:?}", range.words()))),
        }
    }

    /// A number within a range that must be given.
    pub(crate) fn required(&self, name: &str, range: Range) -> Result<f64, AggregateError> {
        self.number(name, range)?.ok_or_else(|| self.invalid(name, &format!("is required: {}", range.words())))
    }

    /// Yes or no, if given.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, AggregateError> {
        match self.get(name) {
            None => Ok(None),
            Some(OptionValue::Flag(value)) => Ok(Some(*value)),
            Some(other) => Err(self.invalid(name, &format!("must be true or false, not {other:?}"))),
        }
    }

    /// One of some words, if given.
    pub(crate) fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, AggregateError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let known = words.iter().find(|word| matches!(value, OptionValue::Text(text) if text == **word));
        known
            .map(|word| Some(*word))
            .ok_or_else(|| self.invalid(name, &format!("must be one of {}, not {value:?}", words.join(", "))))
    }
}
