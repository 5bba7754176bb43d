//! FLTrust, Cao et al. 2021: the server has an update g₀ of its own, from data that it trusts. Client i is trusted by
//! ReLU(cos(δᵢ, g₀)), and its update is scaled to g₀'s norm: w + Σ trustᵢ·(‖g₀‖/‖δᵢ‖)·δᵢ / Σ trustᵢ. Samples are ignored.
//!
//! Each client's part depends on itself and g₀ alone, so that it streams.

use flame_model::Model;

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights};
use crate::numerics::Numerics;
use crate::reading::dot;
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update, named};

/// Name of the second model that `begin` takes: g₀, a difference from the base.
const SERVER: &str = "server-update";

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "fltrust",
    doc: "Trust by likeness to the server's own update, given to each round as the second model `server-update` (Cao 2021)",
    streams: true,
    weighs: false,
    noise: false,
    options: &[],
    build: |options| {
        let numerics = options.numerics()?;
        Ok(Box::new(FlTrust {
            numerics,
            server: Model::new(),
            norm: 0.0,
            trusted: 0,
            mean: Accumulator::new(numerics, SumOf::Deltas, Weights::Real),
        }))
    },
};

struct FlTrust {
    numerics: Numerics,
    server: Model,
    norm: f64,
    trusted: u32,
    mean: Accumulator,
}

impl FlTrust {
    /// What the client is trusted with, above 0, and its update at the server's norm.
    fn trusted<'a>(&self, update: &Update<'a>) -> Option<(Update<'a>, f64)> {
        let threads = self.numerics.threads;
        let norm = update.norm(threads);
        // Nothing points the way of what points nowhere.
        if norm <= 0.0 || self.norm <= 0.0 {
            return None;
        }
        let cosine = update.against(&self.server, threads, dot) / (norm * self.norm);
        let update = Update { shrink: update.shrink * (self.norm / norm), ..*update };
        (cosine > 0.0).then(|| (update, cosine.min(1.0)))
    }
}

impl Rule for FlTrust {
    fn begin(&mut self, base: &Model, extra: &[(String, Model)]) -> Result<(), AggregateError> {
        let Some(server) = named(extra, SERVER) else {
            return Err(AggregateError::InvalidArgument(format!(
                "FLTrust needs the server's own update of this round: give `begin` a second model {SERVER:?}, a difference from the base"
            )));
        };
        base.same_layout(server).map_err(|error| AggregateError::layout("the server's update", error))?;
        let norm = server.norm_l2();
        if !norm.is_finite() {
            return Err(AggregateError::InvalidArgument(
                "the norm of the server's update is beyond 64-bit floats".to_owned(),
            ));
        }
        (self.server, self.norm, self.trusted) = (server.clone(), norm, 0);
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        if !self.numerics.deterministic {
            return Ok(());
        }
        self.trusted(update).map_or(Ok(()), |(update, trust)| self.mean.check(&update, trust))
    }

    fn fold(&mut self, update: &Update<'_>) {
        if let Some((update, trust)) = self.trusted(update) {
            self.mean.fold(&update, trust);
            self.trusted = self.trusted.saturating_add(1);
        }
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let mut finished = Finished::from(self.mean.take_model(round.base)?);
        if self.trusted == 0 {
            finished.warnings.push("no update points the way of the server's: the model stays as it was".to_owned());
        }
        self.server = Model::new();
        Ok(finished)
    }
}
