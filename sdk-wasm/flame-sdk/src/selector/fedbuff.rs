//! As many ends at work as may be, for buffered asynchronous aggregation: Nguyen et al. 2022.

use std::collections::BTreeSet;

use super::random::sample;
use super::{Answer, Selector, in_roster_order};
use crate::channel::EndId;
use crate::rng::Rng;

/// Keeps up to `concurrency` ends at work: each call selects, at random, as many idle ends as there are free slots. A slot is free
/// again when its end answered or left.
#[derive(Clone, Debug)]
pub struct FedBuff {
    concurrency: usize,
    seed: u64,
    draws: u64,
    at_work: BTreeSet<EndId>,
}

impl FedBuff {
    /// At most `concurrency` ends at work, at least 1.
    pub fn new(concurrency: usize, seed: u64) -> Self {
        Self { concurrency: concurrency.max(1), seed, draws: 0, at_work: BTreeSet::new() }
    }

    /// Ends that were selected and have neither answered nor left.
    pub fn at_work(&self) -> impl Iterator<Item = &str> {
        self.at_work.iter().map(String::as_str)
    }
}

impl Selector for FedBuff {
    fn select(&mut self, _: u64, candidates: &[EndId]) -> Vec<EndId> {
        let idle: Vec<EndId> = candidates.iter().filter(|end| !self.at_work.contains(*end)).cloned().collect();
        let free = self.concurrency.saturating_sub(self.at_work.len()).min(idle.len());
        if free == 0 {
            return Vec::new();
        }
        self.draws += 1;
        let mut rng = Rng::for_stream(self.seed, self.draws);
        let chosen = in_roster_order(&idle, sample(&mut rng, idle.len(), free));
        self.at_work.extend(chosen.iter().cloned());
        chosen
    }

    fn answered(&mut self, _: u64, end: &str, _: &Answer) {
        self.at_work.remove(end);
    }

    fn left(&mut self, end: &str) {
        self.at_work.remove(end);
    }

    fn is_asynchronous(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ends;
    use super::*;

    #[test]
    fn sel_04_an_end_that_leaves_frees_its_slot() {
        let mut fedbuff = FedBuff::new(2, 1);
        let first = fedbuff.select(1, &ends(3));
        assert_eq!(first.len(), 2);
        assert!(fedbuff.select(1, &ends(3)).is_empty(), "both slots are taken");
        fedbuff.left(&first[0]);
        let rest: Vec<EndId> = ends(3).into_iter().filter(|end| *end != first[0]).collect();
        let second = fedbuff.select(1, &rest);
        assert_eq!(second.len(), 1);
        assert!(!first.contains(&second[0]));
    }

    #[test]
    fn an_answer_frees_a_slot_and_nobody_has_two() {
        let mut fedbuff = FedBuff::new(10, 1);
        assert_eq!(fedbuff.select(1, &ends(3)), ends(3));
        fedbuff.answered(1, "e1", &Answer::default());
        assert_eq!(fedbuff.select(2, &ends(3)), ["e1"]);
        assert_eq!(fedbuff.at_work().count(), 3);
    }
}
