//! Centred clipping, Karimireddy et al. 2021: v += mean(clip(uᵢ−v, tau)), from the v of the round before, at first from w; v is the
//! new model. Samples are ignored.
//!
//! Written in differences from the base: with e = v − w and sᵢ what δᵢ − e is clipped by, e += mean(sᵢδᵢ) − mean(sᵢ)·e.

use flame_model::{Form, Model};

use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::held::{Held, in_canonical_order};
use crate::kernels::{self, wide_zeros};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::reading::{Reading, squared_distance};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};
use crate::{AggregateError, Contribution};

use super::adaptive::take_state;

/// Name of v in a saved state.
const CENTRE: &str = "centre";

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "centred-clip",
    doc: "The mean of the updates clipped around the last round's model (Karimireddy 2021)",
    streams: false,
    weighs: false,
    noise: false,
    options: &[
        OptionInfo { name: "tau", default: None, doc: "radius of clipping, above 0" },
        OptionInfo { name: "iterations", default: Some("1"), doc: "steps of each round, at least 1" },
    ],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(CentredClip {
            numerics,
            tau: options.required("tau", Range::Positive)?,
            iterations: options.number("iterations", Range::Steps)?.unwrap_or(1.0),
            centre: Model::new(),
            held: Vec::new(),
            mean: Accumulator::new(numerics.ordered(), SumOf::Deltas, Weights::Whole),
        }))
    },
};

struct CentredClip {
    numerics: Numerics,
    tau: f64,
    /// A whole number.
    iterations: f64,
    /// v, in the base's layout; empty before the first round.
    centre: Model,
    held: Vec<Held>,
    mean: Accumulator,
}

impl CentredClip {
    /// v − w.
    fn offset(&mut self, base: &Model) -> Result<Model, AggregateError> {
        if self.centre.is_empty() {
            return wide_zeros(base, self.numerics);
        }
        let about =
            Contribution { source: String::new(), form: Form::Full, samples: 1, staleness: 0, metrics: Vec::new() };
        let centre = Update {
            model: &self.centre,
            about: &about,
            base: None,
            round_base: base,
            extra: &[],
            shrink: 1.0,
            weight: 1.0,
        };
        self.mean.begin(base)?;
        self.mean.fold(&centre, 1.0);
        self.mean.take_delta(base)
    }
}

impl Rule for CentredClip {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        if !self.centre.is_empty() {
            base.same_layout(&self.centre).map_err(|error| AggregateError::layout("the rule's state", error))?;
        }
        self.held.clear();
        self.mean.begin(base)
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.held.push(Held::of(update));
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let (base, threads) = (round.base, self.numerics.threads);
        let held = in_canonical_order(std::mem::take(&mut self.held));
        let updates: Vec<_> = held.iter().map(|held| held.update(base)).collect();
        let mut offset = self.offset(base)?;
        let mut iteration = 0.0;
        while iteration < self.iterations {
            self.mean.begin(base)?;
            let mut kept = 0.0;
            for update in &updates {
                let distance = update.against(&offset, threads, squared_distance).sqrt();
                let shrink = if distance > self.tau { self.tau / distance } else { 1.0 };
                kept += shrink;
                self.mean.fold(&Update { shrink: update.shrink * shrink, ..*update }, 1.0);
            }
            let mut next = self.mean.take_delta(base)?;
            // next + (1 − mean(s))·e.
            #[expect(clippy::cast_precision_loss, reason = "a number of updates")]
            let rest = 1.0 - kept / updates.len() as f64;
            if rest != 0.0 {
                kernels::scale(&mut offset, rest, threads);
                kernels::accumulate(&mut next, offset.iter().map(|(_, tensor)| Reading::of(tensor)), threads);
            }
            offset = next;
            iteration += 1.0;
        }
        self.centre = settle(base, offset, self.numerics)?;
        Ok(self.centre.clone().into())
    }

    fn save(&self) -> Vec<(String, Model)> {
        if self.centre.is_empty() { Vec::new() } else { vec![(CENTRE.to_owned(), self.centre.clone())] }
    }

    fn restore(&mut self, mut state: Vec<(String, Model)>) -> Result<(), AggregateError> {
        self.centre = take_state(&mut state, CENTRE)?;
        Ok(())
    }
}
