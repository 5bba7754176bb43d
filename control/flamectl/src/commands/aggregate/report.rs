//! What a round gave, for people and for programs.

use std::collections::BTreeMap;

use flame_aggregate::{Aggregator, Outcome};
use serde::Serialize;

use super::Written;
use super::given::Given;
use crate::{Failure, Format, Printer, text};

/// An update that was not folded in.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) update: String,
    /// `shape-mismatch`, `not-finite` or `invalid-argument`.
    pub(super) code: &'static str,
    pub(super) reason: String,
}

impl Refused {
    /// The line on stderr.
    pub(super) fn line(&self) -> String {
        format!("refused: {}: {}", text::safe(&self.update), text::safe(&self.reason))
    }
}

/// The result of `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    rule: &'static str,
    /// File of the new model.
    output: String,
    /// Updates folded in.
    accepted: u32,
    /// Updates of 0 samples: checked and not counted.
    abstained: usize,
    /// Samples behind the accepted ones.
    samples: u64,
    refused: Vec<Refused>,
    /// Means of the clients' metrics weighted by samples, and what the rule measured.
    metrics: BTreeMap<String, f64>,
    /// Files of second models, by name.
    extras: BTreeMap<String, String>,
    /// What differential privacy has cost so far; null where no update is clipped.
    privacy: Option<Privacy>,
    /// What the rule wants known, such as too few updates for its guarantee.
    warnings: Vec<String>,
}

/// What differential privacy has cost so far.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Privacy {
    /// Rounds whose mean was blurred.
    rounds: u64,
    /// The clipping bound of the next round.
    clip: f64,
    /// ε at the option `delta`; null without noise or `delta`.
    epsilon: Option<f64>,
}

impl Report {
    pub(super) fn new(
        rule: &Aggregator,
        given: &Given,
        refused: Vec<Refused>,
        outcome: Outcome,
        written: Written,
    ) -> Self {
        let accepted = usize::try_from(outcome.accepted).unwrap_or(usize::MAX);
        let privacy =
            rule.privacy().map(|spent| Privacy { rounds: spent.rounds, clip: spent.clip, epsilon: spent.epsilon });
        Self {
            rule: rule.rule().name,
            output: written.model.display().to_string(),
            accepted: outcome.accepted,
            abstained: given.updates.len().saturating_sub(accepted).saturating_sub(refused.len()),
            samples: outcome.samples,
            refused,
            metrics: outcome.metrics.into_iter().map(|metric| (metric.name, metric.value)).collect(),
            extras: written.extras.into_iter().map(|(name, path)| (name, path.display().to_string())).collect(),
            privacy,
            warnings: outcome.warnings,
        }
    }

    pub(super) fn print(&self, json: bool, printer: &mut Printer) -> Result<(), Failure> {
        for warning in &self.warnings {
            printer.note(format_args!("warning: {}", text::safe(warning)));
        }
        if printer.value(if json { Format::Json } else { Format::Table }, self)? {
            return Ok(());
        }
        let output = text::safe(&self.output);
        printer.line(format_args!("Model written to {output}"))?;
        printer.line(format_args!(
            "\trule: {}\n\tupdates: {} accepted, {} refused, {} abstained\n\tsamples: {}",
            self.rule,
            self.accepted,
            self.refused.len(),
            self.abstained,
            self.samples
        ))?;
        for (name, value) in &self.metrics {
            printer.line(format_args!("\t{}: {}", text::safe(name), text::number(*value)))?;
        }
        for (name, path) in &self.extras {
            printer.line(format_args!("\t{} written to {}", text::safe(name), text::safe(path)))?;
        }
        if let Some(Privacy { rounds, clip, epsilon }) = &self.privacy {
            let spent = epsilon.map_or_else(String::new, |epsilon| format!(", epsilon {}", text::number(epsilon)));
            printer.line(format_args!("\tprivacy: {rounds} rounds, next clip {}{spent}", text::number(*clip)))?;
        }
        Ok(())
    }

    /// How the command ends: an update that was refused is no success.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let (refused, all) = (self.refused.len(), self.refused.len() + self.abstained);
        match refused {
            0 => Ok(()),
            _ if self.accepted == 0 => Err(Failure::outcome(
                format!("{refused} of {all} updates were refused and none is left: the output is the base as it was"),
                "",
            )),
            _ => {
                let all = all + usize::try_from(self.accepted).unwrap_or(usize::MAX);
                let were = if refused == 1 { "was" } else { "were" };
                Err(Failure::outcome(
                    format!("{refused} of {all} updates {were} refused; the output holds what the others gave"),
                    "",
                ))
            }
        }
    }
}
