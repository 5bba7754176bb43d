//! Those who have most to learn from, of a random sample: Cho et al. 2020, in the form that costs no further messages.

use std::collections::BTreeMap;

use super::{Answer, Held, Selector, in_roster_order};
use crate::channel::EndId;
use crate::rng::Rng;

/// Of `candidates` ends drawn in proportion to their samples, the `k` with the largest loss. A loss is the one that an end reported
/// last (the paper's π_rpow-d); one that never did has the largest.
#[derive(Clone, Debug)]
pub struct PowerOfChoice {
    k: usize,
    candidates: usize,
    seed: u64,
    last: BTreeMap<EndId, Answer>,
    held: Held,
}

impl PowerOfChoice {
    /// `k` of `candidates` drawn ends; at least 1 of as many.
    pub fn new(k: usize, candidates: usize, seed: u64) -> Self {
        let k = k.max(1);
        Self { k, candidates: candidates.max(k), seed, last: BTreeMap::new(), held: Held::default() }
    }
}

impl Selector for PowerOfChoice {
    fn select(&mut self, round: u64, candidates: &[EndId]) -> Vec<EndId> {
        let (k, draws, last) = (self.k, self.candidates, &self.last);
        let mut rng = Rng::for_stream(self.seed, round);
        self.held.in_round(round, || {
            let weight = |end: &EndId| last.get(end).map(|answer| as_weight(answer.samples));
            let known: Vec<f64> = candidates.iter().filter_map(weight).collect();
            #[expect(clippy::cast_precision_loss, reason = "a roster's length")]
            let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
            let weights: Vec<f64> = candidates.iter().map(|end| weight(end).unwrap_or(mean)).collect();
            let mut sample = weighted_sample(&mut rng, &weights, draws);
            let loss = |at: &usize| {
                let answer = candidates.get(*at).and_then(|end| last.get(end));
                answer.and_then(|answer| answer.loss).unwrap_or(f64::INFINITY)
            };
            // Stable: among equals the order of the draw, which is random.
            sample.sort_by(|a, b| loss(b).total_cmp(&loss(a)));
            sample.truncate(k);
            in_roster_order(candidates, sample)
        })
    }

    fn answered(&mut self, _: u64, end: &str, answer: &Answer) {
        self.last.insert(end.to_owned(), *answer);
    }
}

#[expect(clippy::cast_precision_loss, reason = "samples are at most 2^40")]
fn as_weight(samples: u64) -> f64 {
    (samples as f64).max(1.0)
}

/// `count` positions without replacement, each draw in proportion to the weights that are left (all above 0).
pub(super) fn weighted_sample(rng: &mut Rng, weights: &[f64], count: usize) -> Vec<usize> {
    // Efraimidis and Spirakis 2006: the largest of u^(1/w), here as logarithms.
    let mut keyed: Vec<(f64, usize)> =
        weights.iter().enumerate().map(|(at, weight)| (f64::from(1.0 - rng.uniform()).ln() / weight, at)).collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    keyed.into_iter().take(count).map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::ends;
    use super::*;

    fn answer(samples: u64, loss: f64) -> Answer {
        Answer { samples, loss: Some(loss), ..Answer::default() }
    }

    #[test]
    fn the_largest_losses_are_chosen_and_the_unknown_come_first() {
        let mut choice = PowerOfChoice::new(2, 5, 1);
        for (at, end) in ends(4).iter().enumerate() {
            choice.answered(1, end, &answer(10, f64::from(u8::try_from(at).unwrap())));
        }
        // All five are drawn: e4 said nothing yet, e3 has the largest loss.
        assert_eq!(choice.select(1, &ends(5)), ["e3", "e4"]);
        choice.answered(1, "e4", &answer(10, 0.5));
        assert_eq!(choice.select(1, &ends(5)), ["e3", "e4"], "fixed for the round");
        assert_eq!(choice.select(2, &ends(5)), ["e2", "e3"]);
    }

    #[test]
    fn more_samples_are_drawn_more_often() {
        let mut rng = Rng::new(5);
        let often = (0..1000).filter(|_| weighted_sample(&mut rng, &[1.0, 9.0], 1) == [1]).count();
        // 900 ± 6 deviations.
        assert!((840..960).contains(&often), "{often}");
    }
}
