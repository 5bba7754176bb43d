//! SCAFFOLD, Karimireddy et al. 2020: w + lr·mean(δᵢ) ; c += (1/clients) ΣΔcᵢ. Means are plain: samples are ignored.

use flame_model::Model;

use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update, named};
use crate::{AggregateError, kernels};

use super::adaptive::take_state;

/// Name of the second model: the server's control variate c, and each client's Δcᵢ.
const CONTROL: &str = "control";

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "scaffold",
    doc: "Control variates against client drift; they travel as the second model `control` (Karimireddy 2020)",
    streams: true,
    weighs: false,
    noise: false,
    options: &[
        OptionInfo { name: "server-lr", default: Some("1"), doc: "server learning rate, above 0" },
        OptionInfo { name: "clients", default: None, doc: "clients in the whole job, at least 1" },
    ],
    build: |options| {
        let numerics = options.numerics()?;
        let mean = || Accumulator::new(numerics, SumOf::Deltas, Weights::Whole);
        Ok(Box::new(Scaffold {
            numerics,
            lr: options.number("server-lr", Range::Positive)?.unwrap_or(1.0),
            clients: options.required("clients", Range::Count)?,
            control: Model::new(),
            mean: mean(),
            controls: mean(),
        }))
    },
};

struct Scaffold {
    numerics: Numerics,
    lr: f64,
    /// A whole number.
    clients: f64,
    /// c, in the base's layout; empty before the first round.
    control: Model,
    mean: Accumulator,
    controls: Accumulator,
}

impl Rule for Scaffold {
    /// A `control` in `extra` replaces the server's.
    fn begin(&mut self, base: &Model, extra: &[(String, Model)]) -> Result<(), AggregateError> {
        let control = match named(extra, CONTROL) {
            Some(control) => control.clone(),
            None if self.control.is_empty() => base.zeros_like().map_err(AggregateError::Memory)?,
            None => self.control.clone(),
        };
        base.same_layout(&control).map_err(|error| AggregateError::layout("the control variate", error))?;
        self.control = control;
        self.mean.begin(base)?;
        self.controls.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        let source = &update.about.source;
        let Some(control) = update.extra(CONTROL) else {
            return Err(AggregateError::InvalidArgument(format!(
                "{source} sent no second model {CONTROL:?}: SCAFFOLD needs the change of its control variate"
            )));
        };
        if self.mean.weight() >= self.clients {
            return Err(AggregateError::InvalidArgument(format!(
                "{source} is one more than the {} clients of the option `clients`",
                self.clients
            )));
        }
        let what = || format!("the control variate of {source}");
        update.round_base.same_layout(control).map_err(|error| AggregateError::layout(what(), error))?;
        self.mean.check(update, 1.0)?;
        self.controls.check_model(control, source, 1.0)
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.mean.fold(update, 1.0);
        if let Some(control) = update.extra(CONTROL) {
            self.controls.fold_model(control, 1.0);
        }
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let (base, threads) = (round.base, self.numerics.threads);
        let share = self.controls.weight() / self.clients;
        let mut step = self.mean.take_delta(base)?;
        kernels::scale(&mut step, self.lr, threads);
        let mut change = self.controls.take_delta(base)?;
        kernels::scale(&mut change, share, threads);
        let model = settle(base, step, self.numerics)?;
        self.control = settle(&self.control, change, self.numerics)?;
        Ok(Finished { extra: self.unchanged(), ..model.into() })
    }

    fn unchanged(&self) -> Vec<(String, Model)> {
        vec![(CONTROL.to_owned(), self.control.clone())]
    }

    fn save(&self) -> Vec<(String, Model)> {
        if self.control.is_empty() { Vec::new() } else { self.unchanged() }
    }

    fn restore(&mut self, mut state: Vec<(String, Model)>) -> Result<(), AggregateError> {
        self.control = take_state(&mut state, CONTROL)?;
        Ok(())
    }
}
