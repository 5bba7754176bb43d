//! What is printed: a table for people, or one JSON object a line.

use serde_json::json;

use super::Options;

/// A measured case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The same of the yardstick, where there is one.
    pub(crate) limit: Option<f64>,
}

pub(crate) fn print(bench: &str, case: &Case, options: &Options) {
    let Case { name, value, unit, limit } = case;
    let ratio = limit.filter(|limit| *limit > 0.0).map(|limit| value / limit);
    if options.json {
        let line = json!({"bench": bench, "case": name, "value": value, "unit": unit, "limit": limit, "ratio": ratio});
        println!("{line}");
    } else {
        let beside = limit.zip(ratio).map(|(limit, ratio)| format!("  limit {limit:>10.3}  ratio {ratio:.2}"));
        println!("{name:<44} {value:>10.3} {unit:<8}{}", beside.unwrap_or_default());
    }
}

/// The middle one; of an even number the lower.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}

/// The value below which a share `q` lies.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
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
