//! The selectors that a job may name, `selector: {sort: random, kwargs: {k: 2}}`, and what their options are. The SDK's selectors
//! are these; a test of the SDK compares the lists.

use SelectorRange::{Between, Count, Share};
use serde_json::Value as Json;

use crate::job::Choice;
use crate::names::suggest;
use crate::reader::{At, Reader};

/// A selector: how an aggregator says who is asked in a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectorInfo {
    /// Its name.
    pub name: &'static str,
    /// What it does and where it comes from.
    pub doc: &'static str,
    /// Its options.
    pub options: &'static [SelectorOption],
}

/// An option of a selector: a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectorOption {
    /// Its name, with hyphens. Underscores are accepted for them.
    pub name: &'static str,
    /// Flame's own name for it, where that is another.
    pub also: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// Which numbers it takes.
    pub range: SelectorRange,
    /// What it means.
    pub doc: &'static str,
}

/// Which numbers an option takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SelectorRange {
    /// Whole numbers; below 1 is 1, as in Flame.
    Count,
    /// From, to.
    Between(f64, f64),
    /// Above 0, to 1.
    Share,
}

const fn option(name: &'static str, range: SelectorRange, doc: &'static str) -> SelectorOption {
    SelectorOption { name, also: None, required: false, range, doc }
}

const fn required(name: &'static str, also: Option<&'static str>, doc: &'static str) -> SelectorOption {
    SelectorOption { name, also, required: true, range: SelectorRange::Count, doc }
}

/// Every selector with its options.
pub const SELECTORS: [SelectorInfo; 6] = [
    SelectorInfo {
        name: "all",
        doc: "everybody who is here when a round begins (`default` is the same)",
        options: &[],
    },
    SelectorInfo {
        name: "random",
        doc: "a uniform sample, drawn anew in every round",
        options: &[
            option("k", Count, "ends to ask; this or fraction"),
            option("fraction", Share, "share of the ends that are here"),
            option("min", Count, "ends to ask at least (1)"),
        ],
    },
    SelectorInfo {
        name: "fedbuff",
        doc: "keeps so many ends at work, for asynchronous rules (Nguyen 2022)",
        options: &[required("concurrency", Some("c"), "ends at work at a time")],
    },
    SelectorInfo {
        name: "oort",
        doc: "useful and quick ends, with exploration (Lai 2021)",
        options: &[
            required("k", Some("aggr-num"), "answers that a round needs"),
            option("overcommit", Between(1.0, 10.0), "ends asked per needed answer (1.3)"),
            option("exploration", Between(0.0, 1.0), "share of ends that were never tried (0.9)"),
            option("exploration-decay", Between(0.0, 1.0), "what that is multiplied by after a round (0.98)"),
            option("exploration-min", Between(0.0, 1.0), "what it does not fall below (0.2)"),
            option("clip-percentile", Between(0.0, 100.0), "percentile at which utilities are clipped (95)"),
            option("speed-penalty", Between(0.0, 10.0), "exponent of the penalty for slow ends (2)"),
            option("pacer-step", Count, "rounds between two looks of the pacer (20)"),
            option("pacer-delta", Between(0.0, 100.0), "percentiles by which it moves the preferred duration (5)"),
        ],
    },
    SelectorInfo {
        name: "power-of-choice",
        doc: "the largest losses of a random sample (Cho 2020)",
        options: &[required("k", None, "ends to ask"), option("candidates", Count, "ends of the sample (2·k)")],
    },
    SelectorInfo { name: "round-robin", doc: "everybody in turn", options: &[required("k", None, "ends to ask")] },
];

/// Refuses selectors and options that there are not.
pub(crate) fn check(r: &mut Reader, at: &At<'_>, choice: &Choice) {
    // Flame's own word, and no word at all, for everybody.
    let sort = if matches!(choice.sort.as_str(), "" | "default") { "all" } else { choice.sort.as_str() };
    let Some(selector) = SELECTORS.iter().find(|selector| selector.name == sort) else {
        let names = SELECTORS.iter().map(|selector| selector.name).collect::<Vec<_>>().join(", ");
        let message = format!("unknown selector {sort:.64}; known: default, {names}");
        let hint = suggest(sort, SELECTORS.iter().map(|selector| selector.name));
        r.problem(at, message, hint);
        return;
    };
    let mut given: Vec<&str> = Vec::new();
    for (name, value) in &choice.kwargs {
        let plain = name.replace('_', "-");
        let option = selector.options.iter().find(|option| option.name == plain || option.also == Some(plain.as_str()));
        let Some(option) = option else {
            let known: Vec<&str> = selector.options.iter().map(|option| option.name).collect();
            let known = if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
            r.problem(at, format!("selector {sort} has no option {name:.64}"), known);
            continue;
        };
        if given.contains(&option.name) {
            r.problem(at, format!("option {} of selector {sort} is given twice", option.name), "keep one of them");
        }
        given.push(option.name);
        if !option.range.holds(value) {
            let shown: String = value.to_string().chars().take(64).collect();
            let message = format!("option {name:.64} of selector {sort} is {}, not {shown}", option.range.words());
            r.problem(at, message, option.doc);
        }
    }
    for option in selector.options.iter().filter(|option| option.required && !given.contains(&option.name)) {
        let message = format!("selector {sort} needs its option {}", option.name);
        r.problem(at, message, format!("{}: \"kwargs\": {{\"{}\": 10}}", option.doc, option.name));
    }
    if sort == "random" && given.contains(&"k") == given.contains(&"fraction") {
        r.problem(at, "selector random needs one of its options k and fraction", "\"kwargs\": {\"k\": 10}");
    }
}

impl SelectorRange {
    fn holds(self, value: &Json) -> bool {
        let Some(number) = value.as_f64() else { return false };
        match self {
            Self::Count => number.fract() == 0.0,
            Self::Between(least, most) => (least..=most).contains(&number),
            Self::Share => number > 0.0 && number <= 1.0,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Count => "a whole number".to_owned(),
            Self::Between(least, most) => format!("a number from {least} to {most}"),
            Self::Share => "a number above 0 and at most 1".to_owned(),
        }
    }
}
