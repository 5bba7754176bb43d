//! `flame:worker/job`: what the job says to this task, and what the task keeps.

use std::collections::BTreeMap;

use flame_model::{Metric, safetensors};
use wasmtime::component::Resource;

use super::channels::metrics;
use crate::bindings::flame::worker::job::{Checkpoint, Host};
use crate::bindings::flame::worker::types;
use crate::error::HostError;
use crate::state::{AggregatorHandle, HostState, ModelHandle};

/// Metrics that one call may record.
const MAX_METRICS: usize = 1_000;
/// What the host measures itself: messages as they travelled and, where the job compresses them, as they were before and
/// are after it.
const BYTES: [&str; 4] = ["bytesSent", "bytesReceived", "rawBytesSent", "rawBytesReceived"];

impl HostState {
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
        _round: u64,
        _state: Vec<u8>,
        _models: Vec<(String, Resource<ModelHandle>)>,
        _aggregators: Vec<Resource<AggregatorHandle>>,
    ) -> Result<(), HostError> {
        Err(HostError::not_permitted("this flamelet keeps no checkpoints; a restarted task begins at its peers' round"))
    }

    fn checkpoint_load(&mut self) -> Result<Option<Checkpoint>, HostError> {
        Ok(None)
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
        if !model.all_finite() {
            return Err(
                types::Error::NotFinite(format!("model `{name}` has NaN or infinity and is not published")).into()
            );
        }
        let file = safetensors::to_bytes(&model, &BTreeMap::new());
        let stored = self.spec.sink.publish(&name, file.into()).await;
        stored.map_err(|error| types::Error::Unavailable(error.to_string()).into())
    }

    async fn record_metrics(&mut self, round: u64, values: Vec<types::Metric>) -> Result<(), HostError> {
        if values.len() > MAX_METRICS {
            return Err(HostError::limit(format!(
                "{MAX_METRICS} metrics can be recorded at once, not {}",
                values.len()
            )));
        }
        let mut values: Vec<Metric> = metrics(values);
        values.retain(|metric| metric.value.is_finite());
        for metric in &mut values {
            metric.name = crate::printable(&metric.name).chars().take(64).collect();
        }
        for (name, bytes) in self.bytes_since_last_time() {
            values.retain(|metric| metric.name != name);
            #[expect(clippy::cast_precision_loss, reason = "bytes of a round are far below 2^53")]
            values.push(Metric { name: name.into(), value: bytes as f64 });
        }
        let stored = self.spec.sink.metrics(round, values).await;
        stored.map_err(|error| types::Error::Unavailable(error.to_string()).into())
    }
}
