//! Federated aggregation in the host: rules by name, over models, one update at a time.
//!
//! [`Aggregator`] checks whatever comes in (layout, finiteness, weights, order of calls) around a [`Rule`], which does the
//! arithmetic. A streaming rule keeps one accumulator, whatever the number of updates; updates are read where they lie and
//! never copied. The result depends on the updates and the order of [`Aggregator::add`] alone, to the bit.
//!
//! Pure: no I/O, no clock, no randomness, no threads. A refused update leaves the round as it was. Nothing that is not a
//! finite number ever gets into a model or into a rule's state.

mod accumulator;
mod aggregator;
mod error;
mod kernels;
mod metrics;
mod options;
mod rule;
mod rules;
mod wide;

pub use accumulator::{Accumulator, SumOf};
pub use aggregator::{Aggregator, Contribution, MAX_SAMPLES, Outcome};
pub use error::AggregateError;
pub use options::{OptionInfo, OptionValue, Options};
pub use rule::{Finished, Rule, RuleInfo, Update};
pub use rules::{rule_info, rules};
