//! Everybody, fixed for a round.

use super::{Held, Selector};
use crate::channel::EndId;

/// Everybody who is here when the round begins; who comes later takes part from the next round on.
#[derive(Clone, Debug, Default)]
pub struct All {
    held: Held,
}

impl Selector for All {
    fn select(&mut self, round: u64, candidates: &[EndId]) -> Vec<EndId> {
        self.held.in_round(round, || candidates.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ends;
    use super::*;

    #[test]
    fn sel_01_who_joins_in_a_round_is_in_the_next() {
        let mut all = All::default();
        assert_eq!(all.select(1, &ends(2)), ends(2));
        assert_eq!(all.select(1, &ends(3)), ends(2));
        assert_eq!(all.select(2, &ends(3)), ends(3));
    }
}
