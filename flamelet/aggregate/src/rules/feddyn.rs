//! FedDyn, Acar et al. 2021: w + mean(δᵢ), which is what is evaluated. Each client has a history hᵢ += δᵢ on the server, and what
//! is broadcast next is that model + the mean of the histories of the round's clients. Samples are ignored; `alpha` is the
//! client's.

use std::collections::BTreeMap;

use flame_model::Model;

use crate::AggregateError;
use crate::accumulator::{Accumulator, SumOf, Weights, settle};
use crate::held::{Held, in_canonical_order};
use crate::kernels::{self, check_wide, wide_zeros};
use crate::numerics::Numerics;
use crate::options::{OptionInfo, Range};
use crate::rule::{Closing, Finished, Rule, RuleInfo, Update};

/// Name of the second model that a round gives.
const BROADCAST: &str = "broadcast";

/// What comes before a client's name in a saved state.
const HISTORY: &str = "history/";

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "feddyn",
    doc: "Dynamic regularisation: the second model `broadcast` is what clients train from next (Acar 2021)",
    streams: false,
    weighs: false,
    noise: false,
    options: &[
        OptionInfo {
            name: "alpha",
            default: Some("0.01"),
            doc: "weight of the client's regulariser, above 0; the server does not use it",
        },
        OptionInfo {
            name: "clients",
            default: None,
            doc: "clients in the whole job, at least 1: each has a history here",
        },
    ],
    build: |options| {
        let numerics = options.numerics()?;
        options.number("alpha", Range::Positive)?;
        Ok(Box::new(FedDyn {
            numerics,
            clients: options.required("clients", Range::Count)?,
            histories: BTreeMap::new(),
            held: Vec::new(),
            mean: Accumulator::new(numerics.ordered(), SumOf::Deltas, Weights::Whole),
        }))
    },
};

struct FedDyn {
    numerics: Numerics,
    /// A whole number.
    clients: f64,
    /// Per source, in the accumulators' dtypes.
    histories: BTreeMap<String, Model>,
    /// The round's updates: histories change when it ends and not before.
    held: Vec<Held>,
    mean: Accumulator,
}

impl FedDyn {
    #[expect(clippy::cast_precision_loss, reason = "a number of clients")]
    fn is_full(&self, source: &str) -> bool {
        let new = self.held.iter().filter(|held| !self.histories.contains_key(held.source())).count();
        let known = self.histories.len().saturating_add(new);
        !self.histories.contains_key(source) && known as f64 >= self.clients
    }
}

impl Rule for FedDyn {
    fn begin(&mut self, base: &Model, _: &[(String, Model)]) -> Result<(), AggregateError> {
        if let Some((_, history)) = self.histories.first_key_value() {
            check_wide(history, base, self.numerics)?;
        }
        self.held.clear();
        self.mean.begin(base)
    }

    fn check(&self, update: &Update<'_>) -> Result<(), AggregateError> {
        let source = &update.about.source;
        if !self.is_full(source) {
            return Ok(());
        }
        Err(AggregateError::InvalidArgument(format!(
            "{source} is one more than the {} clients of the option `clients`",
            self.clients
        )))
    }

    fn fold(&mut self, update: &Update<'_>) {
        self.held.push(Held::of(update));
    }

    fn finish(&mut self, round: &Closing<'_>) -> Result<Finished, AggregateError> {
        let (base, threads) = (round.base, self.numerics.threads);
        let held = in_canonical_order(std::mem::take(&mut self.held));
        for held in &held {
            self.mean.fold(&held.update(base), 1.0);
        }
        let step = self.mean.take_delta(base)?;
        let model = settle(base, step, self.numerics)?;
        // All is computed before any history changes.
        let mut histories = Vec::with_capacity(held.len());
        self.mean.begin(base)?;
        for held in &held {
            let mut history = match self.histories.get(held.source()) {
                Some(history) => history.clone(),
                None => wide_zeros(base, self.numerics)?,
            };
            kernels::accumulate(&mut history, held.update(base).readings(), threads);
            self.mean.fold_model(&history, 1.0);
            histories.push((held.source().to_owned(), history));
        }
        let offset = self.mean.take_delta(base)?;
        let broadcast = settle(&model, offset, self.numerics)?;
        self.histories.extend(histories);
        Ok(Finished { extra: vec![(BROADCAST.to_owned(), broadcast)], ..model.into() })
    }

    fn save(&self) -> Vec<(String, Model)> {
        self.histories.iter().map(|(source, history)| (format!("{HISTORY}{source}"), history.clone())).collect()
    }

    fn restore(&mut self, state: Vec<(String, Model)>) -> Result<(), AggregateError> {
        let history = |(name, model): (String, Model)| match name.strip_prefix(HISTORY) {
            Some(source) => Ok((source.to_owned(), model)),
            None => Err(AggregateError::InvalidArgument(format!("FedDyn keeps no state {name:?}"))),
        };
        self.histories = state.into_iter().map(history).collect::<Result<_, _>>()?;
        Ok(())
    }
}
