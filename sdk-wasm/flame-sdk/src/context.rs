//! What a role learns of its job and its task.

use std::ops::Deref;

use crate::aggregation::Aggregation;
use crate::bindings::flame::worker::job as host;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::hyper::{self, Hyper};
use crate::metrics::Metrics;
use crate::rng::Rng;
use crate::selector::{self, Selector};
use crate::tensor::Model;

/// The stream of randomness from which selectors draw: no round has this number.
const SELECTOR_STREAM: u64 = u64::MAX;

/// What a task kept for its restart.
#[derive(Debug)]
pub struct Checkpoint {
    /// The last round that is in it.
    pub round: u64,
    /// The worker's own words.
    pub state: Vec<u8>,
    /// Models by name.
    pub models: Vec<(String, Model)>,
}

/// A named algorithm and its options, as the host gives it.
#[derive(Debug, Default, serde::Deserialize)]
struct Choice {
    sort: String,
    #[serde(default)]
    kwargs: serde_json::Map<String, serde_json::Value>,
}

/// The job as this task sees it.
#[derive(Debug)]
pub struct Context {
    role: String,
    seed: u64,
}

impl Context {
    /// Asks the host. Workers get one from [`crate::worker!`].
    #[doc(hidden)]
    pub fn from_host() -> Self {
        Self { role: host::role(), seed: host::seed() }
    }

    /// The role that this task plays.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// This task's id.
    pub fn task_id(&self) -> String {
        host::task_id()
    }

    /// Names of this role's channels in the schema.
    pub fn channels(&self) -> Vec<String> {
        host::channels()
    }

    /// The 1-based attempt: above 1, the task was restarted.
    pub fn attempt(&self) -> u32 {
        host::attempt()
    }

    /// A hash of the job's seed, the role, the group and the index: the same in every run and every attempt.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Randomness for one purpose, such as a round's number; the same in every run and every attempt.
    pub fn rng(&self, stream: u64) -> Rng {
        Rng::for_stream(self.seed, stream)
    }

    /// Hyperparameter `key` of the job; an error names key, need and got.
    pub fn hyper<T: Hyper>(&self, key: &str) -> Result<T> {
        hyper::parse(key, &host::hyperparameter(key).ok_or_else(|| hyper::missing::<T>(key))?)
    }

    /// Hyperparameter `key` of the job, or `default` where the job does not name it. A value of the wrong type is an error still.
    pub fn hyper_or<T: Hyper>(&self, key: &str, default: T) -> Result<T> {
        host::hyperparameter(key).map_or(Ok(default), |text| hyper::parse(key, &text))
    }

    /// An option of the aggregation rule that the job names, if that is a number and given.
    pub fn rule_number(&self, option: &str) -> Result<Option<f64>> {
        let choice = serde_json::from_str::<Choice>(&host::optimizer())
            .map_err(|error| Error::InvalidArgument(format!("the job's optimizer: {error}")))?;
        let given = choice.kwargs.iter().find(|(name, _)| name.replace('_', "-") == option);
        Ok(given.and_then(|(_, value)| value.as_f64()))
    }

    /// The selector that the job names; one that asks everybody where it names none. Its randomness comes from the worker's seed.
    pub fn selector(&self) -> Result<Box<dyn Selector>> {
        let choice = match host::selector() {
            Some(text) => serde_json::from_str::<Choice>(&text)
                .map_err(|error| Error::InvalidArgument(format!("the job's selector: {error}")))?,
            None => Choice::default(),
        };
        selector::selector(&choice.sort, &choice.kwargs, self.rng(SELECTOR_STREAM).next_u64())
    }

    /// The data set that hyperparameter `dataset` names, or else the only one that the participant grants for training.
    pub fn dataset(&self) -> Result<Dataset> {
        let named: String = self.hyper_or("dataset", String::new())?;
        if !named.is_empty() {
            return Dataset::open(&named);
        }
        let evaluation = host::evaluation_data();
        let granted: Vec<String> =
            Dataset::names().into_iter().filter(|name| Some(name) != evaluation.as_ref()).collect();
        match granted.as_slice() {
            [only] => Dataset::open(only),
            [] => Err(Error::NotFound("a data set: none is granted; start flamelet with --data NAME=PATH".into())),
            several => Err(Error::NotFound(format!(
                "the data set: {several:?} are granted; say which by hyperparameter \"dataset\""
            ))),
        }
    }

    /// The data set that the job names for evaluation, where this task was granted it.
    pub fn evaluation_data(&self) -> Result<Option<Dataset>> {
        host::evaluation_data().map(|name| Dataset::open(&name)).transpose()
    }

    /// The base model that the job names, if any.
    pub fn base_model(&self) -> Result<Option<Model>> {
        Ok(host::base_model()?.map(Model))
    }

    /// [`Error::Stopped`] once the job is being stopped. Long computations ask now and then.
    pub fn check_stop(&self) -> Result<()> {
        if host::should_stop() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// What an earlier run of this task kept; none in the first run, and where the participant's host keeps nothing.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let found = host::checkpoint_load()?;
        Ok(found.map(|kept| Checkpoint {
            round: kept.round,
            state: kept.state,
            models: kept.models.into_iter().map(|(name, model)| (name, Model(model))).collect(),
        }))
    }

    /// Keeps a round's models, words of the worker's own and the aggregators' states for a restart, in one durable step. Aggregators
    /// that are made after a restart go on with their states, in the order in which they are made.
    pub fn keep(
        &self,
        round: u64,
        state: &[u8],
        models: &[(&str, &Model)],
        aggregations: &[&Aggregation],
    ) -> Result<()> {
        let models: Vec<_> = models.iter().map(|(name, model)| ((*name).to_owned(), &model.0)).collect();
        let aggregators: Vec<_> = aggregations.iter().map(|aggregation| &aggregation.0).collect();
        Ok(host::checkpoint_save(round, state, &models, &aggregators)?)
    }

    /// Publishes a model as a result of the job.
    pub fn publish_model(&self, name: &str, model: &Model) -> Result<()> {
        Ok(host::publish_model(name, &model.0)?)
    }

    /// Records a round's measurements as part of the job's results.
    pub fn record_metrics(&self, round: u64, metrics: &Metrics) -> Result<()> {
        Ok(host::record_metrics(round, &metrics.to_host())?)
    }
}

/// One round of a job; knows all that [`Context`] knows.
#[derive(Debug)]
pub struct Round<'a> {
    context: &'a Context,
    /// Second models that came with the round's.
    extras: Vec<(String, Model)>,
    /// The 1-based round.
    pub round: u64,
    /// Rounds in all.
    pub rounds: u64,
    /// What the aggregator configured for this round.
    pub settings: Metrics,
}

impl<'a> Round<'a> {
    pub(crate) fn new(context: &'a Context, round: u64, rounds: u64, settings: Metrics) -> Self {
        Self { context, extras: Vec::new(), round, rounds, settings }
    }

    pub(crate) fn with_extras(self, extras: Vec<(String, Model)>) -> Self {
        Self { extras, ..self }
    }

    /// A second model that came with the round's, such as SCAFFOLD's `control`; none before the first round.
    pub fn extra(&self, name: &str) -> Option<&Model> {
        self.extras.iter().find(|(known, _)| known == name).map(|(_, model)| model)
    }

    /// Randomness for this round; a worker that was restarted and runs the round again draws the same numbers.
    pub fn round_rng(&self) -> Rng {
        self.context.rng(self.round)
    }

    /// The number that the aggregator configured for this round under `key`, or else the job's hyperparameter, or else `default`.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        self.settings.get(key).map_or_else(|| self.context.hyper_or(key, default), Ok)
    }
}

impl Deref for Round<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.context
    }
}
