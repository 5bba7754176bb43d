//! Why an aggregation was refused.

use flame_model::ModelError;

/// What a caller did wrong, or what an update holds. None of them changes a round, but for [`AggregateError::NotFinite`] and
/// [`AggregateError::Memory`] from `finish`, which end it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// No rule of this name.
    #[error("unknown aggregation rule {rule:?}; known: {}", known.join(", "))]
    UnknownRule {
        /// What was asked for.
        rule: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The rule has no such option.
    #[error("rule {rule} has no option {option:?}; {}", known_options(known))]
    UnknownOption {
        /// The rule.
        rule: &'static str,
        /// What was given.
        option: String,
        /// What it has.
        known: Vec<&'static str>,
    },
    /// An option, a weight or a call outside its documented range or order.
    #[error("{0}")]
    InvalidArgument(String),
    /// An update, base or second model that does not match the round's base; names the first tensor that differs.
    #[error("{what} does not match the round's base model: {difference}")]
    ShapeMismatch {
        /// What does not match.
        what: String,
        /// How.
        difference: String,
    },
    /// NaN or infinity.
    #[error("{what}: tensor {tensor:?} holds NaN or infinity")]
    NotFinite {
        /// Where.
        what: String,
        /// The first tensor that does.
        tensor: String,
    },
    /// Fewer updates than the rule needs; the round stays open.
    #[error("{rule} needs {needed} updates and has {found}")]
    NotEnough {
        /// The rule.
        rule: &'static str,
        /// How many it needs.
        needed: u64,
        /// How many were accepted.
        found: u64,
    },
    /// One more round would pass the job's privacy budget; no round was begun, and none will be.
    #[error(
        "the privacy budget is spent: one more round would reach epsilon {next:.4} at delta {delta:e}, above the budget of {budget}"
    )]
    BudgetSpent {
        /// ε after one more round.
        next: f64,
        /// The job's `epsilon`.
        budget: f64,
        /// The job's `delta`.
        delta: f64,
    },
    /// The host cannot give the memory for an accumulator or a state.
    #[error(transparent)]
    Memory(ModelError),
}

impl AggregateError {
    /// Turns a failed comparison of layouts into an error that says what was compared.
    pub(crate) fn layout(what: impl Into<String>, error: ModelError) -> Self {
        match error {
            ModelError::ShapeMismatch(difference) => Self::ShapeMismatch { what: what.into(), difference },
            other => Self::Memory(other),
        }
    }
}

fn known_options(known: &[&'static str]) -> String {
    if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) }
}
