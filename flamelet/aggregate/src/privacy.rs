//! Differential privacy on the server, in front of a rule: clip every update, blur the mean, and count what it costs.
//!
//! An update's δ is clipped to the bound C over the whole model. Where noise is asked for, every update weighs the same, so that
//! one of them moves the mean of K by at most C/K, and Gaussian noise of σ = z·C/K is added to the mean before the rule makes
//! anything of it. K is taken to be public. The bound may follow a quantile of the norms (Andrew et al. 2021), and an accountant
//! of Rényi differential privacy (Mironov 2017) refuses the round that would pass the job's budget.

mod accountant;
mod adaptive;
mod noise;

use flame_model::{Model, Tensor};

pub use accountant::{Accountant, gaussian_sigma};
pub use adaptive::{next_clip, split_noise};
pub use noise::{Noise, noise_stddev};

use crate::AggregateError;
use crate::options::{OptionInfo, Options, Range};

/// The name of what [`Privacy::save`] gives, among a rule's state.
pub(crate) const STATE: &str = "privacy";

/// The options of every rule that concern privacy.
pub(crate) static OPTIONS: [OptionInfo; 9] = [
    OptionInfo {
        name: "clip",
        default: Some("none"),
        doc: "clip δ of every update to this L2 norm over the whole model, above 0; with `clip-quantile` the first bound",
    },
    OptionInfo {
        name: "noise-multiplier",
        default: Some("0"),
        doc: "z, at least 0: Gaussian noise of σ = z·clip/K on the mean of K updates, which then all weigh the same; needs `clip`",
    },
    OptionInfo {
        name: "seed",
        default: Some("of the operating system"),
        doc: "whole number that the noise is made from; for tests and repeatable experiments: who knows it can take the noise away",
    },
    OptionInfo {
        name: "clip-quantile",
        default: Some("none"),
        doc: "let the bound follow this quantile of the updates' norms, from 0 to 1 (Andrew 2021); needs `clip`",
    },
    OptionInfo {
        name: "clip-lr",
        default: Some("0.2"),
        doc: "how quickly: C ← C·exp(−lr·(b − quantile)), b the share of updates at or below C; above 0",
    },
    OptionInfo {
        name: "clip-count-stddev",
        default: Some("K/20"),
        doc: "σ of the noise on the number of updates at or below C, above 0; part of z is spent on it",
    },
    OptionInfo {
        name: "sampling-rate",
        default: Some("1"),
        doc: "chance of each client to be in a round, above 0 and at most 1; below 1 only where each is drawn by itself (Poisson)",
    },
    OptionInfo {
        name: "epsilon",
        default: Some("none"),
        doc: "budget: the round that would pass it is refused (`budget-spent`); needs `noise-multiplier` and `delta`",
    },
    OptionInfo { name: "delta", default: Some("none"), doc: "the budget's δ, above 0 and below 1; needs `epsilon`" },
];

/// What privacy has cost so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrivacySpent {
    /// Rounds whose mean was blurred.
    pub rounds: u64,
    /// The clipping bound of the next round.
    pub clip: f64,
    /// ε at the job's `delta`; `None` without noise or `delta`.
    pub epsilon: Option<f64>,
}

/// A bound that follows a quantile.
#[derive(Debug, Clone, Copy)]
struct Follow {
    quantile: f64,
    lr: f64,
    /// `None`: K/20.
    count_stddev: Option<f64>,
}

/// The mechanism of one job, and its state across rounds.
#[derive(Debug)]
pub(crate) struct Privacy {
    clip: f64,
    multiplier: f64,
    follow: Option<Follow>,
    sampling_rate: f64,
    budget: Option<(f64, f64)>,
    key: [u8; 32],
    accountant: Accountant,
    rounds: u64,
    /// Updates of the open round whose norm was at or below the bound.
    below: u32,
}

/// Whether the rule has an option of this name itself: geometric-median's `epsilon` is a distance. It takes no noise, so that it
/// has no budget.
fn own(options: &Options<'_>, name: &str) -> bool {
    options.info().options.iter().any(|option| option.name == name)
}

impl Privacy {
    /// The mechanism that the options ask for; `None` where they ask for none.
    pub(crate) fn read(options: &Options<'_>) -> Result<Option<Self>, AggregateError> {
        let invalid =
            |what: &str| Err(AggregateError::InvalidArgument(format!("rule {}: {what}", options.info().name)));
        let clip = options.number("clip", Range::Positive)?;
        let multiplier = options.number("noise-multiplier", Range::NotNegative)?;
        let quantile = options.number("clip-quantile", Range::Closed)?;
        let lr = options.number("clip-lr", Range::Positive)?;
        let count_stddev = options.number("clip-count-stddev", Range::Positive)?;
        let sampling_rate = options.number("sampling-rate", Range::Share)?;
        let epsilon = if own(options, "epsilon") { None } else { options.number("epsilon", Range::Positive)? };
        let delta = options.number("delta", Range::Open)?;
        let seed = options.number("seed", Range::Whole)?;
        let noisy = multiplier.is_some_and(|multiplier| multiplier > 0.0);
        let Some(clip) = clip else {
            let others = ["noise-multiplier", "clip-quantile", "clip-lr", "clip-count-stddev", "sampling-rate"];
            let others = others.iter().chain(&["epsilon", "delta", "seed"]);
            return match others.into_iter().find(|name| options.has(name) && !own(options, name)) {
                None => Ok(None),
                Some(name) => invalid(&format!("option {name:?} needs `clip`, the bound on an update's norm")),
            };
        };
        if noisy && !options.info().noise {
            return invalid(
                "`noise-multiplier` would promise a privacy that it does not give: one client's influence on this rule is not bounded \
                 by clip/K; use a rule that averages, such as fedavg",
            );
        }
        if quantile.is_none() && (lr.is_some() || count_stddev.is_some()) {
            return invalid("`clip-lr` and `clip-count-stddev` need `clip-quantile`");
        }
        if !noisy && (epsilon.is_some() || delta.is_some() || seed.is_some() || sampling_rate.is_some()) {
            return invalid("`epsilon`, `delta`, `sampling-rate` and `seed` need a `noise-multiplier` above 0");
        }
        let budget = match (epsilon, delta) {
            (Some(epsilon), Some(delta)) => Some((epsilon, delta)),
            (None, None) => None,
            (None, Some(delta)) => Some((f64::INFINITY, delta)),
            (Some(_), None) => return invalid("`epsilon` needs `delta`"),
        };
        Ok(Some(Self {
            clip,
            multiplier: multiplier.unwrap_or(0.0),
            follow: quantile.map(|quantile| Follow { quantile, lr: lr.unwrap_or(0.2), count_stddev }),
            sampling_rate: sampling_rate.unwrap_or(1.0),
            budget,
            key: if noisy { noise::key(seed)? } else { [0; 32] },
            accountant: Accountant::default(),
            rounds: 0,
            below: 0,
        }))
    }

    /// Whether noise is added, so that all updates weigh the same.
    pub(crate) fn is_noisy(&self) -> bool {
        self.multiplier > 0.0
    }

    /// Refuses a round that would pass the budget.
    pub(crate) fn begin(&mut self) -> Result<(), AggregateError> {
        if let Some((budget, delta)) = self.budget {
            let mut next = self.accountant.clone();
            next.spend(self.multiplier, self.sampling_rate, 1);
            let next = next.epsilon(delta);
            if next > budget || next.is_nan() {
                return Err(AggregateError::BudgetSpent { next, budget, delta });
            }
        }
        self.below = 0;
        Ok(())
    }

    /// What an update of this norm is multiplied by.
    pub(crate) fn shrink(&self, norm: f64) -> f64 {
        if norm > self.clip { self.clip / norm } else { 1.0 }
    }

    /// Counts an update that was folded in.
    pub(crate) fn count(&mut self, norm: f64) {
        self.below = self.below.saturating_add(u32::from(norm <= self.clip));
    }

    /// σ of the noise on the number of updates below the bound, and z of the noise on their mean.
    fn split(&self, accepted: u32) -> Result<(f64, f64), AggregateError> {
        match self.follow {
            None => Ok((0.0, self.multiplier)),
            Some(follow) => split_noise(self.multiplier, f64::from(accepted), follow.count_stddev),
        }
    }

    /// The noise of the round that ends, on the mean of its updates. Refused where these are too few for the noise on their count;
    /// the round stays open.
    pub(crate) fn noise(&self, accepted: u32) -> Result<Option<Noise>, AggregateError> {
        let (_, multiplier) = self.split(accepted)?;
        let sigma = noise_stddev(multiplier, self.clip, f64::from(accepted));
        Ok(self.is_noisy().then(|| Noise::new(noise::round_key(&self.key, self.rounds), sigma)))
    }

    /// Moves the bound and counts the cost of a round that has ended.
    pub(crate) fn finish(&mut self, accepted: u32) -> Result<(), AggregateError> {
        let (count_stddev, _) = self.split(accepted)?;
        if let Some(follow) = self.follow {
            let key = noise::round_key(&self.key, self.rounds);
            let below = f64::from(self.below) + if self.is_noisy() { noise::one(key) * count_stddev } else { 0.0 };
            self.clip = next_clip(self.clip, below / f64::from(accepted), follow.quantile, follow.lr);
        }
        self.rounds = self.rounds.saturating_add(1);
        if self.is_noisy() {
            self.accountant.spend(self.multiplier, self.sampling_rate, 1);
        }
        Ok(())
    }

    pub(crate) fn spent(&self) -> PrivacySpent {
        let delta = self.budget.map(|(_, delta)| delta).filter(|_| self.is_noisy());
        PrivacySpent {
            rounds: self.rounds,
            clip: self.clip,
            epsilon: delta.map(|delta| self.accountant.epsilon(delta)),
        }
    }

    /// What is kept across rounds. The key of the noise is not: a restored job whose noise comes from the operating system takes
    /// fresh one.
    pub(crate) fn save(&self) -> Model {
        let rounds = i64::try_from(self.rounds).unwrap_or(i64::MAX);
        let rdp = self.accountant.spent();
        let tensors = [
            ("clip", Tensor::from_elements(&[], &[self.clip])),
            ("rounds", Tensor::from_elements(&[], &[rounds])),
            ("rdp", Tensor::from_elements(&[u64::try_from(rdp.len()).unwrap_or(u64::MAX)], rdp)),
        ];
        // A few hundred bytes: there is memory for them.
        tensors.into_iter().filter_map(|(name, tensor)| Some((name, tensor.ok()?))).collect()
    }

    pub(crate) fn restore(&mut self, state: &Model) -> Result<(), AggregateError> {
        let clip =
            state.get("clip").and_then(|clip| clip.as_slice::<f64>()?.first().copied()).filter(|clip| *clip > 0.0);
        let rounds = state.get("rounds").and_then(|rounds| rounds.as_slice::<i64>()?.first().copied());
        let rounds = rounds.and_then(|rounds| u64::try_from(rounds).ok());
        let accountant = state.get("rdp").and_then(|rdp| Accountant::restore(rdp.as_slice::<f64>()?));
        let (Some(clip), Some(rounds), Some(accountant)) = (clip, rounds, accountant) else {
            return Err(AggregateError::InvalidArgument(format!(
                "the saved state {STATE:?} lacks clip, rounds or rdp, or is of another version"
            )));
        };
        (self.clip, self.rounds, self.accountant) = (clip, rounds, accountant);
        Ok(())
    }
}
