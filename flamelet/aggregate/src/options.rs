//! Options of rules: given by name, checked by kind and range, defaults written once.

use crate::numerics::{self, Numerics};
use crate::{AggregateError, RuleInfo, privacy};

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

/// The options that every rule has besides its own: numerics and privacy.
pub fn common_options() -> impl Iterator<Item = &'static OptionInfo> {
    numerics::OPTIONS.iter().chain(&privacy::OPTIONS)
}

/// The options given to one rule, by known names.
#[derive(Debug)]
pub struct Options<'a> {
    info: &'static RuleInfo,
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
    /// From 0 to 1, both included.
    Closed,
    /// Above 0 and below 1.
    Open,
    /// Whole, from 1 to 2³².
    Count,
    /// Whole, from 0 to 2⁵³.
    Whole,
    /// Whole, from 0 to 256.
    Threads,
    /// Whole, from 0 to 2³².
    Index,
    /// Whole, from 1 to 1000.
    Steps,
    /// 0 or more, below ½.
    BelowHalf,
}

impl Range {
    fn holds(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Positive => value > 0.0,
                Self::NotNegative => value >= 0.0,
                Self::Fraction => (0.0..1.0).contains(&value),
                Self::Share => value > 0.0 && value <= 1.0,
                Self::Closed => (0.0..=1.0).contains(&value),
                Self::Open => value > 0.0 && value < 1.0,
                Self::Whole => (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0,
                Self::Index => (0.0..=4_294_967_296.0).contains(&value) && value.fract() == 0.0,
                Self::Steps => (1.0..=1000.0).contains(&value) && value.fract() == 0.0,
                Self::BelowHalf => (0.0..0.5).contains(&value),
                Self::Threads => (0.0..=256.0).contains(&value) && value.fract() == 0.0,
                Self::Count => (1.0..=4_294_967_296.0).contains(&value) && value.fract() == 0.0,
            }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Positive => "a number above 0",
            Self::NotNegative => "a number of at least 0",
            Self::Fraction => "a number of at least 0 and below 1",
            Self::Share => "a number above 0 and at most 1",
            Self::Closed => "a number from 0 to 1",
            Self::Open => "a number above 0 and below 1",
            Self::Count => "a whole number from 1 to 2³²",
            Self::Index => "a whole number from 0 to 2³²",
            Self::Steps => "a whole number from 1 to 1000",
            Self::BelowHalf => "a number of at least 0 and below 0.5",
            Self::Threads => "a whole number from 0 to 256",
            Self::Whole => "a whole number from 0 to 2⁵³",
        }
    }
}

impl<'a> Options<'a> {
    /// Refuses names that the rule does not have, and names given twice.
    pub(crate) fn new(rule: &'static RuleInfo, given: &'a [(String, OptionValue)]) -> Result<Self, AggregateError> {
        let mut options = Self { info: rule, given: Vec::new() };
        for (name, value) in given {
            let plain = name.replace('_', "-");
            if !rule.options.iter().chain(common_options()).any(|option| option.name == plain) {
                let name = name.chars().take(80).collect::<String>();
                let known = rule.options.iter().chain(common_options()).map(|option| option.name).collect();
                return Err(AggregateError::UnknownOption { rule: rule.name, option: name, known });
            }
            if options.get(&plain).is_some() {
                return Err(options.invalid(&plain, "is given twice"));
            }
            options.given.push((plain, value));
        }
        Ok(options)
    }

    /// The rule that they are for.
    pub(crate) const fn info(&self) -> &'static RuleInfo {
        self.info
    }

    /// What `accumulate`, `deterministic` and `threads` say.
    pub(crate) fn numerics(&self) -> Result<Numerics, AggregateError> {
        Numerics::read(self)
    }

    /// Whether it was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&'a OptionValue> {
        self.given.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }

    fn invalid(&self, name: &str, what: &str) -> AggregateError {
        AggregateError::InvalidArgument(format!("option {name:?} of rule {} {what}", self.info.name))
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
