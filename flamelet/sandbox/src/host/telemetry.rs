//! `flame:worker/telemetry`: what a person can watch.

use crate::Level;
use crate::bindings::flame::worker::telemetry::{self, Host};
use crate::state::HostState;

impl Host for HostState {
    fn log(&mut self, level: telemetry::Level, text: String) -> wasmtime::Result<()> {
        let level = match level {
            telemetry::Level::Trace => Level::Trace,
            telemetry::Level::Debug => Level::Debug,
            telemetry::Level::Info => Level::Info,
            telemetry::Level::Warn => Level::Warn,
            telemetry::Level::Error => Level::Error,
        };
        self.log.line(level, &text);
        Ok(())
    }

    fn progress(&mut self, round: u64, rounds: u64) -> wasmtime::Result<()> {
        // Two numbers of the guest's choice are words, too.
        if !self.log.stays() {
            self.spec.sink.progress(round, rounds);
        }
        Ok(())
    }
}
