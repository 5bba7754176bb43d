//! Federated aggregation, which runs in the host over model handles.

use crate::bindings::flame::worker::aggregation as host;
use crate::channel::{EndId, Form, Message};
use crate::error::Result;
use crate::metrics::Metrics;
use crate::rule::Rule;
use crate::tensor::Model;

pub use crate::bindings::flame::worker::aggregation::OptionValue;

/// What is known of an update besides its numbers.
#[derive(Clone, Debug)]
pub struct Contribution {
    /// Whose update it is.
    pub source: EndId,
    /// What its numbers are.
    pub form: Form,
    /// The aggregation weight. 0 abstains: checked, not counted, not refused.
    pub samples: u64,
    /// Rounds between the base that it was computed from and the current one.
    pub staleness: u64,
    /// What a rule may need: "loss" (q-FedAvg), "steps" (FedNova).
    pub metrics: Metrics,
}

impl Contribution {
    /// What a message that carries an update says of it, at a time when the current round is `round`.
    pub fn of(message: &Message, round: u64) -> Self {
        let base = message.base.as_ref().map_or(message.round, |base| base.round);
        Self {
            source: message.sender.clone(),
            form: message.form,
            samples: message.samples,
            staleness: round.saturating_sub(base),
            metrics: message.metrics.clone(),
        }
    }
}

/// What a round's aggregation gave.
#[derive(Debug)]
pub struct Outcome {
    /// The new global model; the base unchanged when nothing was folded in.
    pub model: Model,
    /// What else the rule produces, such as SCAFFOLD's "control".
    pub extra: Vec<(String, Model)>,
    /// Updates folded in.
    pub accepted: u32,
    /// Samples behind them.
    pub samples: u64,
    /// What the rule measured.
    pub metrics: Metrics,
}

/// A rule at work in the host; keeps the rule's state (momenta, counters) across rounds.
#[derive(Debug)]
pub struct Aggregation(pub(crate) host::Aggregator);

impl Aggregation {
    /// A rule and its options by their names in the aggregation catalogue; unknown ones are refused with the list of known ones.
    pub fn create(rule: &str, options: &[(&str, OptionValue)]) -> Result<Self> {
        let options: Vec<(String, OptionValue)> =
            options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(Self(host::Aggregator::create(rule, &options)?))
    }

    /// A rule of the catalogue by its type, see [`crate::rule`]; the job's own choice is not asked.
    pub fn of<R: Rule>(rule: &R) -> Result<Self> {
        Self::create(R::NAME, rule.options())
    }

    /// The rule that the job's `modelSpec.optimizer` names; fedavg where it names none.
    pub fn from_job() -> Result<Self> {
        Ok(Self(host::Aggregator::from_job()?))
    }

    /// Starts a round from the current global model.
    pub fn begin(&mut self, base: &Model, extra: &[(&str, &Model)]) -> Result<()> {
        Ok(self.0.begin(&base.0, &borrowed(extra))?)
    }

    /// Folds one update in. One that does not match or is not finite is refused and leaves the round as it was. `base` is given
    /// where a full update was computed from an older model than the round's.
    pub fn add(
        &mut self,
        update: &Model,
        about: &Contribution,
        base: Option<&Model>,
        extra: &[(&str, &Model)],
    ) -> Result<()> {
        let about = host::Contribution {
            source: about.source.clone(),
            form: about.form,
            samples: about.samples,
            staleness: about.staleness,
            metrics: about.metrics.to_host(),
        };
        Ok(self.0.add(&update.0, &about, base.map(|model| &model.0), &borrowed(extra))?)
    }

    /// Ends the round.
    pub fn finish(&mut self) -> Result<Outcome> {
        let outcome = self.0.finish()?;
        Ok(Outcome {
            model: Model(outcome.model),
            extra: outcome.extra.into_iter().map(|(name, model)| (name, Model(model))).collect(),
            accepted: outcome.accepted,
            samples: outcome.samples,
            metrics: outcome.metrics.into(),
        })
    }
}

fn borrowed<'a>(extra: &[(&str, &'a Model)]) -> Vec<(String, &'a crate::bindings::flame::worker::tensors::Model)> {
    extra.iter().map(|(name, model)| ((*name).to_owned(), &model.0)).collect()
}
