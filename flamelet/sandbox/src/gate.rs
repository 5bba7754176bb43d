//! Where everything that leaves a task passes: channels and kinds, allowances, filters, the auditor.
//!
//! A message, a published model and a record of metrics are *cleared* (refused, or filtered and counted), *recorded* with
//! the auditor, sent, and then *booked*. What did not leave is not booked, so that a guest may try again.
//!
//! No guest can go round it: a round begins when the host receives a message with models; an update names a base that
//! the host received and still holds; one filtered update leaves for each base and model name, since many noisy copies
//! of one update average to that update; names of models and tensors are the base's, since names can carry data as well
//! as weights can. Noise is never predictable, also not in deterministic mode: who knows the seed could take it off.

use std::collections::HashSet;

use flame_model::{BaseRef, Form, Metric, Model, safetensors};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::bindings::flame::worker::types::Error;
use crate::error::HostError;
use crate::filter::{self, FilterError, Filtered};
use crate::state::{HostState, ReceivedBase};
use crate::{Allowance, Departure, Egress, Route, TaskSpec};

/// Bytes of a metric beside its name.
const METRIC_BYTES: u64 = 8;
/// Bytes of a message's round and samples, which a guest chooses freely.
const MESSAGE_BYTES: u64 = 16;
/// Bytes of a dimension in a tensor's shape.
const DIMENSION_BYTES: u64 = 8;

/// Bytes that left, or are about to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Of models.
    pub(crate) weights: u64,
    /// Of metrics.
    pub(crate) metrics: u64,
    /// Of bodies and kinds.
    pub(crate) body: u64,
}

impl Bytes {
    fn plus(self, more: Self) -> Self {
        Self {
            weights: self.weights.saturating_add(more.weights),
            metrics: self.metrics.saturating_add(more.metrics),
            body: self.body.saturating_add(more.body),
        }
    }

    /// Whether `more` may leave beside what has left.
    fn check(self, more: Self, allowance: &Allowance, over: &str) -> Result<(), HostError> {
        let classes = [
            ("weights", self.weights, more.weights, allowance.weights),
            ("metrics", self.metrics, more.metrics, allowance.metrics),
            ("body", self.body, more.body, allowance.body),
        ];
        for (class, left, more, allowed) in classes {
            if let Some(allowed) = allowed
                && left.saturating_add(more) > allowed
            {
                return Err(HostError::limit(format!(
                    "{class}: {left} bytes have left in this {over}, {more} more are to leave and {allowed} may \
                     (egress.per-{over}.{class} in policy.toml)"
                )));
            }
        }
        Ok(())
    }
}

/// What a task has let out.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Whether the guest opened a data set.
    opened: bool,
    /// Whether one of those was not the job's evaluation data.
    opened_own: bool,
    round: Bytes,
    job: Bytes,
    /// Filtered updates that left: handles of bases and names of models.
    left: HashSet<(u64, String)>,
    noise: Option<ChaCha20Rng>,
}

/// Something that wants to leave.
#[derive(Debug)]
pub(crate) struct Leaving<'a> {
    pub(crate) form: Form,
    /// The handle of the base.
    pub(crate) base: Option<u64>,
    pub(crate) samples: u64,
    pub(crate) models: Vec<(String, Model)>,
    pub(crate) body: &'a [u8],
    pub(crate) bytes: Bytes,
}

/// What may leave, filtered.
#[derive(Debug)]
pub(crate) struct Cleared {
    pub(crate) models: Vec<(String, Model)>,
    pub(crate) samples: u64,
    /// The form; none without models.
    form: Option<Form>,
    norm: Option<f64>,
    norm_sent: Option<f64>,
    bytes: Bytes,
    updates: Vec<(u64, String)>,
}

impl Gate {
    /// The guest opened a data set.
    pub(crate) fn open(&mut self, name: &str, spec: &TaskSpec) {
        self.opened = true;
        self.opened_own |= spec.evaluation_data.as_deref() != Some(name);
    }

    /// The host received a base.
    pub(crate) fn begin_round(&mut self, known: impl Fn(u64) -> bool) {
        self.round = Bytes::default();
        self.left.retain(|(base, _)| known(*base));
    }

    /// What was cleared has left.
    pub(crate) fn book(&mut self, cleared: Cleared) {
        self.round = self.round.plus(cleared.bytes);
        self.job = self.job.plus(cleared.bytes);
        self.left.extend(cleared.updates);
    }

    /// All that left.
    pub(crate) fn total(&self) -> Bytes {
        self.job
    }

    /// Whether models of this task are filtered.
    fn filters(&self, egress: &Egress) -> bool {
        self.opened && (egress.filters.change_models() || egress.filters.min_samples.is_some())
    }

    fn noise(&mut self) -> Result<&mut ChaCha20Rng, HostError> {
        if self.noise.is_none() {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)
                .map_err(|error| Error::Internal(format!("the machine has no random numbers: {error}")))?;
            self.noise = Some(ChaCha20Rng::from_seed(seed));
        }
        self.noise.as_mut().ok_or_else(|| Error::Internal("no generator of noise".into()).into())
    }
}

/// Whether a task's host keeps the models of bases: for filters and for the norms that the auditor hears.
pub(crate) fn keeps_bases(spec: &TaskSpec) -> bool {
    !spec.datasets.is_empty() && (spec.egress.filters.change_models() || spec.auditor.is_some())
}

/// Bytes of a message.
pub(crate) fn message_bytes(kind: &str, models: &[(String, Model)], metrics: &[Metric], body: &[u8]) -> Bytes {
    Bytes {
        weights: models.iter().map(|(name, model)| len(name) + model_bytes(model)).sum(),
        metrics: metrics_bytes(metrics),
        body: len(kind) + body.len() as u64 + MESSAGE_BYTES,
    }
}

/// Bytes of a model: its elements, and the names and shapes of its tensors, which can carry data as well.
pub(crate) fn model_bytes(model: &Model) -> u64 {
    let about =
        |(name, tensor): (&str, &flame_model::Tensor)| len(name) + DIMENSION_BYTES * tensor.shape().len() as u64;
    model.byte_size() + model.iter().map(about).sum::<u64>()
}

/// Bytes of metrics.
pub(crate) fn metrics_bytes(metrics: &[Metric]) -> u64 {
    metrics.iter().map(|metric| len(&metric.name) + METRIC_BYTES).sum()
}

fn len(text: &str) -> u64 {
    text.len() as u64
}

/// BLAKE3 of models in safetensors layout, then metrics, then a body: several times as quick as SHA-256, which would take
/// longer than the network does.
pub(crate) fn digest(models: &[(String, Model)], metrics: &[Metric], body: &[u8]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    for (_, model) in models {
        safetensors::write_parts(model, &std::collections::BTreeMap::new(), |part| {
            hash.update(part);
        });
    }
    for metric in metrics {
        hash.update(metric.name.as_bytes());
        hash.update(&[0]);
        hash.update(&metric.value.to_le_bytes());
    }
    hash.update(body);
    hash.finalize().into()
}

impl HostState {
    /// Refuses what may not leave, and filters the rest.
    pub(crate) fn clear(&mut self, leaving: Leaving<'_>) -> Result<Cleared, HostError> {
        let spec = std::sync::Arc::clone(&self.spec);
        let egress = &spec.egress;
        if egress.no_body && !leaving.body.is_empty() {
            return Err(HostError::not_permitted("no message may have a body (egress.body in policy.toml)"));
        }
        for (name, model) in &leaving.models {
            if let Some(tensor) = model.first_not_finite() {
                let text = format!("tensor `{tensor}` of model `{name}` has NaN or infinity and does not leave");
                return Err(Error::NotFinite(text).into());
            }
        }
        let filters = self.gate.filters(egress);
        let mut samples = leaving.samples;
        if self.gate.opened_own || filters {
            samples = samples.min(spec.datasets.iter().map(|set| set.rows()).sum());
        }
        let form = (!leaving.models.is_empty()).then_some(leaving.form);
        let mut cleared = Cleared {
            models: Vec::with_capacity(leaving.models.len()),
            samples,
            form,
            norm: None,
            norm_sent: None,
            bytes: leaving.bytes,
            updates: Vec::new(),
        };
        self.gate.round.check(leaving.bytes, &egress.per_round, "round")?;
        self.gate.job.check(leaving.bytes, &egress.per_job, "job")?;
        match form {
            Some(form) if filters => self.filter(leaving, form, &mut cleared)?,
            Some(form) => {
                if spec.auditor.is_some() {
                    cleared.norm = self.plain_norm(&leaving, form);
                    cleared.norm_sent = cleared.norm;
                }
                cleared.models = leaving.models;
            }
            None => {}
        }
        Ok(cleared)
    }

    /// Tells the auditor; what it cannot record does not leave. The hash is made only if somebody wants it.
    pub(crate) fn record(
        &self,
        cleared: &Cleared,
        route: Route<'_>,
        kind: &str,
        round: u64,
        blake3: impl FnOnce() -> [u8; 32],
    ) -> Result<(), HostError> {
        let Some(auditor) = &self.spec.auditor else { return Ok(()) };
        let departure = Departure {
            route,
            kind,
            round,
            form: cleared.form.map_or("", Form::name),
            samples: cleared.samples,
            weights: cleared.bytes.weights,
            metrics: cleared.bytes.metrics,
            body: cleared.bytes.body,
            norm: cleared.norm,
            norm_sent: cleared.norm_sent,
            blake3: blake3(),
        };
        auditor.departs(&departure).map_err(|error| {
            Error::Unavailable(format!("it does not leave, because it cannot be recorded: {error}")).into()
        })
    }

    /// A model that is published is a full one, made from the newest base that it fits; refused where there is none.
    /// Answers the base's handle and the name of its model, under which the update counts.
    pub(crate) fn base_of_published(&self, model: &Model) -> Option<(u64, String)> {
        self.bases.iter().rev().find_map(|base| {
            let fits = base.models.iter().find(|(_, known)| known.same_layout(model).is_ok());
            fits.map(|(name, _)| (base.handle, name.clone()))
        })
    }

    /// Whether models that leave are held against their bases now.
    pub(crate) fn changes_models(&self) -> bool {
        self.gate.opened && self.spec.egress.filters.change_models()
    }

    fn filter(&mut self, leaving: Leaving<'_>, form: Form, cleared: &mut Cleared) -> Result<(), HostError> {
        let spec = std::sync::Arc::clone(&self.spec);
        let filters = &spec.egress.filters;
        match form {
            Form::Full | Form::Delta => {}
            Form::PartialSum if filters.partial_sums => {}
            Form::PartialSum => {
                return Err(HostError::not_permitted(
                    "a task that opened a data set sends no partial sums, in which nobody could clip its share \
                     (egress.partial-sums in policy.toml)",
                ));
            }
            Form::State => {
                return Err(HostError::not_permitted(
                    "a task that opened a data set sends models as `full` or `delta`, not as `state`, under this \
                     policy's filters (egress.clip, egress.noise, egress.rounding, egress.min-samples in policy.toml)",
                ));
            }
        }
        if let Some(least) = filters.min_samples
            && cleared.samples < least
        {
            return Err(Error::NotEnough(format!(
                "the model is of {} samples and at least {least} are needed (egress.min-samples in policy.toml)",
                cleared.samples
            ))
            .into());
        }
        if !filters.change_models() || form == Form::PartialSum {
            cleared.norm = self.plain_norm(&leaving, form);
            cleared.norm_sent = cleared.norm;
            cleared.models = leaving.models;
            return Ok(());
        }
        let handle = leaving.base.ok_or_else(|| {
            HostError::not_permitted(
                "the message names no base, and an update leaves only against one that this task received (egress.clip, \
                 egress.noise and egress.rounding in policy.toml)",
            )
        })?;
        let (mut sum, mut sum_sent) = (0.0, 0.0);
        for (name, model) in leaving.models {
            let update = (handle, name);
            if self.gate.left.contains(&update) || cleared.updates.contains(&update) {
                return Err(HostError::not_permitted(format!(
                    "an update of model `{}` from this base has left already: noise and rounding protect one copy, not \
                     many (egress.clip, egress.noise and egress.rounding in policy.toml)",
                    update.1
                )));
            }
            let base = self.held_base(handle, &update.1)?.clone();
            base.same_layout(&model).map_err(|error| {
                HostError::not_permitted(format!(
                    "model `{}` has another layout than the base that it names, whose tensor names and shapes an update \
                     keeps under this policy's filters: {error}",
                    update.1
                ))
            })?;
            let base = (form == Form::Full).then_some(&base);
            let filtered = filter::apply(&model, base, filters, self.gate.noise()?);
            let Filtered { model, norm, norm_sent } = filtered.map_err(|error| match error {
                FilterError::Model(error) => HostError::from(error),
                other => Error::NotFinite(format!("model `{}`: {other}", update.1)).into(),
            })?;
            sum += norm * norm;
            sum_sent += norm_sent * norm_sent;
            cleared.models.push((update.1.clone(), model));
            cleared.updates.push(update);
        }
        cleared.norm = Some(sum.sqrt());
        cleared.norm_sent = Some(sum_sent.sqrt());
        Ok(())
    }

    fn held_base(&self, handle: u64, name: &str) -> Result<&Model, HostError> {
        let base = self.bases.iter().find(|base| base.handle == handle);
        let base = base.filter(|base| !base.models.is_empty()).ok_or_else(|| {
            HostError::not_permitted(format!(
                "message {handle} cannot be the base of a filtered update: it had no models, or is not among the {} \
                 newest with models of its channel",
                crate::state::HELD_BASES
            ))
        })?;
        base.model(name).ok_or_else(|| {
            let known = base.models.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            HostError::not_permitted(format!(
                "the base has no model `{name}` (it has: {known}), and names of models are the base's under this \
                 policy's filters"
            ))
        })
    }

    /// The norm of unfiltered updates, where it can be known.
    fn plain_norm(&self, leaving: &Leaving<'_>, form: Form) -> Option<f64> {
        let mut sum = 0.0;
        for (name, model) in &leaving.models {
            let norm = match form {
                Form::Delta => model.norm_l2(),
                Form::Full => {
                    let held = self.bases.iter().find(|base| Some(base.handle) == leaving.base);
                    let base = held.and_then(|base| base.model(name))?;
                    base.same_layout(model).ok()?;
                    filter::update_norm(model, Some(base))
                }
                Form::State | Form::PartialSum => return None,
            };
            sum += norm * norm;
        }
        Some(sum.sqrt())
    }

    /// The base that a guest names, as its peers know it.
    pub(crate) fn base_ref(&self, handle: u64) -> Result<BaseRef, HostError> {
        let known = self.bases.iter().find(|base| base.handle == handle);
        known
            .map(|base: &ReceivedBase| BaseRef {
                sender: base.sender.clone(),
                message: base.message,
                round: base.round,
            })
            .ok_or_else(|| {
                HostError::invalid(format!(
                    "message {handle} was not received by this task, or too long ago to be a base"
                ))
            })
    }
}
