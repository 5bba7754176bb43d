//! The coordinate-wise median, Yin et al. 2018: of an even number the mean of the middle two. Samples are ignored.

use flame_model::Model;

use crate::AggregateError;
use crate::columns::{Pick, columns, median};
use crate::held::{Held, in_canonical_order};
use crate::kernels;
use crate::parallel::Threads;
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "median",
    doc: "The median of each coordinate (Yin 2018)",
    streams: false,
    weighs: false,
    noise: false,
    options: &[],
    build: |options| {
        Ok(Box::new(Coordinatewise::new(options.numerics()?.threads, |updates| Pick::Sorted(median(updates)))))
    },
};

/// A rule that looks at one coordinate of all updates at a time.
pub(super) struct Coordinatewise<F> {
    threads: Threads,
    /// What it makes of a column of so many values.
    pick: F,
    held: Vec<Held>,
}

impl<F: Fn(usize) -> Pick + Send> Coordinatewise<F> {
    pub(super) const fn new(threads: Threads, pick: F) -> Self {
        Self { threads, pick, held: Vec::new() }
    }
}

impl<F: Fn(usize) -> Pick + Send> Rule for Coordinatewise<F> {
    fn begin(&mut self, _: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        self.held.clear();
        Ok(())
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.held.push(Held::of(update));
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let held = in_canonical_order(std::mem::take(&mut self.held));
        let updates: Vec<_> = held.iter().map(|held| held.update(round.base)).collect();
        let model = columns(round.base, &updates, &(self.pick)(updates.len()), self.threads)?;
        Ok(kernels::finite("the new model", model, self.threads)?.into())
    }
}
