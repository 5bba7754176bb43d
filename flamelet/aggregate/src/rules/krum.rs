//! Krum, Blanchard et al. 2017: the update whose K−f−2 nearest others are nearest to it. Samples are ignored.

use flame_model::Model;

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights};
use crate::distances::Distances;
use crate::held::{Held, in_canonical_order};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};

const NAME: &str = "krum";

pub(super) const MALICIOUS: OptionInfo =
    OptionInfo { name: "f", default: None, doc: "how many updates may be malicious, a whole number from 0" };

pub(super) const INFO: RuleInfo = RuleInfo {
    name: NAME,
    doc: "The one update that is nearest to its neighbours (Blanchard 2017)",
    streams: false,
    weighs: false,
    noise: false,
    options: &[MALICIOUS],
    build: |options| Ok(Box::new(Krum::new(NAME, options.numerics()?, options.required("f", Range::Index)?, None))),
};

/// Krum and multi-Krum.
pub(super) struct Krum {
    name: &'static str,
    numerics: Numerics,
    malicious: usize,
    /// How many are averaged by samples; `None` takes the best one as it is.
    keep: Option<usize>,
    held: Vec<Held>,
    mean: Accumulator,
}

impl Krum {
    pub(super) fn new(name: &'static str, numerics: Numerics, malicious: f64, keep: Option<f64>) -> Self {
        Self {
            name,
            numerics,
            malicious: whole(malicious),
            keep: keep.map(whole),
            held: Vec::new(),
            mean: Accumulator::new(numerics.ordered(), SumOf::Models, Weights::Whole),
        }
    }
}

/// An option that was checked to be whole and small.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to 2³²")]
pub(super) const fn whole(option: f64) -> usize {
    option as usize
}

/// Refuses fewer updates than a rule needs; the round stays open.
pub(super) fn enough(rule: &'static str, needed: usize, accepted: u32) -> Result<(), AggregateError> {
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    if u64::from(accepted) >= needed {
        return Ok(());
    }
    Err(AggregateError::NotEnough { rule, needed, found: u64::from(accepted) })
}

impl Rule for Krum {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.held.clear();
        self.mean.begin(base)
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.held.push(Held::of(update));
    }

    fn ready(&self, accepted: u32) -> Result<(), AggregateError> {
        enough(self.name, self.malicious.saturating_add(2).max(self.keep.unwrap_or(1)), accepted)
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let held = in_canonical_order(std::mem::take(&mut self.held));
        let updates: Vec<_> = held.iter().map(|held| held.update(round.base)).collect();
        let distances = Distances::of(&updates, self.numerics.threads);
        let all: Vec<usize> = (0..updates.len()).collect();
        let mut best: Vec<_> = all.iter().zip(distances.scores(&all, self.malicious)).collect();
        // Stable: of equal scores the lower index comes first.
        best.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        best.truncate(self.keep.unwrap_or(1));
        best.sort_unstable_by_key(|(index, _)| **index);
        for update in best.into_iter().filter_map(|(index, _)| updates.get(*index)) {
            self.mean.fold(update, if self.keep.is_some() { update.weight } else { 1.0 });
        }
        let mut finished = Finished::from(self.mean.take_model(round.base)?);
        let safe = self.malicious.saturating_mul(2).saturating_add(3);
        if updates.len() < safe {
            finished.warnings.push(format!(
                "{} with f = {} promises nothing below {safe} updates; this round has {}",
                self.name,
                self.malicious,
                updates.len()
            ));
        }
        Ok(finished)
    }
}
