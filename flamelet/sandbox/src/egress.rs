//! What of a task may leave, and what the host does to it first. The participant's word: no guest can go round it.

/// What may leave. The default lets everything leave as it is, as long as it is finite.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Egress {
    /// Channels that the task may join; none: all that the schema gives to its role.
    pub channels: Option<Vec<String>>,
    /// Kinds of messages that it may send; none: any.
    pub kinds: Option<Vec<String>>,
    /// Messages must have an empty body.
    pub no_body: bool,
    /// The guest's words stay here: log lines (which go to the flamelet's own log), the text of a failure, progress.
    pub no_logs: bool,
    /// Bytes that may leave between two bases that the host received, or before the first.
    pub per_round: Allowance,
    /// Bytes that may leave in all.
    pub per_job: Allowance,
    /// What is done to models.
    pub filters: Filters,
}

/// Bytes by what they are; none: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Of models, on channels and as results, as they were before any encoding, with the names and shapes of their
    /// tensors; once for a message to many ends.
    pub weights: Option<u64>,
    /// Of metrics in messages and records: names, and 8 bytes for each value and each record's round.
    pub metrics: Option<u64>,
    /// Of message bodies and kinds, 16 bytes for each message's round and samples, and the names of published models.
    pub body: Option<u64>,
}

/// What the host does to every model that leaves a task that has opened a data set: a message's model or a published one.
///
/// As soon as there is a filter, models leave such a task as `full` or `delta` only; as soon as filters change models, each
/// update names a base that the host received (and still holds: the two newest with models of a channel), has the names
/// and shapes of that base, and leaves once. A published model counts as `full` against the newest base that it fits.
/// Each model of a message is clipped by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filters {
    /// Largest L2 norm of the update, which is the difference from the round's received base: a larger one is scaled down.
    pub clip: Option<f64>,
    /// Standard deviation of the Gaussian noise that every parameter gets after clipping, from a cryptographic generator.
    pub noise: Option<f64>,
    /// Precision to which parameters are rounded last.
    pub rounding: Option<Rounding>,
    /// Fewest samples that a model may be of.
    pub min_samples: Option<u64>,
    /// Sums over several workers may leave, unfiltered, although nobody can clip one worker's share of them.
    pub partial_sums: bool,
}

impl Filters {
    /// Whether the numbers make sense; the text names the key that does not.
    pub fn check(&self) -> Result<(), String> {
        for (key, value) in [("clip", self.clip), ("noise", self.noise)] {
            if let Some(value) = value
                && !(value.is_finite() && value >= 0.0)
            {
                return Err(format!(
                    "egress.{key} in policy.toml is {value}, and must be a number that is not negative"
                ));
            }
        }
        Ok(())
    }

    /// Whether they change models.
    pub fn change_models(&self) -> bool {
        self.clip.is_some() || self.noise.is_some() || self.rounding.is_some()
    }
}

/// A precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// IEEE half precision.
    F16,
    /// 255 steps between the largest magnitude of a tensor and its negative.
    Int8,
}
