//! The aggregator's checkpoints: what a round left, kept while the next one is trained, and taken up again after a restart.

use serde::{Deserialize, Serialize};

use super::{BROADCAST, MODEL};
use crate::aggregation::Aggregation;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::tensor::Model;
use crate::{debug, info, warn};

/// Where a run of the aggregator stands.
pub(super) struct Progress {
    /// The last round that is over; 0 before the first.
    pub(super) round: u64,
    /// The global model after it.
    pub(super) global: Model,
    /// Second models that the rule gave with it, such as SCAFFOLD's control.
    pub(super) extras: Vec<(String, Model)>,
    /// A round's record that waits for what the trainers measure.
    pub(super) unmeasured: Option<(u64, Metrics)>,
}

impl Progress {
    /// Before the first round.
    pub(super) fn new(global: Model) -> Self {
        Self { round: 0, global, extras: Vec::new(), unmeasured: None }
    }

    /// The model that clients train from, and the second models that go with it. FedDyn's clients train from another model than the
    /// one that is measured.
    pub(super) fn to_train_from(&self) -> (&Model, Vec<(&str, &Model)>) {
        let mut extras: Vec<(&str, &Model)> = self.extras.iter().map(|(name, model)| (name.as_str(), model)).collect();
        let broadcast = extras.iter().position(|(name, _)| *name == BROADCAST).map(|at| extras.remove(at).1);
        (broadcast.unwrap_or(&self.global), extras)
    }
}

/// What is kept beside the models.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Words {
    unmeasured: Option<(u64, Vec<(String, f64)>)>,
}

/// Keeps the progress of a run, as long as the host lets it.
pub(super) struct Keeper<'a> {
    ctx: &'a Context,
    keeps: bool,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(ctx: &'a Context) -> Self {
        Self { ctx, keeps: true }
    }

    /// Where an earlier run of this task stood.
    pub(super) fn resume(&self) -> Result<Option<Progress>> {
        let Some(kept) = self.ctx.checkpoint()? else { return Ok(None) };
        let mut extras = kept.models;
        let global = extras.iter().position(|(name, _)| name == MODEL).map(|at| extras.remove(at).1);
        let global = global.ok_or_else(|| Error::NotFound("the global model in the task's checkpoint".into()))?;
        let unmeasured = read(&kept.state)?.unmeasured.map(|(round, metrics)| (round, metrics.into_iter().collect()));
        info!("this task was restarted: going on behind round {}", kept.round);
        Ok(Some(Progress { round: kept.round, global, extras, unmeasured }))
    }

    /// Keeps what a round left. Where nothing can be kept the job goes on without.
    pub(super) fn keep(&mut self, progress: &Progress, aggregation: &Aggregation) -> Result<()> {
        if !self.keeps || progress.round == 0 {
            return Ok(());
        }
        let models: Vec<(&str, &Model)> = std::iter::once((MODEL, &progress.global))
            .chain(progress.extras.iter().map(|(name, model)| (name.as_str(), model)))
            .collect();
        match self.ctx.keep(progress.round, &words(progress.unmeasured.as_ref()), &models, &[aggregation]) {
            Ok(()) => Ok(()),
            Err(Error::NotPermitted(why)) => {
                debug!("no checkpoints: {why}");
                self.keeps = false;
                Ok(())
            }
            Err(error @ Error::LimitExceeded(_)) => {
                warn!("no checkpoints from here on: {error}");
                self.keeps = false;
                Ok(())
            }
            Err(error @ Error::Unavailable(_)) => {
                warn!("round {} is not kept: {error}", progress.round);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn words(unmeasured: Option<&(u64, Metrics)>) -> Vec<u8> {
    let unmeasured = unmeasured.map(|(round, metrics)| {
        // JSON has no NaN, and a record keeps none.
        let finite = metrics.iter().filter(|(_, value)| value.is_finite());
        (*round, finite.map(|(name, value)| (name.to_owned(), value)).collect())
    });
    serde_json::to_vec(&Words { unmeasured }).unwrap_or_default()
}

fn read(words: &[u8]) -> Result<Words> {
    serde_json::from_slice(words).map_err(|error| Error::worker(format!("the task's checkpoint: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_waits_is_kept() {
        let waiting = (3, Metrics::from([("samples", 40.0), ("loss", f64::NAN)]));
        let back = read(&words(Some(&waiting))).unwrap().unmeasured;
        assert_eq!(back, Some((3, vec![("samples".to_owned(), 40.0)])));
        assert_eq!(read(&words(None)).unwrap(), Words::default());
        assert!(read(b"half").is_err());
    }
}
