//! Packets that come twice.

/// Which counters of a session were seen: everything more than the window behind the highest counts as seen.
#[derive(Debug, Clone)]
pub(crate) struct ReplayWindow {
    highest: u64,
    bits: Vec<u64>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { highest: 0, bits: vec![0; Self::WORDS] }
    }
}

impl ReplayWindow {
    const WORDS: usize = 64;
    /// How far behind the highest a counter may lag.
    const SPAN: u64 = 64 * Self::WORDS as u64;

    /// Whether `counter` comes for the first time; remembers it.
    pub(crate) fn admit(&mut self, counter: u64) -> bool {
        if counter > self.highest {
            if counter - self.highest >= Self::SPAN {
                self.bits.fill(0);
            } else {
                for skipped in self.highest + 1..counter {
                    self.set(skipped, false);
                }
            }
            self.highest = counter;
            self.set(counter, true);
            return true;
        }
        if self.highest - counter >= Self::SPAN || self.get(counter) {
            return false;
        }
        self.set(counter, true);
        true
    }

    fn place(counter: u64) -> (usize, u64) {
        let bit = counter % Self::SPAN;
        (usize::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64))
    }

    fn get(&self, counter: u64) -> bool {
        let (word, mask) = Self::place(counter);
        self.bits.get(word).is_some_and(|bits| bits & mask != 0)
    }

    fn set(&mut self, counter: u64, seen: bool) {
        let (word, mask) = Self::place(counter);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits = if seen { *bits | mask } else { *bits & !mask };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_counter_is_admitted_once(counters in prop::collection::vec(1_u64..9000, 0..300)) {
            let mut window = ReplayWindow::default();
            let mut seen = std::collections::HashSet::new();
            let mut highest = 0;
            for counter in counters {
                let lagging = highest >= counter + ReplayWindow::SPAN;
                prop_assert_eq!(window.admit(counter), !lagging && !seen.contains(&counter));
                if !lagging { seen.insert(counter); }
                highest = highest.max(counter);
            }
        }
    }
}
