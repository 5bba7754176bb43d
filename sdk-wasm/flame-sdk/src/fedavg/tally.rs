//! What the answers of one round gave besides the sum that the host keeps.

use super::MODEL;
use crate::aggregation::{Aggregation, Contribution};
use crate::channel::Message;
use crate::error::{Error, Result};
use crate::metrics::WeightedMean;
use crate::tensor::Model;
use crate::warn;

/// Accepted and refused updates of a round.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) metrics: WeightedMean,
    pub(super) accepted: usize,
    /// Refused ones, and why the last of them was.
    pub(super) refused: usize,
    last: Option<Error>,
}

impl Tally {
    /// Folds one update in; `base` is what it was computed from, where that is not the round's. One that the rule refuses is passed
    /// over: a single participant must not be able to end the job.
    pub(super) fn fold(
        &mut self,
        rule: &mut Aggregation,
        update: &Message,
        base: Option<&Model>,
        round: u64,
    ) -> Result<()> {
        let about = Contribution::of(update, round);
        match update.model(MODEL).and_then(|model| rule.add(model, &about, base, &update.extras(MODEL))) {
            Ok(()) => {
                self.accepted += 1;
                self.metrics.add(&update.metrics, update.samples);
                Ok(())
            }
            Err(
                error
                @ (Error::NotFound(_) | Error::ShapeMismatch(_) | Error::NotFinite(_) | Error::InvalidArgument(_)),
            ) => {
                warn!("round {round}: the update of {} is left out: {error}", update.sender);
                self.refused += 1;
                self.last = Some(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// An error if every update was refused.
    pub(super) fn check(&mut self, round: u64) -> Result<()> {
        match self.last.take() {
            Some(error) if self.accepted == 0 => Err(error.at(&format!("round {round}: every update was refused"))),
            _ => Ok(()),
        }
    }
}
