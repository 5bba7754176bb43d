//! `flame:worker/aggregation`: federated rules in the host.

use std::sync::Arc;

use flame_aggregate::{Aggregator, Contribution, OptionValue};
use flame_model::{Metric, Model};
use wasmtime::component::Resource;

use super::channels::{form, guest_metrics, metrics};
use crate::Level;
use crate::appetite::Appetite;
use crate::bindings::flame::worker::aggregation::{self, Host, HostAggregator};
use crate::charge::Charge;
use crate::error::HostError;
use crate::state::{AggregatorHandle, HostState, ModelHandle};

type Extra = Vec<(String, Resource<ModelHandle>)>;

/// Before the names of metrics that say what differential privacy has cost: `privacy-clip`, the bound of the next round, and
/// `privacy-epsilon`, spent so far.
const PRIVACY: &str = "privacy-";

/// A model, and the others that come with it.
fn models_of<'a>(
    model: &'a Resource<ModelHandle>,
    base: Option<&'a Resource<ModelHandle>>,
    extra: &'a Extra,
) -> Vec<&'a Resource<ModelHandle>> {
    std::iter::once(model).chain(base).chain(extra.iter().map(|(_, model)| model)).collect()
}

impl HostState {
    fn snapshots(&self, models: &Extra) -> Result<Vec<(String, Model)>, HostError> {
        models.iter().map(|(name, model)| Ok((name.clone(), self.table.get(model)?.snapshot()))).collect()
    }

    fn push_aggregator(
        &mut self,
        rule: &str,
        mut options: Vec<(String, OptionValue)>,
    ) -> Result<Resource<AggregatorHandle>, HostError> {
        if self.spec.deterministic {
            // The job's wish, over that of its code.
            options.retain(|(name, _)| name != "deterministic");
            options.push(("deterministic".to_owned(), OptionValue::Flag(true)));
        }
        let mut aggregator = Aggregator::create(rule, &options)?;
        let appetite = Appetite::new(aggregator.rule(), &options);
        let number = self.aggregators;
        let mut state = None;
        if let Some(saved) = self.resumed()?.aggregators.iter().find(|saved| saved.number == number) {
            if saved.rule != aggregator.rule().name {
                return Err(HostError::invalid(format!(
                    "aggregator {number} of this task was a {} before its restart, and is to be a {} now",
                    saved.rule,
                    aggregator.rule().name
                )));
            }
            let saved = saved.state.clone();
            state = Some(self.quota.charge(saved.iter().map(|(_, model)| model.byte_size()).sum())?);
            aggregator.restore(saved)?;
        }
        let handle =
            self.push(AggregatorHandle { aggregator, appetite, round: Vec::new(), given: Vec::new(), state, number })?;
        self.aggregators += 1;
        Ok(handle)
    }

    /// What pays for a model and its second models.
    fn charges_of(&self, models: &[&Resource<ModelHandle>]) -> Result<Vec<Arc<Charge>>, HostError> {
        let mut charges = Vec::new();
        for model in models {
            charges.extend(self.table.get(model)?.charges());
        }
        Ok(charges)
    }
}

impl Host for HostState {}

impl HostAggregator for HostState {
    fn create(
        &mut self,
        rule: String,
        options: Vec<(String, aggregation::OptionValue)>,
    ) -> Result<Resource<AggregatorHandle>, HostError> {
        let options: Vec<_> = options
            .into_iter()
            .map(|(name, value)| {
                let value = match value {
                    aggregation::OptionValue::Number(number) => OptionValue::Number(number),
                    aggregation::OptionValue::Text(text) => OptionValue::Text(text),
                    aggregation::OptionValue::Flag(flag) => OptionValue::Flag(flag),
                };
                (name, value)
            })
            .collect();
        self.push_aggregator(&rule, options)
    }

    fn from_job(&mut self) -> Result<Resource<AggregatorHandle>, HostError> {
        let optimizer = self.spec.optimizer.clone();
        self.push_aggregator(&optimizer.rule, optimizer.options)
    }

    fn begin(
        &mut self,
        aggregator: Resource<AggregatorHandle>,
        base: Resource<ModelHandle>,
        extra: Extra,
    ) -> Result<(), HostError> {
        // The round keeps the base and its second models, also where the guest lets go of them.
        let mut charges = self.charges_of(&[&base])?;
        let given = self.charges_of(&extra.iter().map(|(_, model)| model).collect::<Vec<_>>())?;
        let base = self.table.get(&base)?.snapshot();
        let extra = self.snapshots(&extra)?;
        let handle = self.table.get_mut(&aggregator)?;
        charges.push(self.quota.charge(handle.appetite.of_round(&base))?);
        handle.aggregator.begin(&base, &extra)?;
        handle.round = charges;
        handle.given = given;
        Ok(())
    }

    fn add(
        &mut self,
        aggregator: Resource<AggregatorHandle>,
        update: Resource<ModelHandle>,
        about: aggregation::Contribution,
        base: Option<Resource<ModelHandle>>,
        extra: Extra,
    ) -> Result<(), HostError> {
        let charges = self.charges_of(&models_of(&update, base.as_ref(), &extra))?;
        let update = self.table.get(&update)?.snapshot();
        let base = base.map(|base| Ok::<_, HostError>(self.table.get(&base)?.snapshot())).transpose()?;
        let extra = self.snapshots(&extra)?;
        let about = Contribution {
            source: about.source,
            form: form(about.form),
            samples: about.samples,
            staleness: about.staleness,
            metrics: metrics(about.metrics),
        };
        let handle = self.table.get_mut(&aggregator)?;
        handle.aggregator.add(&update, &about, base.as_ref(), &extra)?;
        if handle.appetite.holds {
            handle.round.extend(charges);
        }
        Ok(())
    }

    fn finish(&mut self, aggregator: Resource<AggregatorHandle>) -> Result<aggregation::Outcome, HostError> {
        let quota = std::sync::Arc::clone(&self.quota);
        let handle = self.table.get_mut(&aggregator)?;
        let outcome = handle.aggregator.finish()?;
        handle.round.clear();
        let privacy = handle.aggregator.privacy();
        let kept = handle.aggregator.save().iter().map(|(_, model)| model.byte_size()).sum::<u64>();
        handle.state = None;
        if kept > 0 {
            // It is there already: a guest that cannot pay for it ends.
            handle.state = Some(quota.charge(kept).map_err(|over| HostError::Trap(over.into()))?);
        }
        let model = self.own_model(outcome.model)?;
        let model = self.push(model)?;
        let mut extra = Vec::with_capacity(outcome.extra.len());
        for (name, model) in outcome.extra {
            let model = self.own_model(model)?;
            extra.push((name, self.push(model)?));
        }
        for warning in &outcome.warnings {
            self.log.host(Level::Warn, crate::printable(warning));
        }
        let mut metrics = outcome.metrics;
        if let Some(spent) = privacy {
            // No client's word for what the host knows.
            metrics.retain(|metric| !metric.name.starts_with(PRIVACY));
            let clip = Metric { name: format!("{PRIVACY}clip"), value: spent.clip };
            let epsilon = spent.epsilon.map(|value| Metric { name: format!("{PRIVACY}epsilon"), value });
            metrics.extend([clip].into_iter().chain(epsilon));
        }
        let metrics = guest_metrics(metrics);
        Ok(aggregation::Outcome { model, extra, accepted: outcome.accepted, samples: outcome.samples, metrics })
    }

    fn drop(&mut self, aggregator: Resource<AggregatorHandle>) -> wasmtime::Result<()> {
        self.delete(aggregator)?;
        Ok(())
    }
}
