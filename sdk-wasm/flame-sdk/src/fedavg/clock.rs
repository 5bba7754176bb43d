//! Time since a loop began, for deadlines. A host may give its guests a coarse or a still clock, so that waits which ran
//! to their deadlines count as time gone by, too.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Pauses between attempts while the transport is down.
const PAUSE: Duration = Duration::from_millis(500);

/// Time since its making.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    waited: Duration,
    down: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), waited: Duration::ZERO, down: Duration::ZERO }
    }

    /// Now.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed().max(self.waited)
    }

    /// A wait of `within` ran to its deadline.
    pub(super) fn waited(&mut self, within: Duration) {
        self.waited += within;
    }

    /// The transport works.
    pub(super) fn up(&mut self) {
        self.down = Duration::ZERO;
    }

    /// The transport is down: pauses, and gives `error` back once that has lasted for `patience`.
    pub(super) fn pause(&mut self, patience: Duration, error: Error) -> Result<()> {
        if self.down >= patience {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
        self.down += PAUSE;
        self.waited(PAUSE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_ran_out_count_as_time_on_a_still_clock() {
        let mut clock = Clock::new();
        clock.waited(Duration::from_secs(100));
        assert!(clock.now() >= Duration::from_secs(100));
    }

    #[test]
    fn a_transport_that_stays_down_is_an_error_in_the_end() {
        let mut clock = Clock::new();
        let down = || Error::Unavailable("broker".into());
        assert!(clock.pause(PAUSE, down()).is_ok());
        assert_eq!(clock.pause(PAUSE, down()), Err(down()));
        clock.up();
        assert!(clock.pause(PAUSE, down()).is_ok());
    }
}
