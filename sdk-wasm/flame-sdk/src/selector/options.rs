//! Options of selectors: numbers by name, checked by kind and range.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Flame's own names of some options.
const OTHER_NAMES: [(&str, &str); 2] = [("c", "concurrency"), ("aggr-num", "k")];

/// The options of one selector, by known names.
#[derive(Debug)]
pub(super) struct Options {
    selector: &'static str,
    given: Vec<(String, f64)>,
}

impl Options {
    pub(super) fn new(selector: &'static str, known: &[&str], given: &Map<String, Value>) -> Result<Self> {
        let mut options = Self { selector, given: Vec::with_capacity(known.len()) };
        for (name, value) in given {
            let plain = name.replace('_', "-");
            let other = OTHER_NAMES.iter().find(|(other, _)| *other == plain);
            let plain = other.map_or(plain, |(_, ours)| (*ours).to_owned());
            if !known.contains(&plain.as_str()) {
                let known =
                    if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
                return Err(
                    options.wrong(&name.chars().take(40).collect::<String>(), &format!("is not known; {known}"))
                );
            }
            if options.number(&plain).is_some() {
                return Err(options.wrong(&plain, "is given twice"));
            }
            let number = value.as_f64().filter(|number| number.is_finite());
            let number = number.ok_or_else(|| options.wrong(&plain, "must be a number"))?;
            options.given.push((plain, number));
        }
        Ok(options)
    }

    fn wrong(&self, option: &str, what: &str) -> Error {
        Error::InvalidArgument(format!("option \"{option}\" of selector {} {what}", self.selector))
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.given.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    /// A number from `least` to `most`.
    pub(super) fn number_or(&self, name: &str, default: f64, least: f64, most: f64) -> Result<f64> {
        match self.number(name) {
            None => Ok(default),
            Some(number) if (least..=most).contains(&number) => Ok(number),
            Some(_) => Err(self.wrong(name, &format!("must be a number from {least} to {most}"))),
        }
    }

    /// A number of ends that must be given. Below 1 is 1, as in Flame.
    pub(super) fn count(&self, name: &str) -> Result<usize> {
        let number = self.number(name).ok_or_else(|| self.wrong(name, "is required: a whole number"))?;
        self.whole(name, number)
    }

    /// A number of ends.
    pub(super) fn count_or(&self, name: &str, default: usize) -> Result<usize> {
        self.number(name).map_or(Ok(default), |number| self.whole(name, number))
    }

    fn whole(&self, name: &str, number: f64) -> Result<usize> {
        if number.fract() != 0.0 {
            return Err(self.wrong(name, "must be a whole number"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within what a roster can have")]
        let count = number.clamp(1.0, 4_294_967_295.0) as usize;
        Ok(count)
    }
}
