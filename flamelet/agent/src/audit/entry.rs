//! What an audit log tells, one entry a line.

use flame_sandbox::{Departure, Route, Usage};
use serde::{Deserialize, Serialize};

/// Ends that an entry names.
const MAX_ENDS: usize = 32;
/// Characters of foreign text in an entry.
const MAX_TEXT: usize = 1_000;

/// An entry: when, of which task, and what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// Counts up from 1.
    pub(crate) seq: u64,
    /// UTC.
    pub(crate) time: jiff::Timestamp,
    /// The task.
    pub(crate) task: String,
    /// Its attempt; 0 before it had one.
    pub(crate) attempt: u32,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(crate) enum Event {
    /// Code was taken up.
    Started {
        job: String,
        role: String,
        /// SHA-256 of the component.
        code: String,
        /// Who signed it, as the control plane says; checked where the policy requires a signer.
        signers: Vec<String>,
        /// The effective grant.
        grant: serde_json::Value,
    },
    /// A task was not run.
    Refused { reason: String },
    /// Something left.
    Left(Left),
    /// The code is over.
    Ended {
        outcome: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// What it used.
    Used { usage: serde_json::Value },
}

/// Something that left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Left {
    /// `channel`, `result` or `metrics`.
    pub(crate) by: String,
    /// Name of the channel or the result.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// To whom; `all` of the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) to: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    pub(crate) round: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) form: String,
    pub(crate) samples: u64,
    /// Bytes by what they are.
    pub(crate) weights: u64,
    pub(crate) metrics: u64,
    pub(crate) body: u64,
    /// L2 norm of the update as the code made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) norm: Option<f64>,
    /// The same as it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) norm_sent: Option<f64>,
    /// BLAKE3 of what left: models in safetensors layout, metrics and body.
    pub(crate) blake3: String,
}

impl Left {
    pub(crate) fn of(departure: &Departure<'_>) -> Self {
        let (by, name, to) = match departure.route {
            Route::Channel(name, None) => ("channel", name, vec!["all".to_owned()]),
            Route::Channel(name, Some(ends)) => {
                ("channel", name, ends.iter().take(MAX_ENDS).map(ToString::to_string).collect())
            }
            Route::Result(name) => ("result", name, Vec::new()),
            Route::Metrics => ("metrics", "", Vec::new()),
        };
        Self {
            by: by.to_owned(),
            name: short(name),
            to,
            kind: short(departure.kind),
            round: departure.round,
            form: departure.form.to_owned(),
            samples: departure.samples,
            weights: departure.weights,
            metrics: departure.metrics,
            body: departure.body,
            norm: departure.norm.filter(|norm| norm.is_finite()),
            norm_sent: departure.norm_sent.filter(|norm| norm.is_finite()),
            blake3: hex::encode(departure.blake3),
        }
    }
}

/// Foreign text, bounded.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// What a task used, as the log keeps it.
pub(crate) fn used(usage: &Usage) -> Event {
    let usage = serde_json::json!({
        "memory": usage.memory,
        "tableElements": usage.table_elements,
        "tensorBytes": usage.tensor_bytes,
        "handles": usage.handles,
        "cpuSeconds": usage.cpu.as_secs_f64(),
        "wallSeconds": usage.wall.as_secs_f64(),
        "rounds": usage.rounds,
        "weightsOut": usage.weights_out,
        "metricsOut": usage.metrics_out,
        "bodyOut": usage.body_out,
        "artifactBytes": usage.artifact_bytes,
        "logLinesDropped": usage.log_lines_dropped,
        "metricsRefused": usage.metrics_refused,
    });
    Event::Used { usage }
}
