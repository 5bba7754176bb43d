//! Everybody in turn.

use std::collections::BTreeMap;

use super::{Held, Selector, in_roster_order};
use crate::channel::EndId;

/// `k` ends a round: those that were asked least often, in roster order among equals. One that is new or was away is taken as if it
/// had been asked as often as the one asked least, so that it does not have to make up for what it missed.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    k: usize,
    turns: BTreeMap<EndId, u64>,
    held: Held,
}

impl RoundRobin {
    /// `k` ends, or all where fewer are here; at least 1.
    pub fn new(k: usize) -> Self {
        Self { k: k.max(1), turns: BTreeMap::new(), held: Held::default() }
    }
}

impl Selector for RoundRobin {
    fn select(&mut self, round: u64, candidates: &[EndId]) -> Vec<EndId> {
        let (k, turns) = (self.k, &mut self.turns);
        self.held.in_round(round, || {
            turns.retain(|end, _| candidates.contains(end));
            let least = turns.values().min().copied().unwrap_or(0);
            let mut by_turn: Vec<(u64, usize)> =
                (0..).zip(candidates).map(|(at, end)| (*turns.entry(end.clone()).or_insert(least), at)).collect();
            by_turn.sort_unstable();
            let chosen = in_roster_order(candidates, by_turn.into_iter().take(k).map(|(_, at)| at).collect());
            for end in &chosen {
                if let Some(turn) = turns.get_mut(end) {
                    *turn += 1;
                }
            }
            chosen
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ends;
    use super::*;

    #[test]
    fn everybody_has_a_turn_before_anybody_has_two() {
        let mut robin = RoundRobin::new(2);
        let asked: Vec<_> = (1..=5).map(|round| robin.select(round, &ends(5))).collect();
        assert_eq!(asked[0], ["e0", "e1"]);
        assert_eq!(robin.select(5, &ends(5)), asked[4], "fixed for the round");
        assert_eq!(asked[1], ["e2", "e3"]);
        let all = asked.concat();
        for end in ends(5) {
            assert_eq!(all.iter().filter(|other| **other == end).count(), 2, "{end}");
        }
    }

    #[test]
    fn a_newcomer_does_not_make_up_for_what_it_missed() {
        let mut robin = RoundRobin::new(1);
        for round in 1..=6 {
            robin.select(round, &ends(2));
        }
        let asked: Vec<_> = (7..=9).flat_map(|round| robin.select(round, &ends(3))).collect();
        assert_eq!(asked, ["e0", "e1", "e2"]);
    }
}
