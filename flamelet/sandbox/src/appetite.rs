//! What an aggregation rule takes of the host's memory while a round is open, before it is taken.

use flame_aggregate::{OptionValue, RuleInfo};
use flame_model::{Dtype, Model};

/// Rules with a second sum, of second models or of histories.
const TWO_SUMS: [&str; 2] = ["scaffold", "feddyn"];

/// What a rule and its options mean for the memory of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appetite {
    /// Bytes that a sum keeps of an element of a narrow float, and of any other.
    narrow: u64,
    wide: u64,
    sums: u64,
    /// Whether updates are held until the round ends.
    pub(crate) holds: bool,
}

impl Appetite {
    pub(crate) fn new(rule: &RuleInfo, options: &[(String, OptionValue)]) -> Self {
        let given =
            |name: &str| options.iter().find(|(given, _)| given.replace('_', "-") == name).map(|(_, value)| value);
        let deterministic = matches!(given("deterministic"), Some(OptionValue::Flag(true)));
        let in_f64 = matches!(given("accumulate"), Some(OptionValue::Text(word)) if word == "f64");
        // Sums in fixed point begin with eight bytes and may go on in sixteen.
        let (narrow, wide) = match (deterministic, in_f64) {
            (true, _) => (16, 16),
            (false, true) => (8, 8),
            (false, false) => (4, 8),
        };
        let sums = if TWO_SUMS.contains(&rule.name) { 2 } else { 1 };
        // A cap on one client's share holds back those that might pass it.
        Self { narrow, wide, sums, holds: !rule.streams || given("max-weight-share").is_some() }
    }

    /// Bytes of a round's sums and of the model that comes out of them.
    pub(crate) fn of_round(&self, base: &Model) -> u64 {
        let sum = base.iter().map(|(_, tensor)| {
            let element = match tensor.dtype() {
                Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16 => self.narrow,
                Dtype::Float64 | Dtype::Int64 | Dtype::Int32 | Dtype::Uint8 => self.wide,
            };
            (tensor.len() as u64).saturating_mul(element)
        });
        let sum = sum.fold(0, u64::saturating_add);
        sum.saturating_mul(self.sums).saturating_add(base.byte_size())
    }
}

#[cfg(test)]
mod tests {
    use flame_aggregate::rule_info;
    use flame_model::Tensor;

    use super::*;

    fn of(rule: &str, options: &[(&str, OptionValue)]) -> Appetite {
        let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Appetite::new(rule_info(rule).unwrap(), &options)
    }

    #[test]
    fn sums_are_charged_as_their_options_have_them() {
        let base: Model = [
            ("narrow", Tensor::zeros(&[100], Dtype::Float32).unwrap()),
            ("wide", Tensor::zeros(&[10], Dtype::Float64).unwrap()),
        ]
        .into_iter()
        .collect();
        let own = base.byte_size();
        assert_eq!(of("fedavg", &[]).of_round(&base), own + 400 + 80);
        assert_eq!(of("scaffold", &[]).of_round(&base), own + 2 * 480);
        let in_f64 = [("accumulate", OptionValue::Text("f64".into()))];
        assert_eq!(of("fedavg", &in_f64).of_round(&base), own + 880);
        assert_eq!(of("fedavg", &[("deterministic", OptionValue::Flag(true))]).of_round(&base), own + 1760);
    }

    #[test]
    fn rules_that_do_not_stream_hold_what_they_are_given() {
        assert!(!of("fedavg", &[]).holds);
        assert!(of("median", &[]).holds && of("krum", &[]).holds);
        assert!(of("fedavg", &[("max_weight_share", OptionValue::Number(0.5))]).holds);
    }
}
