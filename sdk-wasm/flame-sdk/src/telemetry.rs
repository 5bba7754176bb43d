//! What a person can watch. Best effort: never fails, and is rate limited by the host.

#[cfg(target_family = "wasm")]
use crate::bindings::flame::worker::telemetry as host;

pub use crate::bindings::flame::worker::telemetry::Level;

/// Sends a line to the task's log. The macros [`crate::info!`], [`crate::warn!`] … format first.
pub fn log(level: Level, text: &str) {
    // Native builds (unit tests) have no host behind the import.
    #[cfg(target_family = "wasm")]
    host::log(level, text);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {text}");
}

/// Says that `round` of `rounds` is done.
pub fn progress(round: u64, rounds: u64) {
    #[cfg(target_family = "wasm")]
    host::progress(round, rounds);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("round {round} of {rounds}");
}

/// Logs at level error, as `format!` writes it.
#[macro_export]
macro_rules! error { ($($text:tt)+) => { $crate::telemetry::log($crate::telemetry::Level::Error, &::std::format!($($text)+)) }; }

/// Logs at level warn, as `format!` writes it.
#[macro_export]
macro_rules! warn { ($($text:tt)+) => { $crate::telemetry::log($crate::telemetry::Level::Warn, &::std::format!($($text)+)) }; }

/// Logs at level info, as `format!` writes it.
#[macro_export]
macro_rules! info { ($($text:tt)+) => { $crate::telemetry::log($crate::telemetry::Level::Info, &::std::format!($($text)+)) }; }

/// Logs at level debug, as `format!` writes it.
#[macro_export]
macro_rules! debug { ($($text:tt)+) => { $crate::telemetry::log($crate::telemetry::Level::Debug, &::std::format!($($text)+)) }; }
