//! What the sandbox tells of everything that leaves a task.

use std::fmt;

use flame_model::EndId;

/// By which way something leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// A message on a channel, to these ends; none: to all of the group.
    Channel(&'a str, Option<&'a [EndId]>),
    /// A model as a result of the job, by its name.
    Result(&'a str),
    /// A round's metrics as results of the job.
    Metrics,
}

/// Something that leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Departure<'a> {
    /// Where to.
    pub route: Route<'a>,
    /// A message's kind.
    pub kind: &'a str,
    /// The guest's round.
    pub round: u64,
    /// `state`, `full`, `delta` or `partial-sum`; empty without a model.
    pub form: &'a str,
    /// The guest's word for the samples, after the cap.
    pub samples: u64,
    /// Bytes of models, names and shapes of their tensors included.
    pub weights: u64,
    /// Bytes of metrics.
    pub metrics: u64,
    /// Bytes of body and kind, and 16 for a message's round and samples.
    pub body: u64,
    /// L2 norm of the update as the guest made it, where its base is held or it is a difference; over all models of the
    /// message.
    pub norm: Option<f64>,
    /// The same as it leaves.
    pub norm_sent: Option<f64>,
    /// BLAKE3 of what leaves: models in safetensors layout, metrics and body.
    pub blake3: [u8; 32],
}

/// Keeps a record of departures.
pub trait Auditor: Send + Sync + fmt::Debug {
    /// Called before something leaves, on the guest's thread; what cannot be recorded does not leave. What is recorded may
    /// still stay, where a channel or the sink takes it not: the guest hears of that and may try again.
    fn departs(&self, departure: &Departure<'_>) -> Result<(), String>;
}
