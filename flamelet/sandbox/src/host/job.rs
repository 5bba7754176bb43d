//! `flame:worker/job`: what the job says to this task, and what the task keeps.

use std::collections::BTreeMap;

use flame_model::{Form, Metric, safetensors};
use wasmtime::component::Resource;

use super::channels::metrics;
use crate::Route;
use crate::bindings::flame::worker::job::{self as types_of_job, Host};
use crate::bindings::flame::worker::types;
use crate::checkpoint::{Checkpoint, CheckpointFile, SavedAggregator};
use crate::error::HostError;
use crate::gate::{self, Leaving};
use crate::state::{AggregatorHandle, HostState, ModelHandle};

/// Metrics that one call may record.
const MAX_METRICS: usize = 1_000;
/// What the host measures itself: messages as they travelled and, where the job compresses them, as they were before and
/// are after it.
const BYTES: [&str; 4] = ["bytesSent", "bytesReceived", "rawBytesSent", "rawBytesReceived"];

impl HostState {
    fn checkpoint_file(&self) -> Result<CheckpointFile, HostError> {
        let folder = self.spec.state_dir.as_deref().ok_or_else(|| {
            HostError::not_permitted("this flamelet keeps no checkpoints (--state-dir); a restarted task begins anew")
        })?;
        Ok(CheckpointFile::new(folder, &self.spec.task))
    }

    /// What an earlier run of the task kept; empty where it kept nothing. Read once. The file's own storage is charged to nobody
    /// before the guest takes a handle to it: it is bounded by the grant's checkpoint bytes.
    pub(crate) fn resumed(&mut self) -> Result<&Checkpoint, HostError> {
        if self.resumed.is_none() {
            let found = match self.checkpoint_file() {
                Ok(file) => file.read(self.spec.limits.checkpoint_bytes).map_err(|reason| {
                    types::Error::Internal(format!(
                        "the task's checkpoint cannot be used: {reason}; remove it from the flamelet's --state-dir to begin anew"
                    ))
                })?,
                Err(_) => None,
            };
            self.resumed = Some(found.unwrap_or_default());
        }
        Ok(self.resumed.get_or_insert_default())
    }

    /// Bytes of messages since the last record, on all channels.
    fn bytes_since_last_time(&mut self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut now = [0; BYTES.len()];
        for channel in self.channels.values() {
            let stats = channel.stats();
            let more = [stats.bytes_out, stats.bytes_in, stats.raw_bytes_out, stats.raw_bytes_in];
            for (sum, more) in now.iter_mut().zip(more) {
                *sum += more;
            }
        }
        let before = std::mem::replace(&mut self.reported_bytes, now);
        let plain = self.spec.channels.iter().all(|spec| spec.config.encoding.is_plain());
        let differences = now.into_iter().zip(before).map(|(now, before)| now - before);
        BYTES.into_iter().zip(differences).take(if plain { 2 } else { 4 })
    }
}

impl Host for HostState {
    fn task_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.spec.task.to_string())
    }

    fn role(&mut self) -> wasmtime::Result<String> {
        Ok(self.spec.role.clone())
    }

    fn channels(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.spec.channels.iter().map(|spec| spec.config.name.clone()).collect())
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.spec.attempt)
    }

    fn hyperparameter(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let found = self.spec.hyperparameters.iter().find(|(name, _)| *name == key);
        Ok(found.map(|(_, value)| value.clone()))
    }

    fn optimizer(&mut self) -> wasmtime::Result<String> {
        Ok(self.spec.optimizer.to_json())
    }

    fn selector(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.spec.selector.clone())
    }

    fn evaluation_data(&mut self) -> wasmtime::Result<Option<String>> {
        let named = self.spec.evaluation_data.as_deref();
        Ok(named.filter(|name| self.spec.datasets.iter().any(|set| set.name() == *name)).map(ToOwned::to_owned))
    }

    fn base_model(&mut self) -> Result<Option<Resource<ModelHandle>>, HostError> {
        // A job that names a base model is refused at its creation as long as there is no registry to take it from.
        Ok(None)
    }

    fn should_stop(&mut self) -> wasmtime::Result<bool> {
        Ok(self.spec.stop.is_cancelled())
    }

    fn seed(&mut self) -> wasmtime::Result<u64> {
        Ok(self.spec.seed)
    }

    fn checkpoint_save(
        &mut self,
        round: u64,
        state: Vec<u8>,
        models: Vec<(String, Resource<ModelHandle>)>,
        aggregators: Vec<Resource<AggregatorHandle>>,
    ) -> Result<(), HostError> {
        let file = self.checkpoint_file()?;
        let metrics = self.spec.sink.unstored_metrics();
        let mut checkpoint = Checkpoint { round, state, metrics, ..Checkpoint::default() };
        for (name, model) in models {
            checkpoint.models.push((name, self.table.get(&model)?.snapshot()));
        }
        for aggregator in aggregators {
            let handle = self.table.get(&aggregator)?;
            checkpoint.aggregators.push(SavedAggregator {
                number: handle.number,
                rule: handle.aggregator.rule().name.to_owned(),
                state: handle.aggregator.save(),
            });
        }
        let (need, limit) = (checkpoint.bytes(), self.spec.limits.checkpoint_bytes);
        if need > limit {
            return Err(HostError::limit(format!(
                "checkpoint: {need} bytes are to be kept and the grant has {limit} (limits.checkpoint-bytes in policy.toml)"
            )));
        }
        // The guest has a thread of its own, which may wait for the disk.
        file.write(&checkpoint)
            .map_err(|error| types::Error::Unavailable(format!("the checkpoint could not be written: {error}")).into())
    }

    async fn checkpoint_load(&mut self) -> Result<Option<types_of_job::Checkpoint>, HostError> {
        if self.spec.state_dir.is_none() {
            return Ok(None);
        }
        self.resumed()?;
        let unstored = self.resumed.as_mut().map(|kept| std::mem::take(&mut kept.metrics));
        // They have passed the gate when they were taken; that the results have some of them already does no harm.
        for (round, values) in unstored.unwrap_or_default() {
            let stored = self.spec.sink.metrics(round, values).await;
            stored.map_err(|error| HostError::from(types::Error::Unavailable(error.to_string())))?;
        }
        let Checkpoint { round, state, models, .. } = self.resumed()?.clone();
        if round == 0 && state.is_empty() && models.is_empty() {
            return Ok(None);
        }
        let mut handles = Vec::with_capacity(models.len());
        for (name, model) in models {
            let model = self.own_model(model)?;
            handles.push((name, self.push(model)?));
        }
        Ok(Some(types_of_job::Checkpoint { round, state, models: handles }))
    }

    async fn publish_model(&mut self, name: String, value: Resource<ModelHandle>) -> Result<(), HostError> {
        let valid =
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !valid || name.starts_with('.') {
            return Err(HostError::invalid(
                "a published model's name has 1 to 64 letters, digits, dots, underscores and hyphens",
            ));
        }
        let model = self.table.get(&value)?.snapshot();
        let (base, counted_as) = match self.base_of_published(&model) {
            Some((base, of)) => (Some(base), of),
            None if self.changes_models() => {
                return Err(HostError::not_permitted(
                    "a model is published only with the layout of one that this task received, against which it is \
                     filtered (egress.clip, egress.noise and egress.rounding in policy.toml)",
                ));
            }
            None => (None, name.clone()),
        };
        // Of all the data that was granted: the guest has no word in it.
        let samples = self.spec.datasets.iter().map(|set| set.rows()).sum();
        let bytes = gate::Bytes { weights: gate::model_bytes(&model), metrics: 0, body: name.len() as u64 };
        let models = vec![(counted_as, model)];
        let cleared = self.clear(Leaving { form: Form::Full, base, samples, models, body: &[], bytes })?;
        let Some((_, model)) = cleared.models.first() else { return Ok(()) };
        let file = safetensors::to_bytes(model, &BTreeMap::new());
        let published = self.published.saturating_add(file.len() as u64);
        if published > self.spec.limits.artifact_bytes {
            return Err(HostError::limit(format!(
                "artefacts: {} bytes are published, {} more are to be and the grant has {} (limits.artifact-bytes in \
                 policy.toml)",
                self.published,
                file.len(),
                self.spec.limits.artifact_bytes
            )));
        }
        self.record(&cleared, Route::Result(&name), "", 0, || blake3::hash(&file).into())?;
        let stored = self.spec.sink.publish(&name, file.into()).await;
        stored.map_err(|error| HostError::from(types::Error::Unavailable(error.to_string())))?;
        self.published = published;
        self.gate.book(cleared);
        Ok(())
    }

    async fn record_metrics(&mut self, round: u64, values: Vec<types::Metric>) -> Result<(), HostError> {
        if values.len() > MAX_METRICS {
            return Err(HostError::limit(format!(
                "{MAX_METRICS} metrics can be recorded at once, not {}",
                values.len()
            )));
        }
        if !self.metrics_rate.take() {
            self.metrics_refused += 1;
            return Err(HostError::limit(format!(
                "metrics: the guest records more often than its grant has, which is {} a second in the long run \
                 (limits.metrics in policy.toml)",
                self.spec.limits.metrics_per_second
            )));
        }
        let mut values: Vec<Metric> = metrics(values);
        values.retain(|metric| metric.value.is_finite());
        for metric in &mut values {
            metric.name = crate::printable(&metric.name).chars().take(64).collect();
        }
        let bytes = gate::Bytes { weights: 0, metrics: gate::metrics_bytes(&values) + 8, body: 0 };
        let cleared =
            self.clear(Leaving { form: Form::State, base: None, samples: 0, models: Vec::new(), body: &[], bytes })?;
        self.record(&cleared, Route::Metrics, "", round, || gate::digest(&[], &values, &[]))?;
        for (name, bytes) in self.bytes_since_last_time() {
            values.retain(|metric| metric.name != name);
            #[expect(clippy::cast_precision_loss, reason = "bytes of a round are far below 2^53")]
            values.push(Metric { name: name.into(), value: bytes as f64 });
        }
        let stored = self.spec.sink.metrics(round, values).await;
        stored.map_err(|error| HostError::from(types::Error::Unavailable(error.to_string())))?;
        self.gate.book(cleared);
        Ok(())
    }
}
