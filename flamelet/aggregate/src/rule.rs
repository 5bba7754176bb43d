//! What a rule is.

use flame_model::{Form, Model};

use crate::options::{OptionInfo, Options};
use crate::privacy::Noise;
use crate::{AggregateError, Contribution};

/// The arithmetic of one aggregation rule. A new rule is one file in `rules/` and one line in its registry.
///
/// The [`crate::Aggregator`] around it has checked order of calls, layouts, finiteness and weights: a rule only sees updates
/// that match its base, are finite and carry at least one sample. State that is kept across rounds changes in `finish` alone.
pub trait Rule: Send {
    /// Starts a round. `extra` are second models that the rule knows by name.
    fn begin(&mut self, base: &Model, extra: &[(String, Model)]) -> Result<(), AggregateError>;

    /// What this rule alone asks of an update: metrics, a second model, room. Must change nothing.
    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        let _ = update;
        Ok(())
    }

    /// Folds an update in that passed `check`.
    fn fold(&mut self, update: &Update<'_>);

    /// Whether `finish` may be called after so many updates (at least 1); the round stays open otherwise.
    fn ready(&self, accepted: u32) -> Result<(), AggregateError> {
        let _ = accepted;
        Ok(())
    }

    /// Ends a round of at least one update.
    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError>;

    /// Second models of a round in which nothing was folded.
    fn unchanged(&self) -> Vec<(String, Model)> {
        Vec::new()
    }

    /// Whether one source may contribute several times to a round, as in asynchronous rules.
    fn repeats(&self) -> bool {
        false
    }

    /// What is kept across rounds, by name, for a checkpoint. Empty before the first round and for rules without state.
    fn save(&self) -> Vec<(String, Model)> {
        Vec::new()
    }

    /// Takes back what [`Rule::save`] gave.
    fn restore(&mut self, state: Vec<(String, Model)>) -> Result<(), AggregateError> {
        match state.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(AggregateError::InvalidArgument(format!("the rule keeps no state, but {name:?} was given")))
            }
        }
    }
}

/// A checked update and what it relates to.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Its numbers: a whole model or a delta, as `about.form` says.
    pub model: &'a Model,
    /// What is known besides.
    pub about: &'a Contribution,
    /// The model that it was computed from, where that is not the round's.
    pub base: Option<&'a Model>,
    /// The round's base.
    pub round_base: &'a Model,
    /// Second models by name.
    pub extra: &'a [(String, Model)],
    /// What its δ is multiplied by, because its norm was clipped; 1 where it was not.
    pub shrink: f64,
    /// Its samples, capped where the job caps one client's share; 1 for every update where noise is added to the mean.
    /// A whole number of at least 1.
    pub weight: f64,
}

impl Update<'_> {
    /// Whether its numbers are a whole model.
    pub fn is_full(&self) -> bool {
        self.about.form != Form::Delta
    }

    /// The second model of this name.
    pub fn extra(&self, name: &str) -> Option<&Model> {
        named(self.extra, name)
    }

    /// The finite value of a metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.about
            .metrics
            .iter()
            .find(|metric| metric.name == name)
            .map(|metric| metric.value)
            .filter(|v| v.is_finite())
    }
}

/// The second model of this name.
pub(crate) fn named<'a>(extra: &'a [(String, Model)], name: &str) -> Option<&'a Model> {
    extra.iter().find(|(other, _)| other == name).map(|(_, model)| model)
}

/// A round that ends.
#[derive(Debug, Clone, Copy)]
pub struct Closing<'a> {
    /// Its base.
    pub base: &'a Model,
    /// What a rule with [`RuleInfo::noise`] adds to the mean of the δ before it makes anything of it.
    pub noise: Option<Noise>,
}

/// What a rule makes of a round.
#[derive(Debug)]
pub struct Finished {
    /// The new global model.
    pub model: Model,
    /// Second models by name.
    pub extra: Vec<(String, Model)>,
    /// What whoever runs the job should know.
    pub warnings: Vec<String>,
}

impl From<Model> for Finished {
    fn from(model: Model) -> Self {
        Self { model, extra: Vec::new(), warnings: Vec::new() }
    }
}

/// A rule as the catalogue lists it.
#[derive(Debug)]
pub struct RuleInfo {
    /// Its name.
    pub name: &'static str,
    /// What it does and where it comes from.
    pub doc: &'static str,
    /// Whether an update is folded in and let go, so that memory does not grow with their number. Other rules hold handles
    /// to all updates of a round.
    pub streams: bool,
    /// Whether updates are weighed by their samples, so that `max-weight-share` applies.
    pub weighs: bool,
    /// Whether one clipped update moves its mean by at most the bound divided by the number of updates, so that noise on
    /// the mean gives differential privacy.
    pub noise: bool,
    /// Its options.
    pub options: &'static [OptionInfo],
    /// Makes one from checked option names.
    pub(crate) build: fn(&Options<'_>) -> Result<Box<dyn Rule>, AggregateError>,
}
