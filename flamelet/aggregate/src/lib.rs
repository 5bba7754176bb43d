//! Federated aggregation in the host: rules by name, over models, one update at a time.
//!
//! [`Aggregator`] checks whatever comes in (layout, finiteness, weights, order of calls) around a [`Rule`], which does the
//! arithmetic, and does what is common to all rules: clipping and noise ([`privacy`]), the cap on one client's weight. A streaming
//! rule keeps one accumulator, whatever the number of updates; updates are read where they lie and never copied. The result
//! depends on the updates and the order of [`Aggregator::add`] alone, to the bit, and with the option `deterministic` not on the
//! order either. The number of threads changes nothing.
//!
//! Pure: no I/O, no clock, and no randomness but the noise that an option asks for. A refused update leaves the round as it was.
//! Nothing that is not a finite number ever gets into a model or into a rule's state.
//!
//! ```
//! use flame_aggregate::{Aggregator, Contribution, OptionValue};
//! use flame_model::{Form, Model, Tensor};
//!
//! let model = |x| -> Model { [("w", Tensor::from_f32(&[1], &[x]).unwrap())].into_iter().collect() };
//! let about = |source: &str, samples| Contribution {
//!     source: source.into(), form: Form::Full, samples, staleness: 0, metrics: Vec::new(),
//! };
//! let mut rule = Aggregator::create("fedavg", &[("deterministic".into(), OptionValue::Flag(true))])?;
//! rule.begin(&model(0.0), &[])?;
//! rule.add(&model(1.0), &about("a", 10), None, &[])?;
//! rule.add(&model(5.0), &about("b", 30), None, &[])?;
//! assert_eq!(rule.finish()?.model, model(4.0));
//! # Ok::<(), flame_aggregate::AggregateError>(())
//! ```

mod accumulator;
mod aggregator;
mod columns;
mod distances;
mod error;
mod fixed;
mod held;
mod kernels;
mod metrics;
mod network;
mod numerics;
mod options;
mod parallel;
pub mod privacy;
mod reading;
pub mod robust;
mod rule;
mod rules;
mod share;
mod tally;
mod wide;

pub use aggregator::{Aggregator, Contribution, MAX_SAMPLES, Outcome, Refused};
pub use error::AggregateError;
pub use options::{OptionInfo, OptionValue, Options, common_options};
pub use privacy::PrivacySpent;
pub use rule::{Closing, Finished, Rule, RuleInfo, Update};
pub use rules::{rule_info, rules};
