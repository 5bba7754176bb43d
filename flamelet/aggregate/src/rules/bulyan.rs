//! Bulyan, El Mhamdi et al. 2018: θ = K−2f updates are chosen by repeated Krum; of these, per coordinate, the mean of the θ−2f
//! values nearest to their median. Samples are ignored.

use flame_model::Model;

use crate::columns::{Pick, columns};
use crate::distances::Distances;
use crate::held::{Held, in_canonical_order};
use crate::options::Range;
use crate::parallel::Threads;
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};
use crate::{AggregateError, kernels};

use super::krum::{MALICIOUS, enough, whole};

const NAME: &str = "bulyan";

pub(super) const INFO: RuleInfo = RuleInfo {
    name: NAME,
    doc: "Krum's choice, then what is near the median of each coordinate; needs 4f+3 updates (El Mhamdi 2018)",
    streams: false,
    weighs: false,
    noise: false,
    options: &[MALICIOUS],
    build: |options| {
        Ok(Box::new(Bulyan {
            threads: options.numerics()?.threads,
            malicious: whole(options.required("f", Range::Index)?),
            held: Vec::new(),
        }))
    },
};

struct Bulyan {
    threads: Threads,
    malicious: usize,
    held: Vec<Held>,
}

impl Rule for Bulyan {
    fn begin(&mut self, _: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.held.clear();
        Ok(())
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.held.push(Held::of(update));
    }

    fn ready(&self, accepted: u32) -> Result<(), AggregateError> {
        enough(NAME, self.malicious.saturating_mul(4).saturating_add(3), accepted)
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let held = in_canonical_order(std::mem::take(&mut self.held));
        let updates: Vec<_> = held.iter().map(|held| held.update(round.base)).collect();
        let distances = Distances::of(&updates, self.threads);
        let mut left: Vec<usize> = (0..updates.len()).collect();
        let mut chosen = Vec::new();
        while chosen.len() < updates.len().saturating_sub(self.malicious.saturating_mul(2)) {
            let Some(best) = distances.best(&left, self.malicious) else { break };
            left.retain(|other| *other != best);
            chosen.push(best);
        }
        chosen.sort_unstable();
        let chosen: Vec<_> = chosen.iter().filter_map(|index| updates.get(*index).copied()).collect();
        let near = chosen.len().saturating_sub(self.malicious.saturating_mul(2));
        let model = columns(round.base, &chosen, &Pick::NearestMedian(near), self.threads)?;
        Ok(kernels::finite("the new model", model, self.threads)?.into())
    }
}
