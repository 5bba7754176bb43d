//! Typed hyperparameters: the job's JSON, read with messages that name key, need and got. Pure.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A type that a hyperparameter can have, with the words that a message needs for it.
pub trait Hyper: DeserializeOwned {
    /// What a person would call a value of this type, such as "a whole number".
    const NEED: &'static str;
}

macro_rules! hyper {
    ($($type:ty: $need:literal),+ $(,)?) => { $(impl Hyper for $type { const NEED: &'static str = $need; })+ };
}

hyper! {
    bool: "true or false",
    f32: "a number",
    f64: "a number",
    i64: "a whole number",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number of 0 or more",
    usize: "a whole number of 0 or more",
    String: "a text",
    Vec<f64>: "a list of numbers",
    Vec<String>: "a list of texts",
    serde_json::Value: "any JSON",
}

/// Reads hyperparameter `key` from its JSON text.
pub(crate) fn parse<T: Hyper>(key: &str, text: &str) -> Result<T> {
    let wrong = |got: &str| {
        let got: String =
            if got.chars().count() > 60 { got.chars().take(60).chain(['…']).collect() } else { got.into() };
        Error::InvalidArgument(format!("hyperparameter {key} must be {}, got {got}", T::NEED))
    };
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    // JSON writers turn 32 into 32.0 at times; a whole number is one however it is written.
    match text.trim().parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
        Ok(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            serde_json::from_str(&(number as i64).to_string()).map_err(|_| wrong(text))
        }
        _ => Err(wrong(text)),
    }
}

/// The message for a hyperparameter that the job must name and does not.
pub(crate) fn missing<T: Hyper>(key: &str) -> Error {
    Error::NotFound(format!("hyperparameter {key} ({}): add it under \"hyperparameters\" in the job file", T::NEED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_however_they_are_written() {
        assert_eq!(parse::<u64>("rounds", "20").unwrap(), 20);
        assert_eq!(parse::<u64>("rounds", "20.0").unwrap(), 20);
        assert!((parse::<f64>("learningRate", "1").unwrap() - 1.0).abs() < 1e-12);
        assert!((parse::<f32>("learningRate", "0.1").unwrap() - 0.1).abs() < 1e-7);
    }

    #[test]
    fn a_wrong_type_names_key_need_and_got() {
        let error = parse::<u64>("batchSize", "\"many\"").unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid argument: hyperparameter batchSize must be a whole number of 0 or more, got \"many\""
        );
        assert!(parse::<u64>("batchSize", "-3").is_err());
        assert!(parse::<u64>("batchSize", "0.5").is_err());
        assert!(parse::<bool>("flag", "1").is_err());
    }

    #[test]
    fn a_long_wrong_value_is_cut_short() {
        let long = format!("\"{}\"", "x".repeat(5000));
        assert!(parse::<f64>("learningRate", &long).unwrap_err().to_string().len() < 200);
    }
}
