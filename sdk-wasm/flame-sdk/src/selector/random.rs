//! A uniform sample of the ends, as in McMahan et al. 2017.

use super::options::Options;
use super::{Held, Selector, in_roster_order};
use crate::channel::EndId;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// `k` ends, or a fraction of those that are here, each equally likely, drawn anew in every round without replacement.
#[derive(Clone, Debug)]
pub struct Random {
    size: Size,
    least: usize,
    seed: u64,
    held: Held,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Ends(usize),
    Fraction(f64),
}

impl Random {
    /// `k` ends, or all where fewer are here; at least 1.
    pub fn new(k: usize, seed: u64) -> Self {
        Self { size: Size::Ends(k.max(1)), least: 1, seed, held: Held::default() }
    }

    /// A fraction (above 0, at most 1) of those that are here, rounded down, and at least `least`.
    pub fn fraction(fraction: f64, least: usize, seed: u64) -> Self {
        Self { size: Size::Fraction(fraction), least: least.max(1), seed, held: Held::default() }
    }

    pub(super) fn of_options(options: &Options, seed: u64) -> Result<Self> {
        let least = options.count_or("min", 1)?;
        match (options.number("k"), options.number("fraction")) {
            (Some(_), Some(_)) => {
                Err(Error::InvalidArgument("selector random takes one of \"k\" and \"fraction\", not both".into()))
            }
            (None, Some(_)) => {
                let fraction = options.number_or("fraction", 1.0, f64::MIN_POSITIVE, 1.0)?;
                Ok(Self::fraction(fraction, least, seed))
            }
            (_, None) => Ok(Self { least, ..Self::new(options.count("k")?, seed) }),
        }
    }

    fn count(&self, here: usize) -> usize {
        let count = match self.size {
            Size::Ends(k) => k,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a roster"
            )]
            Size::Fraction(fraction) => (here as f64 * fraction) as usize,
        };
        count.max(self.least).min(here)
    }
}

impl Selector for Random {
    fn select(&mut self, round: u64, candidates: &[EndId]) -> Vec<EndId> {
        let count = self.count(candidates.len());
        let mut rng = Rng::for_stream(self.seed, round);
        self.held.in_round(round, || in_roster_order(candidates, sample(&mut rng, candidates.len(), count)))
    }
}

/// `count` of the positions below `of`, each set of them equally likely.
pub(super) fn sample(rng: &mut Rng, of: usize, count: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..of).collect();
    rng.shuffle(&mut positions);
    positions.truncate(count);
    positions
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::selector;
    use super::super::tests::ends;
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
    fn of(options: serde_json::Value) -> Result<Box<dyn Selector>> {
        selector("random", options.as_object().unwrap(), 7)
    }

    #[test]
    fn sel_02_a_pair_is_fixed_for_a_round_and_may_change_in_the_next() {
        let mut random = of(json!({"k": 2})).unwrap();
        let first = random.select(1, &ends(5));
        assert_eq!(first.len(), 2);
        assert_eq!(random.select(1, &ends(5)), first);
        assert!((2..20).any(|round| random.select(round, &ends(5)) != first));
    }

    #[test]
    fn sel_02_k_is_clamped_and_must_be_given() {
        let count = |options| of(options).unwrap().select(1, &ends(5)).len();
        assert_eq!(count(json!({"k": 10})), 5);
        assert_eq!(count(json!({"k": -1})), 1);
        assert_eq!(count(json!({"fraction": 0.5})), 2);
        assert_eq!(count(json!({"fraction": 0.1, "min": 3})), 3);
        let missing = of(json!({})).unwrap_err().to_string();
        assert!(missing.contains("\"k\" of selector random is required"), "{missing}");
        for wrong in [json!({"k": 1.5}), json!({"k": "many"}), json!({"fraction": 2}), json!({"k": 1, "fraction": 1})] {
            assert!(of(wrong).is_err());
        }
    }

    #[test]
    fn everybody_is_drawn_about_equally_often_and_two_runs_draw_alike() {
        let draw = || {
            let mut random = Random::new(2, 3);
            (1..=1000).flat_map(|round| random.select(round, &ends(5))).collect::<Vec<_>>()
        };
        let drawn = draw();
        for end in ends(5) {
            let times = drawn.iter().filter(|other| **other == end).count();
            // 400 ± 6 deviations of a binomial.
            assert!((300..500).contains(&times), "{end}: {times}");
        }
        assert_eq!(draw(), drawn);
    }
}
