//! What is printed: a table for people, or one JSON object a line.

use std::io::Write as _;

use serde_json::json;

/// A measured case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What the machine itself does, where there is such a thing.
    pub(crate) limit: Option<f64>,
    pub(crate) goal: Option<Goal>,
}

/// What the project set itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    ValueAtMost(f64),
    ValueAtLeast(f64),
}

/// Where cases go as soon as they are measured.
pub(crate) struct Report {
    bench: &'static str,
    json: bool,
}

impl Report {
    pub(crate) fn begin(bench: &'static str, json: bool) -> Self {
        if !json {
            println!("{:<40} {:>11} {:<11} {:>11} {:>7}  goal", "case", "value", "unit", "limit", "ratio");
        }
        Self { bench, json }
    }

    pub(crate) fn case(&self, case: &Case) {
        let Case { name, value, unit, goal, .. } = case;
        let (limit, ratio) = (case.limit(), case.ratio());
        if self.json {
            let bench = self.bench;
            println!(
                "{}",
                json!({"bench": bench, "case": name, "value": value, "unit": unit, "limit": limit, "ratio": ratio})
            );
        } else {
            let number = |number: Option<f64>, width, digits| match number {
                Some(number) => format!("{number:>width$.digits$}"),
                None => format!("{:>width$}", "-"),
            };
            let goal = goal.map_or_else(String::new, |goal| goal.said(*value, ratio));
            let (value, limit, ratio) = (number(Some(*value), 11, 3), number(limit, 11, 3), number(ratio, 7, 2));
            println!("{name:<40} {value} {unit:<11} {limit} {ratio}  {goal}");
        }
        // Whoever reads it through a pipe waits for minutes otherwise.
        let _ = std::io::stdout().flush();
    }
}

impl Case {
    /// A yardstick that lost messages is none.
    fn limit(&self) -> Option<f64> {
        self.limit.filter(|limit| limit.is_finite() && *limit > 0.0)
    }

    fn ratio(&self) -> Option<f64> {
        self.limit().map(|limit| self.value / limit)
    }
}

impl Goal {
    fn said(self, value: f64, ratio: Option<f64>) -> String {
        let (text, met) = match self {
            Self::RatioAtLeast(goal) => (format!("ratio at least {goal}"), ratio.map(|ratio| ratio >= goal)),
            Self::RatioAtMost(goal) => (format!("ratio at most {goal}"), ratio.map(|ratio| ratio <= goal)),
            Self::ValueAtMost(goal) => (format!("at most {goal}"), Some(value <= goal)),
            Self::ValueAtLeast(goal) => (format!("at least {goal}"), Some(value >= goal)),
        };
        match met {
            Some(true) => format!("{text}: met"),
            Some(false) => format!("{text}: MISSED"),
            None => text,
        }
    }
}

/// The middle one; of an even number the lower.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which a share `q` lies.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = (q * (values.len().saturating_sub(1)) as f64) as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(value: f64, limit: f64) -> Case {
        Case { name: "c".into(), value, unit: "s", limit: Some(limit), goal: None }
    }

    #[test]
    fn a_ratio_is_value_by_limit_and_a_yardstick_that_lost_messages_gives_none() {
        assert_eq!(case(3.0, 2.0).ratio(), Some(1.5));
        assert_eq!(case(3.0, f64::INFINITY).ratio(), None);
        assert_eq!(case(3.0, 0.0).ratio(), None);
    }

    #[test]
    fn a_goal_says_whether_it_is_met() {
        assert!(Goal::RatioAtLeast(0.7).said(0.0, Some(0.7)).ends_with(": met"));
        assert!(Goal::RatioAtMost(1.5).said(0.0, Some(1.6)).ends_with(": MISSED"));
        assert!(Goal::ValueAtMost(1.0).said(0.5, None).ends_with(": met"));
        assert!(Goal::ValueAtLeast(1.0).said(0.5, None).ends_with(": MISSED"));
        assert_eq!(Goal::RatioAtMost(2.0).said(0.0, None), "ratio at most 2");
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.5, 1.0].map(|q| format!("{}", quantile(&values, q))), ["1", "3", "5"]);
        assert!(median(&[]).is_nan());
    }
}
