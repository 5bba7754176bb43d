//! What a policy file looks like. `docs/policy.md` says it with examples, `docs/policy.schema.json` for editors.

use schemars::JsonSchema;
use serde::Deserialize;

use super::units::{Bytes, Span};

/// A participant's policy. What is left out has the flamelet's default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "Policy of a flamelet")]
pub(crate) struct PolicyFile {
    /// Public keys, as `flamectl keygen` prints them, of whom one must have signed the code. Default: nobody has to.
    pub(crate) signers: Vec<String>,
    /// Names of the data sets that a task may open, of those given by --data. Default: all of them.
    pub(crate) data: Option<Vec<String>>,
    /// What a task may use.
    pub(crate) limits: LimitsFile,
    /// What may leave, and what is done to it first.
    pub(crate) egress: EgressFile,
}

/// Upper bounds for one task. A job may ask for less; one that asks for more is refused.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct LimitsFile {
    /// Guest memory, summed over all memories. Default 1 GiB.
    pub(crate) memory: Option<Bytes>,
    /// Table elements, summed over all tables. Default 100,000.
    pub(crate) table_elements: Option<usize>,
    /// Live handles of the guest. Default 10,000.
    pub(crate) handles: Option<usize>,
    /// Tensors on the host that the guest holds. Default 4 GiB.
    pub(crate) tensor_bytes: Option<Bytes>,
    /// What one host call may carry. Default 128 MiB.
    pub(crate) call_bytes: Option<Bytes>,
    /// CPU time of the guest. Defaults: call 10m, round 2h, task 24h.
    pub(crate) cpu: TimesFile,
    /// Wall time, waits included. Defaults: call 20m, round 12h, task 24h.
    pub(crate) wall: TimesFile,
    /// From the stop of a job until a guest that did not return is ended. Default 5s.
    pub(crate) stop_grace: Option<Span>,
    /// Log lines per second in the long run. Default 200.
    pub(crate) log_lines: Option<u32>,
    /// Records of metrics per second in the long run. Default 50.
    pub(crate) metrics: Option<u32>,
    /// Models published as results of the job, in all. Default 16 GiB.
    pub(crate) artifact_bytes: Option<Bytes>,
    /// What a task keeps over its restarts. Default 4 GiB.
    pub(crate) checkpoint_bytes: Option<Bytes>,
    /// Messages that wait in the outbox of a channel. Default 256.
    pub(crate) queued_messages: Option<usize>,
}

/// Bounds of a time.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct TimesFile {
    /// Between two host calls.
    pub(crate) call: Option<Span>,
    /// Between two bases that the host received.
    pub(crate) round: Option<Span>,
    /// The whole task.
    pub(crate) task: Option<Span>,
}

/// What may leave.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct EgressFile {
    /// Channels that a task may use. Default: all that the schema gives to its role.
    pub(crate) channels: Option<Vec<String>>,
    /// Kinds of messages that it may send, such as "update". Default: any.
    pub(crate) kinds: Option<Vec<String>>,
    /// Whether messages may have a body, which the host cannot read. Default true.
    pub(crate) body: Option<bool>,
    /// Whether the guest's log lines leave. Default true.
    pub(crate) logs: Option<bool>,
    /// Bytes that may leave between two bases. Default: no bound.
    pub(crate) per_round: AllowanceFile,
    /// Bytes that may leave in all. Default: no bound.
    pub(crate) per_job: AllowanceFile,
    /// Largest L2 norm of an update; a larger one is scaled down. Default: no clipping.
    pub(crate) clip: Option<f64>,
    /// Standard deviation of Gaussian noise on every parameter. Default: none.
    pub(crate) noise: Option<f64>,
    /// Precision to which parameters are rounded. Default: none.
    pub(crate) rounding: Option<RoundingFile>,
    /// Fewest samples that a model may be of. Default: any number.
    pub(crate) min_samples: Option<u64>,
    /// Whether sums over several workers may leave. Default false where a filter is set.
    pub(crate) partial_sums: bool,
}

/// Bytes by what they are.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct AllowanceFile {
    /// Of models.
    pub(crate) weights: Option<Bytes>,
    /// Of metrics.
    pub(crate) metrics: Option<Bytes>,
    /// Of bodies and kinds of messages.
    pub(crate) body: Option<Bytes>,
}

/// A precision.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RoundingFile {
    /// IEEE half precision.
    F16,
    /// 255 steps a tensor.
    Int8,
}
