//! Aggregation rules that jobs name: looked up in the engine's own catalogue, so that a job is not created that its aggregator would
//! refuse to begin.

use flame_aggregate::{Aggregator, OptionValue};
use flame_tag::Choice;
use serde_json::Value;

/// Why a job's optimizer cannot be; `None` where it can. An aggregator of the rule is made and dropped: it costs nothing before its
/// first round.
pub(super) fn refusal(choice: &Choice) -> Option<String> {
    let mut options = Vec::with_capacity(choice.kwargs.len());
    for (name, value) in &choice.kwargs {
        let value = match value {
            Value::Number(number) => number.as_f64().map(OptionValue::Number),
            Value::String(text) => Some(OptionValue::Text(text.clone())),
            Value::Bool(flag) => Some(OptionValue::Flag(*flag)),
            _ => None,
        };
        match value {
            Some(value) => options.push((name.clone(), value)),
            None => return Some(format!("optimizer: option {name:?} is neither a number, a text nor true or false")),
        }
    }
    Aggregator::create(&choice.sort, &options).err().map(|error| format!("optimizer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sort: &str, kwargs: &serde_json::Value) -> Option<String> {
        refusal(&Choice { sort: sort.into(), kwargs: kwargs.as_object().unwrap().clone() })
    }

    #[test]
    fn every_rule_of_the_catalogue_can_be_named_and_nothing_else() {
        assert_eq!(refused("fedadam", &serde_json::json!({"eta": 0.05, "beta_1": 0.8, "variant": "flame"})), None);
        assert_eq!(refused("fedavg", &serde_json::json!({})), None);
        for (sort, kwargs, said) in [
            ("fedaverage", serde_json::json!({}), "unknown aggregation rule"),
            ("fedadam", serde_json::json!({"etta": 0.1}), "has no option"),
            ("fedadam", serde_json::json!({"eta": -1}), "a number above 0"),
            ("fedbuff", serde_json::json!({}), "\"goal\""),
            ("fedadam", serde_json::json!({"eta": [1]}), "neither a number, a text"),
        ] {
            let reason = refused(sort, &kwargs).unwrap();
            assert!(reason.starts_with("optimizer: ") && reason.contains(said), "{reason}");
        }
    }
}
