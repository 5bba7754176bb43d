//! `flame:worker/aggregation`: federated rules in the host.

use flame_aggregate::{Aggregator, Contribution, OptionValue};
use flame_model::Model;
use wasmtime::component::Resource;

use super::channels::{form, guest_metrics, metrics};
use crate::bindings::flame::worker::aggregation::{self, Host, HostAggregator};
use crate::error::HostError;
use crate::state::{AggregatorHandle, HostState, ModelHandle};

type Extra = Vec<(String, Resource<ModelHandle>)>;

impl HostState {
    fn snapshots(&self, models: &Extra) -> Result<Vec<(String, Model)>, HostError> {
        models.iter().map(|(name, model)| Ok((name.clone(), self.table.get(model)?.snapshot()))).collect()
    }

    fn push_aggregator(
        &mut self,
        rule: &str,
        options: &[(String, OptionValue)],
    ) -> Result<Resource<AggregatorHandle>, HostError> {
        let aggregator = Aggregator::create(rule, options)?;
        self.push(AggregatorHandle { aggregator, round: None, state: None })
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
        self.push_aggregator(&rule, &options)
    }

    fn from_job(&mut self) -> Result<Resource<AggregatorHandle>, HostError> {
        let optimizer = self.spec.optimizer.clone();
        self.push_aggregator(&optimizer.rule, &optimizer.options)
    }

    fn begin(
        &mut self,
        aggregator: Resource<AggregatorHandle>,
        base: Resource<ModelHandle>,
        extra: Extra,
    ) -> Result<(), HostError> {
        let base = self.table.get(&base)?.snapshot();
        let extra = self.snapshots(&extra)?;
        // The accumulator, which is of a wider type where the base is of a narrow one.
        let charge = self.quota.charge(base.byte_size().saturating_mul(2))?;
        let handle = self.table.get_mut(&aggregator)?;
        handle.aggregator.begin(&base, &extra)?;
        handle.round = Some(charge);
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
        Ok(self.table.get_mut(&aggregator)?.aggregator.add(&update, &about, base.as_ref(), &extra)?)
    }

    fn finish(&mut self, aggregator: Resource<AggregatorHandle>) -> Result<aggregation::Outcome, HostError> {
        let quota = std::sync::Arc::clone(&self.quota);
        let handle = self.table.get_mut(&aggregator)?;
        let outcome = handle.aggregator.finish()?;
        handle.round = None;
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
        let metrics = guest_metrics(outcome.metrics.clone());
        Ok(aggregation::Outcome { model, extra, accepted: outcome.accepted, samples: outcome.samples, metrics })
    }

    fn drop(&mut self, aggregator: Resource<AggregatorHandle>) -> wasmtime::Result<()> {
        self.delete(aggregator)?;
        Ok(())
    }
}
