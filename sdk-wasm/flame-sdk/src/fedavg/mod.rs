//! The federated round loop, both sides of it.
//!
//! The aggregator sends "weights" to whom its selector names, collects "update"s and folds them in the host; the trainer answers each "weights" with an
//! "update" until "end-of-training". An end that comes back in the middle of a round is sent its weights again, so a participant that was
//! killed and restarted costs its own time and nothing else.

mod aggregator;
mod buffered;
mod clock;
mod cohort;
mod keeping;
mod ledger;
mod tally;
mod trainer;

pub(crate) use aggregator::run_aggregator;
pub(crate) use trainer::run_trainer;

use std::time::Duration;

/// The round's global model, to train on.
const WEIGHTS: &str = "weights";
/// What a trainer made of it.
const UPDATE: &str = "update";
/// A global model to measure and not to train on.
const EVALUATE: &str = "evaluate";
/// What a trainer measured.
const EVALUATION: &str = "evaluation";
/// Nothing more will come.
const END: &str = "end-of-training";

/// The name of the model in messages and among the job's results.
const MODEL: &str = "model";
/// The second model of a rule that its clients train from.
const BROADCAST: &str = "broadcast";
/// Before the names of metrics in an update that measure the received model.
const OF_RECEIVED: &str = "eval-";
/// In the metrics of "weights": rounds in all.
const ROUNDS: &str = "rounds";
/// In the metrics of "weights" of an asynchronous job: counts the questions, so that a model may be asked for twice.
const ASK: &str = "ask";
/// In the metrics of "weights": 1 where the trainers are to measure the received model.
const MEASURE: &str = "evaluate";

/// How often the last wait looks who is still here.
const LOOK: Duration = Duration::from_secs(1);
/// One wait on a channel. Long, for a loop that waits again: the host wakes a waiter at once when something happens or the job stops.
const ONE_WAIT: Duration = Duration::from_secs(30);
