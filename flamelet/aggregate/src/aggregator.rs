//! Rounds around a rule: what comes in is checked here, once, for all rules.

use std::collections::HashSet;

use flame_model::{Form, Metric, Model};

use crate::kernels::check_finite;
use crate::metrics::MetricMeans;
use crate::numerics::Numerics;
use crate::options::{OptionValue, Options, Range};
use crate::privacy::{self, Privacy, PrivacySpent};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};
use crate::share::WeightShare;
use crate::{AggregateError, rules};

/// Most samples that one update may claim, 2⁴⁰: more than anybody has, and few enough that a nonsensical count is seen as
/// such. How far an honest-looking count may go is the participant's host's business: it caps it at the rows granted.
pub const MAX_SAMPLES: u64 = 1 << 40;

/// Most refusals that an outcome lists.
const MAX_REFUSED: usize = 1000;

/// What is known of an update besides its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// Who sent it.
    pub source: String,
    /// What its numbers are: `Full` and `State` are whole models, `Delta` is a difference; partial sums are refused.
    pub form: Form,
    /// The aggregation weight, at most [`MAX_SAMPLES`]. 0 abstains: checked, not counted, not refused.
    pub samples: u64,
    /// Rounds between the base that it was computed from and the current one.
    pub staleness: u64,
    /// Measurements; their means weighted by samples are in the outcome.
    pub metrics: Vec<Metric>,
}

/// What a round gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The new global model; the base unchanged (the same storage) when nothing was folded in.
    pub model: Model,
    /// What else the rule produces, such as SCAFFOLD's `control`.
    pub extra: Vec<(String, Model)>,
    /// Updates folded in.
    pub accepted: u32,
    /// Their samples.
    pub samples: u64,
    /// Means of the clients' metrics.
    pub metrics: Vec<Metric>,
    /// Updates that were refused, in the order in which they came; at most the first thousand.
    pub refused: Vec<Refused>,
    /// What whoever runs the job should know, such as too few updates for a rule's guarantee.
    pub warnings: Vec<String>,
}

/// An update that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Who sent it.
    pub source: String,
    /// Why.
    pub reason: String,
}

/// A rule, its state across rounds, and the round that is open.
pub struct Aggregator {
    info: &'static RuleInfo,
    rule: Box<dyn Rule>,
    numerics: Numerics,
    privacy: Option<Privacy>,
    share: Option<WeightShare>,
    round: Option<Round>,
}

struct Round {
    base: Model,
    seen: HashSet<String>,
    accepted: u32,
    samples: u64,
    metrics: MetricMeans,
    refused: Vec<Refused>,
    /// Bytes of the updates that the rule holds.
    held: u64,
}

impl std::fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aggregator")
            .field("rule", &self.info.name)
            .field("open", &self.round.is_some())
            .finish_non_exhaustive()
    }
}

impl Aggregator {
    /// A rule by its name and options in the catalogue. Unknown ones are refused with the list of known ones.
    pub fn create(rule: &str, options: &[(String, OptionValue)]) -> Result<Self, AggregateError> {
        let Some(info) = rules::rule_info(rule) else {
            let known = rules::rules().iter().map(|rule| rule.name).collect();
            return Err(AggregateError::UnknownRule { rule: rule.chars().take(80).collect(), known });
        };
        let options = Options::new(info, options)?;
        let share = options.number("max-weight-share", Range::Share)?.filter(|share| info.weighs && *share < 1.0);
        let privacy = Privacy::read(&options)?;
        let numerics = options.numerics()?;
        let rule = (info.build)(&options)?;
        Ok(Self { info, rule, numerics, privacy, share: share.map(WeightShare::new), round: None })
    }

    /// The rule's entry in the catalogue.
    pub const fn rule(&self) -> &'static RuleInfo {
        self.info
    }

    /// Whether a round is open.
    pub const fn is_open(&self) -> bool {
        self.round.is_some()
    }

    /// Updates folded into the open round.
    pub fn accepted(&self) -> u32 {
        self.round.as_ref().map_or(0, |round| round.accepted)
    }

    /// Bytes of updates that the open round keeps alive after their [`Aggregator::add`]: all of them where the rule does not
    /// stream, those held back by `max-weight-share` otherwise. Accumulators are apart: one model in `f32` (`f64` for `f64` and
    /// integers), twice that with `accumulate = "f64"` or `deterministic`, and once more for scaffold's control variates.
    pub fn held_bytes(&self) -> u64 {
        let held = self.round.as_ref().map_or(0, |round| round.held);
        let back = self.share.as_ref().map_or(0, WeightShare::held_bytes);
        if self.info.streams { back } else { held }
    }

    /// What differential privacy has cost so far; `None` where no update is clipped.
    pub fn privacy(&self) -> Option<PrivacySpent> {
        self.privacy.as_ref().map(Privacy::spent)
    }

    /// Starts a round from the current global model. A round that was open is dropped, with what was folded into it. Refused
    /// where one more round would pass the privacy budget.
    pub fn begin(&mut self, base: &Model, extra: &[(String, Model)]) -> Result<(), AggregateError> {
        let threads = self.numerics.threads;
        check_finite("the base model", base, threads)?;
        for (name, model) in extra {
            check_finite(&format!("the base's second model {name:?}"), model, threads)?;
        }
        self.round = None;
        if let Some(privacy) = &mut self.privacy {
            privacy.begin()?;
        }
        if let Some(share) = &mut self.share {
            share.begin();
        }
        self.rule.begin(base, extra)?;
        self.round = Some(Round {
            base: base.clone(),
            seen: HashSet::new(),
            accepted: 0,
            samples: 0,
            metrics: MetricMeans::default(),
            refused: Vec::new(),
            held: 0,
        });
        Ok(())
    }

    /// Folds one update in. One that does not match the base, is not finite, comes a second time from one source or carries
    /// a nonsensical weight is refused and leaves the round as it was, but for its entry in [`Outcome::refused`]. `base` is what
    /// a whole model was computed from, where that is not the round's base.
    pub fn add(
        &mut self,
        update: &Model,
        about: &Contribution,
        base: Option<&Model>,
        extra: &[(String, Model)],
    ) -> Result<(), AggregateError> {
        let added = self.try_add(update, about, base, extra);
        if let (Err(error), Some(round)) = (&added, &mut self.round)
            && round.refused.len() < MAX_REFUSED
        {
            round.refused.push(Refused { source: about.source.clone(), reason: error.to_string() });
        }
        added
    }

    fn try_add(
        &mut self,
        update: &Model,
        about: &Contribution,
        base: Option<&Model>,
        extra: &[(String, Model)],
    ) -> Result<(), AggregateError> {
        let Some(round) = &mut self.round else { return Err(not_begun("add")) };
        let threads = self.numerics.threads;
        let source = &about.source;
        if about.form == Form::PartialSum {
            return Err(AggregateError::InvalidArgument(format!(
                "{source} sent a partial sum; send a whole model or a delta"
            )));
        }
        if !self.rule.repeats() && round.seen.contains(source) {
            return Err(AggregateError::InvalidArgument(format!("{source} has contributed to this round already")));
        }
        let samples = round.samples.checked_add(about.samples).filter(|_| about.samples <= MAX_SAMPLES);
        let Some(samples) = samples else {
            return Err(AggregateError::InvalidArgument(format!(
                "{source} claims {} samples (the round has {}); at most {MAX_SAMPLES} are believed",
                about.samples, round.samples
            )));
        };
        let Some(accepted) = round.accepted.checked_add(1) else {
            return Err(AggregateError::InvalidArgument("a round takes at most 2³² updates".to_owned()));
        };
        let what = format!("the update of {source}");
        round.base.same_layout(update).map_err(|error| AggregateError::layout(what.clone(), error))?;
        check_finite(&what, update, threads)?;
        // The same handles as the round's: the cheaper way is the right one.
        let base = base.filter(|base| !same_storage(base, &round.base));
        if let Some(base) = base {
            let what = format!("the base of {source}");
            round.base.same_layout(base).map_err(|error| AggregateError::layout(what.clone(), error))?;
            check_finite(&what, base, threads)?;
        }
        for (name, model) in extra {
            check_finite(&format!("the second model {name:?} of {source}"), model, threads)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "samples are at most 2⁴⁰")]
        let weight = about.samples as f64;
        let mut update = Update { model: update, about, base, round_base: &round.base, extra, shrink: 1.0, weight };
        if about.samples > 0 {
            let norm = self.privacy.as_ref().map(|_| update.norm(threads));
            if let (Some(privacy), Some(norm)) = (&self.privacy, norm) {
                if !norm.is_finite() {
                    return Err(AggregateError::InvalidArgument(format!("the norm of {what} is beyond 64-bit floats")));
                }
                update.shrink = privacy.shrink(norm);
                if privacy.is_noisy() {
                    update.weight = 1.0;
                }
            }
            self.rule.check(&update)?;
            if !self.info.streams {
                let sizes = std::iter::once(update.model).chain(update.base).map(Model::byte_size);
                round.held = sizes.fold(round.held, u64::saturating_add);
            }
            if let Some(share) = &mut self.share {
                for held in share.push(&update) {
                    self.rule.fold(&held.update(&round.base));
                }
            } else {
                self.rule.fold(&update);
            }
            if let (Some(privacy), Some(norm)) = (&mut self.privacy, norm) {
                privacy.count(norm);
            }
            round.accepted = accepted;
            round.samples = samples;
            round.metrics.add(source, &about.metrics, weight);
        }
        round.seen.insert(source.clone());
        Ok(())
    }

    /// Ends the round. Without an accepted update the base comes back unchanged and the rule's state stays. Fewer updates
    /// than the rule needs leave the round open.
    pub fn finish(&mut self) -> Result<Outcome, AggregateError> {
        let Some(round) = &self.round else { return Err(not_begun("finish")) };
        let mut noise = None;
        if round.accepted > 0 {
            self.rule.ready(round.accepted)?;
            if let Some(privacy) = &self.privacy {
                noise = privacy.noise(round.accepted)?;
            }
        }
        let Some(round) = self.round.take() else { return Err(not_begun("finish")) };
        let Round { base, accepted, samples, metrics, refused, .. } = round;
        let finished = if accepted == 0 {
            Finished { extra: self.rule.unchanged(), ..base.into() }
        } else {
            for held in self.share.as_mut().map(WeightShare::finish).unwrap_or_default() {
                self.rule.fold(&held.update(&base));
            }
            // Counted before anything blurred is shown, also where the rule then fails.
            if let Some(privacy) = &mut self.privacy {
                privacy.finish(accepted)?;
            }
            self.rule.finish(&Closing { base: &base, noise })?
        };
        let Finished { model, extra, warnings } = finished;
        let metrics = metrics.finish(self.numerics.deterministic);
        Ok(Outcome { model, extra, accepted, samples, metrics, refused, warnings })
    }

    /// The rule's state across rounds, by name; an open round is not part of it.
    pub fn save(&self) -> Vec<(String, Model)> {
        let mut state = self.rule.save();
        state.extend(self.privacy.as_ref().map(|privacy| (privacy::STATE.to_owned(), privacy.save())));
        state
    }

    /// Takes back what [`Aggregator::save`] gave, before the first round.
    pub fn restore(&mut self, mut state: Vec<(String, Model)>) -> Result<(), AggregateError> {
        for (name, model) in &state {
            check_finite(&format!("the state {name:?}"), model, self.numerics.threads)?;
        }
        self.round = None;
        let saved = state.iter().position(|(name, _)| name == privacy::STATE).map(|at| state.remove(at).1);
        match (&mut self.privacy, saved) {
            (Some(privacy), Some(saved)) => privacy.restore(&saved)?,
            (_, None) => {}
            (None, Some(_)) => {
                return Err(AggregateError::InvalidArgument(
                    "the saved state is of a job that clips its updates: give the option `clip`".to_owned(),
                ));
            }
        }
        self.rule.restore(state)
    }
}

fn not_begun(call: &str) -> AggregateError {
    AggregateError::InvalidArgument(format!("`{call}` outside a round: call `begin` first"))
}

fn same_storage(a: &Model, b: &Model) -> bool {
    let same = |((a_name, a), (b_name, b)): ((&str, &flame_model::Tensor), (&str, &flame_model::Tensor))| {
        a_name == b_name
            && a.dtype() == b.dtype()
            && a.shape() == b.shape()
            && a.shares_storage(b)
            && a.bytes().as_ptr() == b.bytes().as_ptr()
    };
    a.len() == b.len() && a.iter().zip(b.iter()).all(same)
}
