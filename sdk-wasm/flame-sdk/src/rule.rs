//! The aggregation rules of the host's catalogue as types: `Aggregation::of(&FedAdam::new().eta(0.05).clip(1.0))`.
//!
//! What must be given is an argument of `new`, everything else a method; what is not said is the catalogue's default. Names are the
//! catalogue's, with underscores for hyphens. A rule of a newer host than this crate is made by name
//! ([`crate::Aggregation::create`]).

use crate::aggregation::OptionValue;

/// A rule with its options.
pub trait Rule {
    /// Its name in the catalogue.
    const NAME: &'static str;

    /// The options that were given.
    fn options(&self) -> &[(&'static str, OptionValue)];
}

/// Which of its two sources an adaptive rule follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The paper, Reddi et al. 2021.
    Reddi,
    /// Flame: the first round is plain FedAvg, no bias correction, eta is 0.01 by default.
    Flame,
}

/// In which type means of narrow floats are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// In 32 bits.
    F32,
    /// In 64 bits, for twice the memory.
    F64,
}

/// A kind of option.
trait IntoOption {
    fn into_option(self) -> OptionValue;
}

impl IntoOption for f64 {
    fn into_option(self) -> OptionValue {
        OptionValue::Number(self)
    }
}

impl IntoOption for u32 {
    fn into_option(self) -> OptionValue {
        OptionValue::Number(f64::from(self))
    }
}

impl IntoOption for bool {
    fn into_option(self) -> OptionValue {
        OptionValue::Flag(self)
    }
}

impl IntoOption for Variant {
    fn into_option(self) -> OptionValue {
        OptionValue::Text(match self {
            Self::Reddi => "reddi".to_owned(),
            Self::Flame => "flame".to_owned(),
        })
    }
}

impl IntoOption for Accumulate {
    fn into_option(self) -> OptionValue {
        OptionValue::Text(match self {
            Self::F32 => "f32".to_owned(),
            Self::F64 => "f64".to_owned(),
        })
    }
}

/// A rule's type: its name, what must be given, what may be.
macro_rules! rule {
    (
        $(#[$doc:meta])*
        $rule:ident = $name:literal ($($need:ident: $need_type:ty = $need_name:literal),*)
        { $($(#[$option_doc:meta])* $option:ident: $type:ty = $option_name:literal),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $rule(Vec<(&'static str, OptionValue)>);

        impl $rule {
            /// The rule with what it cannot do without.
            #[allow(clippy::new_without_default, reason = "some of the rules have a default and some have not")]
            #[must_use]
            pub fn new($($need: $need_type),*) -> Self {
                Self(vec![$(($need_name, IntoOption::into_option($need))),*])
            }

            $($(#[$option_doc])*
            #[must_use]
            pub fn $option(self, $option: $type) -> Self {
                self.with($option_name, $option)
            })*

            common!();

            fn with(mut self, name: &'static str, value: impl IntoOption) -> Self {
                self.0.retain(|(known, _)| *known != name);
                self.0.push((name, value.into_option()));
                self
            }
        }

        impl Rule for $rule {
            const NAME: &'static str = $name;

            fn options(&self) -> &[(&'static str, OptionValue)] {
                &self.0
            }
        }

        #[cfg(test)]
        impl Listed for $rule {
            const REQUIRED: &'static [&'static str] = &[$($need_name),*];
            const OPTIONAL: &'static [&'static str] = &[$($option_name),*];
        }
    };
}

/// Methods for the options that every rule has.
macro_rules! common {
    () => {
        /// Clips δ of every update to this L2 norm over the whole model.
        #[must_use]
        pub fn clip(self, norm: f64) -> Self {
            self.with("clip", norm)
        }

        /// Gaussian noise of σ = z·clip/K on the mean of K updates.
        #[must_use]
        pub fn noise_multiplier(self, z: f64) -> Self {
            self.with("noise-multiplier", z)
        }

        /// Makes the noise from a seed: for tests and repeatable experiments alone.
        #[must_use]
        pub fn seed(self, seed: u32) -> Self {
            self.with("seed", seed)
        }

        /// Lets the clipping bound follow this quantile of the updates' norms (Andrew 2021).
        #[must_use]
        pub fn clip_quantile(self, quantile: f64) -> Self {
            self.with("clip-quantile", quantile)
        }

        /// How quickly it follows.
        #[must_use]
        pub fn clip_lr(self, lr: f64) -> Self {
            self.with("clip-lr", lr)
        }

        /// σ of the noise on the number of updates at or below the bound.
        #[must_use]
        pub fn clip_count_stddev(self, stddev: f64) -> Self {
            self.with("clip-count-stddev", stddev)
        }

        /// Chance of each client to be in a round, where each is drawn by itself.
        #[must_use]
        pub fn sampling_rate(self, rate: f64) -> Self {
            self.with("sampling-rate", rate)
        }

        /// The privacy budget (ε, δ): the round that would pass it is refused.
        #[must_use]
        pub fn budget(self, epsilon: f64, delta: f64) -> Self {
            self.with("epsilon", epsilon).with("delta", delta)
        }

        /// In which type means are kept.
        #[must_use]
        pub fn accumulate(self, accumulate: Accumulate) -> Self {
            self.with("accumulate", accumulate)
        }

        /// Sums that do not depend on the order of arrival, to the bit, for twice the memory.
        #[must_use]
        pub fn deterministic(self, deterministic: bool) -> Self {
            self.with("deterministic", deterministic)
        }

        /// Most that one client may weigh of a round.
        #[must_use]
        pub fn max_weight_share(self, share: f64) -> Self {
            self.with("max-weight-share", share)
        }

        /// Threads of a loop over a model. Never changes a result.
        #[must_use]
        pub fn threads(self, threads: u32) -> Self {
            self.with("threads", threads)
        }
    };
}

rule! {
    /// The mean weighted by samples, McMahan et al. 2017.
    FedAvg = "fedavg" () {}
}
rule! {
    /// FedAvg on the server; the clients add (mu/2)·‖w − w_t‖², which [`crate::client::FedProxClient`] does. Li et al. 2020.
    FedProx = "fedprox" () {
        /// Weight of the clients' term, at least 0.
        mu: f64 = "mu",
    }
}
rule! {
    /// Server momentum, Hsu et al. 2019.
    FedAvgM = "fedavgm" () {
        /// Server learning rate, above 0.
        lr: f64 = "lr",
        /// Server momentum, at least 0 and below 1.
        momentum: f64 = "momentum",
    }
}
rule! {
    /// Adagrad on the mean update, Reddi et al. 2021.
    FedAdagrad = "fedadagrad" () {
        /// Server learning rate, above 0.
        eta: f64 = "eta",
        /// Decay of the first moment, as far as the catalogue lets it decay.
        beta_1: f64 = "beta-1",
        /// Decay of the second moment, as far as the catalogue lets it decay.
        beta_2: f64 = "beta-2",
        /// Added to √v, above 0.
        tau: f64 = "tau",
        /// Whom it follows.
        variant: Variant = "variant",
    }
}
rule! {
    /// Adam on the mean update, Reddi et al. 2021.
    FedAdam = "fedadam" () {
        /// Server learning rate, above 0.
        eta: f64 = "eta",
        /// Decay of the first moment, at least 0 and below 1.
        beta_1: f64 = "beta-1",
        /// Decay of the second moment, at least 0 and below 1.
        beta_2: f64 = "beta-2",
        /// Added to √v, above 0.
        tau: f64 = "tau",
        /// Whether the rate of early rounds is corrected.
        bias_correction: bool = "bias-correction",
        /// Whom it follows.
        variant: Variant = "variant",
    }
}
rule! {
    /// Yogi on the mean update, Reddi et al. 2021.
    FedYogi = "fedyogi" () {
        /// Server learning rate, above 0.
        eta: f64 = "eta",
        /// Decay of the first moment, at least 0 and below 1.
        beta_1: f64 = "beta-1",
        /// Decay of the second moment, at least 0 and below 1.
        beta_2: f64 = "beta-2",
        /// Added to √v, above 0.
        tau: f64 = "tau",
        /// Whom it follows.
        variant: Variant = "variant",
    }
}
rule! {
    /// More weight for clients with a larger loss (metric `loss`), Li et al. 2020.
    QFedAvg = "qfedavg" (q: f64 = "q", lr: f64 = "lr") {}
}
rule! {
    /// Updates by step (metric `steps`, see [`crate::client::momentum_steps`]), Wang et al. 2020.
    FedNova = "fednova" () {}
}
rule! {
    /// Control variates against client drift, which [`crate::client::ScaffoldClient`] keeps. Karimireddy et al. 2020.
    Scaffold = "scaffold" (clients: u32 = "clients") {
        /// Server learning rate, above 0.
        server_lr: f64 = "server-lr",
    }
}
rule! {
    /// Dynamic regularisation, whose clients' part is [`crate::client::FedDynClient`]. Acar et al. 2021.
    FedDyn = "feddyn" (clients: u32 = "clients") {
        /// Weight of the clients' regulariser, above 0.
        alpha: f64 = "alpha",
    }
}
rule! {
    /// A buffer of `goal` asynchronous updates, Nguyen et al. 2022.
    FedBuff = "fedbuff" (goal: u32 = "goal") {}
}
rule! {
    /// Each asynchronous update is mixed in as it comes, Xie et al. 2019.
    FedAsync = "fedasync" () {
        /// Share of a fresh update, above 0 and at most 1.
        mixing: f64 = "mixing",
        /// Exponent of staleness, at least 0.
        decay: f64 = "decay",
    }
}
rule! {
    /// The median of each coordinate, Yin et al. 2018.
    Median = "median" () {}
}
rule! {
    /// The mean of each coordinate without its largest and smallest values, Yin et al. 2018.
    TrimmedMean = "trimmed-mean" () {
        /// Share of the updates dropped at each end, at least 0 and below 0.5.
        beta: f64 = "beta",
    }
}
rule! {
    /// The one update that is nearest to its neighbours where `f` may be malicious, Blanchard et al. 2017.
    Krum = "krum" (f: u32 = "f") {}
}
rule! {
    /// The mean of the `keep` best by Krum's score, Blanchard et al. 2017.
    MultiKrum = "multi-krum" (f: u32 = "f", keep: u32 = "keep") {}
}
rule! {
    /// Krum's choice, then what is near the median of each coordinate, El Mhamdi et al. 2018.
    Bulyan = "bulyan" (f: u32 = "f") {}
}
rule! {
    /// The point nearest to all updates at once, Pillutla et al. 2022.
    GeometricMedian = "geometric-median" () {
        /// Steps of Weiszfeld's algorithm, at least 1.
        iterations: u32 = "iterations",
        /// Least distance that is divided by, above 0.
        epsilon: f64 = "epsilon",
    }
}
rule! {
    /// The mean of the updates clipped around the last round's model, Karimireddy et al. 2021.
    CentredClip = "centred-clip" (tau: f64 = "tau") {
        /// Steps of each round, at least 1.
        iterations: u32 = "iterations",
    }
}
rule! {
    /// FedAvg of updates whose norms are at most `bound`.
    NormBound = "norm-bound" (bound: f64 = "bound") {}
}
rule! {
    /// Trust by likeness to the server's own update, Cao et al. 2021.
    FlTrust = "fltrust" () {}
}

/// For the comparison with the catalogue.
#[cfg(test)]
trait Listed: Rule {
    const REQUIRED: &'static [&'static str];
    const OPTIONAL: &'static [&'static str];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        names.into_iter().collect()
    }

    fn common() -> Vec<(&'static str, OptionValue)> {
        FedAvg::new()
            .clip(1.0)
            .noise_multiplier(0.5)
            .seed(1)
            .clip_quantile(0.5)
            .clip_lr(0.2)
            .clip_count_stddev(3.0)
            .sampling_rate(0.5)
            .budget(8.0, 1e-5)
            .accumulate(Accumulate::F64)
            .deterministic(true)
            .max_weight_share(0.5)
            .threads(1)
            .options()
            .to_vec()
    }

    /// Holds a rule's type against the catalogue and makes the rule.
    fn agrees<R: Listed>(rule: &R) -> &'static str {
        let info = flame_aggregate::rule_info(R::NAME).unwrap_or_else(|| panic!("no rule {}", R::NAME));
        let with = |required: bool| info.options.iter().filter(move |option| option.default.is_none() == required);
        assert_eq!(names(R::REQUIRED.iter().copied()), names(with(true).map(|option| option.name)), "{}", R::NAME);
        assert_eq!(names(R::OPTIONAL.iter().copied()), names(with(false).map(|option| option.name)), "{}", R::NAME);
        made(R::NAME, rule.options());
        R::NAME
    }

    fn made(rule: &str, options: &[(&'static str, OptionValue)]) {
        let value = |value: &OptionValue| match value {
            OptionValue::Number(number) => flame_aggregate::OptionValue::Number(*number),
            OptionValue::Text(text) => flame_aggregate::OptionValue::Text(text.clone()),
            OptionValue::Flag(flag) => flame_aggregate::OptionValue::Flag(*flag),
        };
        let options: Vec<_> = options.iter().map(|(name, option)| ((*name).to_owned(), value(option))).collect();
        if let Err(error) = flame_aggregate::Aggregator::create(rule, &options) {
            panic!("{rule}: {error}");
        }
    }

    #[test]
    fn every_rule_of_the_catalogue_has_a_type_with_its_options() {
        let typed = [
            agrees(&FedAvg::new()),
            agrees(&FedProx::new().mu(0.1)),
            agrees(&FedAvgM::new().lr(0.5).momentum(0.9)),
            agrees(&FedAdagrad::new().eta(0.1).tau(1e-3).variant(Variant::Reddi)),
            agrees(&FedAdam::new().eta(0.1).beta_1(0.9).beta_2(0.99).tau(1e-3).bias_correction(false)),
            agrees(&FedYogi::new().eta(0.1).beta_1(0.9).beta_2(0.99).tau(1e-3).variant(Variant::Flame)),
            agrees(&QFedAvg::new(1.0, 0.1)),
            agrees(&FedNova::new()),
            agrees(&Scaffold::new(4).server_lr(0.5)),
            agrees(&FedDyn::new(4).alpha(0.1)),
            agrees(&FedBuff::new(2)),
            agrees(&FedAsync::new().mixing(0.5).decay(0.5)),
            agrees(&Median::new()),
            agrees(&TrimmedMean::new().beta(0.1)),
            agrees(&Krum::new(1)),
            agrees(&MultiKrum::new(1, 2)),
            agrees(&Bulyan::new(1)),
            agrees(&GeometricMedian::new().iterations(3)),
            agrees(&CentredClip::new(1.0).iterations(2)),
            agrees(&NormBound::new(1.0)),
            agrees(&FlTrust::new()),
        ];
        assert_eq!(names(typed), names(flame_aggregate::rules().iter().map(|rule| rule.name)));
    }

    #[test]
    fn every_rule_has_the_common_options() {
        let given = common();
        let known = names(flame_aggregate::common_options().map(|option| option.name));
        assert_eq!(names(given.iter().map(|(name, _)| *name)), known);
        made("fedavg", &given);
    }

    #[test]
    fn what_is_said_last_counts() {
        let adam = FedAdam::new().eta(0.1).eta(0.2);
        assert!(matches!(adam.options(), [("eta", OptionValue::Number(eta))] if (eta - 0.2).abs() < 1e-12));
    }
}
