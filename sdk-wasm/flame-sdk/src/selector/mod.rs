//! Selectors: who is asked in a round. Pure: what they know of the ends is what they are told.
//!
//! The federated round loop asks one of them before every round; which one says the job (`selector: {sort, kwargs}`) or the code
//! ([`crate::Aggregator::selector`]). Randomness comes from the worker's seed, so that two runs of one seed that hear the same
//! answers select the same ends.

mod all;
mod fedbuff;
mod oort;
mod options;
mod power_of_choice;
mod random;
mod round_robin;

pub use all::All;
pub use fedbuff::FedBuff;
pub use oort::Oort;
pub use power_of_choice::PowerOfChoice;
pub use random::Random;
pub use round_robin::RoundRobin;

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::channel::EndId;
use crate::error::{Error, Result};
use options::Options;

/// What an end's answer tells a selector.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// Samples behind the update.
    pub samples: u64,
    /// The training loss that the end reports (metric `loss`).
    pub loss: Option<f64>,
    /// The statistical utility that the end reports (metric `utility`): samples · √(mean of the squared losses).
    pub utility: Option<f64>,
    /// From the question to the answer.
    pub duration: Duration,
}

/// Says who is asked in a round.
pub trait Selector: fmt::Debug {
    /// The ends to ask in `round`, of `candidates`, which come in roster order: those that are here, and those that are awaited
    /// because they were in the last round. Asked again in the same round, a selector of rounds gives the same ends, whoever came or
    /// left meanwhile.
    fn select(&mut self, round: u64, candidates: &[EndId]) -> Vec<EndId>;

    /// Answers after which the round goes on, where `asked` ends were asked; all, unless a selector asks more than it needs.
    fn enough(&self, asked: usize) -> usize {
        asked
    }

    /// `end` answered in `round`.
    fn answered(&mut self, round: u64, end: &str, answer: &Answer) {
        let _ = (round, end, answer);
    }

    /// `end` left and is not awaited.
    fn left(&mut self, end: &str) {
        let _ = end;
    }

    /// Whether updates are taken as they come, however old their base: the loop then asks whom this selects after every answer, and
    /// a round ends when the aggregation rule has enough.
    fn is_asynchronous(&self) -> bool {
        false
    }
}

/// The selectors by name, each with its options. The job's checks know the same ones.
pub const SELECTORS: [(&str, &[&str]); 6] = [
    ("all", &[]),
    ("random", &["k", "fraction", "min"]),
    ("fedbuff", &["concurrency"]),
    (
        "oort",
        &[
            "k",
            "overcommit",
            "exploration",
            "exploration-decay",
            "exploration-min",
            "clip-percentile",
            "speed-penalty",
            "pacer-step",
            "pacer-delta",
        ],
    ),
    ("power-of-choice", &["k", "candidates"]),
    ("round-robin", &["k"]),
];

/// A selector by its name and options. `default` and an empty name are `all`; Flame's own names of options (`c`, `aggr_num`) are
/// taken, and underscores for hyphens. What is not known is refused with the list of what is.
pub fn selector(sort: &str, options: &Map<String, Value>, seed: u64) -> Result<Box<dyn Selector>> {
    let sort = if matches!(sort, "" | "default") { "all" } else { sort };
    let Some((name, known)) = SELECTORS.iter().find(|(name, _)| *name == sort) else {
        let known: Vec<_> = SELECTORS.iter().map(|(name, _)| *name).collect();
        let sort: String = sort.chars().take(80).collect();
        return Err(Error::InvalidArgument(format!("unknown selector \"{sort}\"; known: {}", known.join(", "))));
    };
    let options = Options::new(name, known, options)?;
    Ok(match *name {
        "random" => Box::new(Random::of_options(&options, seed)?),
        "fedbuff" => Box::new(FedBuff::new(options.count("concurrency")?, seed)),
        "oort" => Box::new(Oort::of_options(&options, seed)?),
        "power-of-choice" => {
            let k = options.count("k")?;
            Box::new(PowerOfChoice::new(k, options.count_or("candidates", k.saturating_mul(2))?.max(k), seed))
        }
        "round-robin" => Box::new(RoundRobin::new(options.count("k")?)),
        _ => Box::new(All::default()),
    })
}

/// What was selected for a round, which does not change in it.
#[derive(Clone, Debug, Default)]
struct Held {
    round: Option<u64>,
    ends: Vec<EndId>,
}

impl Held {
    /// The round's ends, chosen when it is asked for first.
    fn in_round(&mut self, round: u64, choose: impl FnOnce() -> Vec<EndId>) -> Vec<EndId> {
        if self.round.is_none_or(|held| held < round) {
            self.round = Some(round);
            self.ends = choose();
        }
        self.ends.clone()
    }
}

/// The `chosen` positions of `candidates`, in roster order.
fn in_roster_order(candidates: &[EndId], mut chosen: Vec<usize>) -> Vec<EndId> {
    chosen.sort_unstable();
    chosen.into_iter().filter_map(|at| candidates.get(at).cloned()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Ends `e0`, `e1` …
    pub(crate) fn ends(count: usize) -> Vec<EndId> {
        (0..count).map(|at| format!("e{at}")).collect()
    }

    fn of(sort: &str, options: &Value) -> Result<Box<dyn Selector>> {
        selector(sort, options.as_object().unwrap(), 1)
    }

    #[test]
    fn selectors_are_made_by_name_and_what_is_unknown_is_refused_with_what_is_known() {
        for (sort, options) in [
            ("default", serde_json::json!({})),
            ("", serde_json::json!({})),
            ("random", serde_json::json!({"k": 2})),
            ("random", serde_json::json!({"fraction": 0.5, "min": 1})),
            ("fedbuff", serde_json::json!({"c": 3})),
            ("oort", serde_json::json!({"aggr_num": 10, "exploration_min": 0.1})),
            ("power-of-choice", serde_json::json!({"k": 2, "candidates": 5})),
            ("round-robin", serde_json::json!({"k": 2})),
        ] {
            assert!(of(sort, &options).is_ok(), "{sort}");
        }
        let unknown = of("clairvoyant", &serde_json::json!({})).unwrap_err().to_string();
        assert!(unknown.contains("known: all, random, fedbuff, oort, power-of-choice, round-robin"), "{unknown}");
        let option = of("random", &serde_json::json!({"k": 2, "q": 1})).unwrap_err().to_string();
        assert!(option.contains("\"q\"") && option.contains("k, fraction, min"), "{option}");
        let nothing = of("default", &serde_json::json!({"k": 2})).unwrap_err().to_string();
        assert!(nothing.contains("it has none"), "{nothing}");
    }

    #[test]
    fn the_jobs_checks_know_the_same_selectors_and_options() {
        let ours = SELECTORS.map(|(name, options)| (name, options.to_vec()));
        let theirs: Vec<_> = flame_tag::SELECTORS
            .iter()
            .map(|selector| (selector.name, selector.options.iter().map(|option| option.name).collect::<Vec<_>>()))
            .collect();
        assert_eq!(ours.to_vec(), theirs);
    }
}
