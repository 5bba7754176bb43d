//! Useful and quick ends, with some exploration: Oort, Lai et al. 2021.

use std::collections::BTreeMap;

use super::options::Options;
use super::power_of_choice::weighted_sample;
use super::random::sample;
use super::{Answer, Held, Selector, in_roster_order};
use crate::channel::EndId;
use crate::error::Result;
use crate::rng::Rng;

/// Ends within this share of the k-th best score are drawn from, in proportion to their scores (the paper's cut-off).
const CUT_OFF: f64 = 0.95;
/// Weight of the temporal term √(0.1·ln(round)/last round).
const TEMPORAL: f64 = 0.1;
/// Percentile of the ends' durations that is the preferred one at first.
const THRESHOLD: f64 = 30.0;

/// Asks 1.3·k ends and goes on with the first k answers. A share ε of them was never tried (ε from 0.9, ×0.98 a round, down to 0.2);
/// the others are drawn by their score: the statistical utility, clipped at its 95th percentile and scaled to 0..1, plus
/// √(0.1·ln(round)/last round), times (T/t)² for an end whose answer took t and longer than the preferred duration T. A pacer raises
/// T, a percentile of what ends take, while the utility of those selected stands still.
///
/// The utility is what an end reports (metric `utility`: samples · √(mean of the squared losses)), or samples · loss.
#[derive(Clone, Debug)]
pub struct Oort {
    /// Answers that a round needs.
    pub k: usize,
    /// Ends asked per needed answer, at least 1. Default 1.3.
    pub overcommit: f64,
    /// Share of the ends asked that were never tried, now. Default 0.9 at first.
    pub exploration: f64,
    /// What it is multiplied by after every round. Default 0.98.
    pub exploration_decay: f64,
    /// What it does not fall below. Default 0.2.
    pub exploration_min: f64,
    /// Percentile at which utilities are clipped. Default 95.
    pub clip_percentile: f64,
    /// Exponent of the penalty for slow ends. Default 2.
    pub speed_penalty: f64,
    /// Rounds between two looks of the pacer. Default 20.
    pub pacer_step: u64,
    /// Percentiles by which it moves the preferred duration. Default 5.
    pub pacer_delta: f64,
    seed: u64,
    threshold: f64,
    known: BTreeMap<EndId, Known>,
    /// Utility of the ends that were exploited, a round each: of this window of the pacer and of the last one.
    gained: [f64; 2],
    held: Held,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    utility: f64,
    seconds: f64,
    round: u64,
}

impl Oort {
    /// Rounds of `k` answers, with the paper's values for everything else.
    pub fn new(k: usize, seed: u64) -> Self {
        Self {
            k: k.max(1),
            overcommit: 1.3,
            exploration: 0.9,
            exploration_decay: 0.98,
            exploration_min: 0.2,
            clip_percentile: 95.0,
            speed_penalty: 2.0,
            pacer_step: 20,
            pacer_delta: 5.0,
            seed,
            threshold: THRESHOLD,
            known: BTreeMap::new(),
            gained: [0.0; 2],
            held: Held::default(),
        }
    }

    pub(super) fn of_options(options: &Options, seed: u64) -> Result<Self> {
        let mut oort = Self::new(options.count("k")?, seed);
        oort.overcommit = options.number_or("overcommit", oort.overcommit, 1.0, 10.0)?;
        oort.exploration = options.number_or("exploration", oort.exploration, 0.0, 1.0)?;
        oort.exploration_decay = options.number_or("exploration-decay", oort.exploration_decay, 0.0, 1.0)?;
        oort.exploration_min = options.number_or("exploration-min", oort.exploration_min, 0.0, 1.0)?;
        oort.clip_percentile = options.number_or("clip-percentile", oort.clip_percentile, 0.0, 100.0)?;
        oort.speed_penalty = options.number_or("speed-penalty", oort.speed_penalty, 0.0, 10.0)?;
        oort.pacer_step = options.count_or("pacer-step", 20)? as u64;
        oort.pacer_delta = options.number_or("pacer-delta", oort.pacer_delta, 0.0, 100.0)?;
        Ok(oort)
    }

    /// What an end that was tried is worth in `round`.
    fn scores(&self, round: u64, tried: &[Known]) -> Vec<f64> {
        let clip = percentile(tried.iter().map(|end| end.utility).collect(), self.clip_percentile);
        let preferred = percentile(tried.iter().map(|end| end.seconds).collect(), self.threshold);
        let least = tried.iter().map(|end| end.utility).fold(f64::INFINITY, f64::min).min(clip);
        let range = clip - least;
        let score = |end: &Known| {
            let reward = if range > 0.0 { (end.utility.min(clip) - least) / range } else { 1.0 };
            let slow = end.seconds > preferred && preferred > 0.0;
            let speed = if slow { (preferred / end.seconds).powf(self.speed_penalty) } else { 1.0 };
            // Nobody is worth nothing: a draw in proportion to weights needs them above 0.
            ((reward + temporal(round, end.round)) * speed).max(1e-9)
        };
        tried.iter().map(score).collect()
    }

    fn choose(&mut self, round: u64, candidates: &[EndId]) -> Vec<EndId> {
        let mut rng = Rng::for_stream(self.seed, round);
        let asked = times(self.k, self.overcommit).min(candidates.len());
        let mut tried: Vec<(usize, Known)> = Vec::new();
        let mut untried: Vec<usize> = Vec::new();
        for (at, end) in candidates.iter().enumerate() {
            match self.known.get(end) {
                Some(known) => tried.push((at, *known)),
                None => untried.push(at),
            }
        }
        let explore = times(asked, self.exploration).min(untried.len());
        let exploit = (asked - explore).min(tried.len());
        let explore = (asked - exploit).min(untried.len());

        let scores = self.scores(round, &tried.iter().map(|(_, known)| *known).collect::<Vec<_>>());
        let mut by_score: Vec<usize> = (0..scores.len()).collect();
        let score = |at: usize| scores.get(at).copied().unwrap_or_default();
        by_score.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
        let cut = exploit.checked_sub(1).and_then(|last| by_score.get(last)).map_or(0.0, |at| CUT_OFF * score(*at));
        let pool: Vec<usize> = by_score.into_iter().filter(|at| score(*at) >= cut).collect();
        let weights: Vec<f64> = pool.iter().map(|at| score(*at)).collect();
        let mut chosen = Vec::with_capacity(asked);
        for at in weighted_sample(&mut rng, &weights, exploit) {
            if let Some((candidate, known)) = pool.get(at).and_then(|at| tried.get(*at)) {
                self.gained[0] += known.utility;
                chosen.push(*candidate);
            }
        }
        let drawn = sample(&mut rng, untried.len(), explore);
        chosen.extend(drawn.into_iter().filter_map(|at| untried.get(at).copied()));

        self.exploration = (self.exploration * self.exploration_decay).max(self.exploration_min);
        self.pace(round);
        in_roster_order(candidates, chosen)
    }

    /// Lets slower ends in while nothing is gained, and fewer of them when much is.
    fn pace(&mut self, round: u64) {
        if !round.is_multiple_of(self.pacer_step) {
            return;
        }
        let [now, before] = self.gained;
        if before > 0.0 {
            if (now - before).abs() <= 0.1 * before {
                self.threshold = (self.threshold + self.pacer_delta).min(100.0);
            } else if (now - before).abs() >= 5.0 * before {
                self.threshold = (self.threshold - self.pacer_delta).max(self.pacer_delta);
            }
        }
        self.gained = [0.0, now];
    }
}

impl Selector for Oort {
    fn select(&mut self, round: u64, candidates: &[EndId]) -> Vec<EndId> {
        let mut held = std::mem::take(&mut self.held);
        let ends = held.in_round(round, || self.choose(round, candidates));
        self.held = held;
        ends
    }

    fn enough(&self, asked: usize) -> usize {
        asked.min(self.k)
    }

    fn answered(&mut self, round: u64, end: &str, answer: &Answer) {
        #[expect(clippy::cast_precision_loss, reason = "samples are at most 2^40")]
        let samples = answer.samples as f64;
        let utility = answer.utility.or_else(|| answer.loss.map(|loss| samples * loss.abs())).unwrap_or(samples);
        let utility = if utility.is_finite() { utility.max(0.0) } else { 0.0 };
        self.known.insert(end.to_owned(), Known { utility, seconds: answer.duration.as_secs_f64(), round });
    }
}

/// What is due to an end that has not been asked for long.
#[expect(clippy::cast_precision_loss, reason = "rounds")]
fn temporal(round: u64, last: u64) -> f64 {
    (TEMPORAL * (round.max(1) as f64).ln() / last.max(1) as f64).sqrt()
}

/// `factor · count`, rounded down, as far as floats can tell.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a roster"
)]
fn times(count: usize, factor: f64) -> usize {
    (count as f64 * factor + 1e-9) as usize
}

/// The value below which `percent` of the values lie; 0 without values.
fn percentile(mut values: Vec<f64>, percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = times(values.len(), percent / 100.0).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::ends;
    use super::*;

    fn answer(utility: f64, seconds: u64) -> Answer {
        Answer { samples: 1, utility: Some(utility), duration: Duration::from_secs(seconds), ..Answer::default() }
    }

    #[test]
    fn sel_05_thirteen_of_fifty_are_asked_for_ten_answers() {
        let mut oort = Oort::new(10, 1);
        let asked = oort.select(1, &ends(50));
        assert_eq!((asked.len(), oort.enough(asked.len())), (13, 10));
        assert_eq!(oort.select(1, &ends(50)), asked, "fixed for the round");
        assert_eq!(Oort::new(10, 1).select(1, &ends(4)).len(), 4);
    }

    #[test]
    fn exploration_decays_to_its_least() {
        let mut oort = Oort::new(10, 1);
        for round in 1..=3 {
            oort.select(round, &ends(50));
        }
        assert!((oort.exploration - 0.9 * 0.98_f64.powi(3)).abs() < 1e-12);
        for round in 4..=200 {
            oort.select(round, &ends(50));
        }
        assert!((oort.exploration - 0.2).abs() < 1e-12);
    }

    #[test]
    fn useful_ends_are_drawn_and_slow_ones_are_not() {
        let mut oort = Oort { overcommit: 1.0, exploration: 0.0, exploration_min: 0.0, ..Oort::new(2, 1) };
        for (end, utility, seconds) in
            [("e0", 1.0, 1), ("e1", 9.0, 1), ("e2", 9.0, 100), ("e3", 9.0, 1), ("e4", 2.0, 1)]
        {
            oort.answered(1, end, &answer(utility, seconds));
        }
        assert_eq!(oort.select(2, &ends(5)), ["e1", "e3"]);
    }

    #[test]
    fn an_outlier_counts_as_the_95th_percentile() {
        let oort = Oort::new(2, 1);
        let known = |utility: f64| Known { utility, seconds: 1.0, round: 1 };
        let mut many: Vec<Known> = (0..99).map(|at| known(f64::from(at))).collect();
        many.push(known(1e9));
        let scores = oort.scores(1, &many);
        // Position 95 of 100 is the clip: 95 and above are worth the same.
        assert!((scores[99] - scores[95]).abs() < 1e-12 && scores[94] < scores[95]);
        assert!((scores[95] - 1.0).abs() < 1e-12, "no temporal term in the first round");
    }

    #[test]
    fn who_waited_long_is_due() {
        assert!((temporal(100, 4) - (0.1 * 100_f64.ln() / 4.0).sqrt()).abs() < 1e-12);
        assert!(temporal(100, 1) > temporal(100, 50));
    }

    #[test]
    fn the_pacer_lets_slower_ends_in_while_nothing_is_gained() {
        let mut oort = Oort { pacer_step: 1, exploration: 0.0, exploration_min: 0.0, ..Oort::new(2, 1) };
        for end in ends(2) {
            oort.answered(1, &end, &answer(1.0, 1));
        }
        oort.select(1, &ends(2));
        assert!((oort.threshold - 30.0).abs() < 1e-12, "there is nothing to compare with");
        oort.select(2, &ends(2));
        assert!((oort.threshold - 35.0).abs() < 1e-12);
    }
}
