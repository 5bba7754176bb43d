//! What a role learns of its job and its task.

use std::ops::Deref;

use crate::bindings::flame::worker::job as host;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::hyper::{self, Hyper};
use crate::metrics::Metrics;
use crate::rng::Rng;
use crate::tensor::Model;

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
    /// The 1-based round.
    pub round: u64,
    /// Rounds in all.
    pub rounds: u64,
    /// What the aggregator configured for this round.
    pub settings: Metrics,
}

impl<'a> Round<'a> {
    pub(crate) fn new(context: &'a Context, round: u64, rounds: u64, settings: Metrics) -> Self {
        Self { context, round, rounds, settings }
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
