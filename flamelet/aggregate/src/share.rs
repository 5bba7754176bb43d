//! `max-weight-share`: no client weighs more than a share of the round.
//!
//! The capped weights are vᵢ = min(wᵢ, share·V) with V = Σ vᵢ. V is not known before the round ends, but it only grows: a
//! client that stays below the share of what has come so far is certain and folded at once. The others, fewer than 1/share of
//! them at any time, are held back, and enter at the end with the cap. So the result is exact and does not depend on the order
//! of arrival, and memory is that of 1/share updates whatever their number.

use crate::held::{Held, in_canonical_order};
use crate::rule::Update;

/// The cap of a job and what it holds back of a round.
#[derive(Debug)]
pub(crate) struct WeightShare {
    share: f64,
    /// Σ of the weights that are certain.
    certain: u128,
    held: Vec<Held>,
}

impl WeightShare {
    pub(crate) const fn new(share: f64) -> Self {
        Self { share, certain: 0, held: Vec::new() }
    }

    /// Starts a round.
    pub(crate) fn begin(&mut self) {
        *self = Self::new(self.share);
    }

    /// Bytes of the updates that are held back.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held.iter().map(Held::byte_size).fold(0, u64::saturating_add)
    }

    /// Takes an update and gives back those that are certain to stay below the cap.
    pub(crate) fn push(&mut self, update: &Update<'_>) -> Vec<Held> {
        self.held.push(Held::of(update));
        let Some(cap) = self.cap() else { return Vec::new() };
        let (certain, held) = std::mem::take(&mut self.held).into_iter().partition(|held: &Held| held.weight <= cap);
        self.held = held;
        self.certain = certain.iter().fold(self.certain, |sum, held: &Held| sum.saturating_add(whole(held.weight)));
        certain
    }

    /// What was held back, with capped weights. Where so few came that each must weigh more than the share, all weigh the
    /// same.
    pub(crate) fn finish(&mut self) -> Vec<Held> {
        let cap = self.cap().map_or(1.0, |cap| cap.floor().max(1.0));
        let mut held = in_canonical_order(std::mem::take(&mut self.held));
        for held in &mut held {
            held.weight = held.weight.min(cap);
        }
        held
    }

    /// share·V of what has come so far; `None` where too few came for any V.
    #[expect(clippy::cast_precision_loss, reason = "a cap need not be exact, only the same in any order")]
    fn cap(&self) -> Option<f64> {
        let mut weights: Vec<u128> = self.held.iter().map(|held| whole(held.weight)).collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let mut below = weights.iter().fold(self.certain, |sum, weight| sum.saturating_add(*weight));
        let mut room = 1.0;
        for weight in weights {
            let cap = self.share * (below as f64 / room);
            if weight as f64 <= cap {
                return Some(cap);
            }
            // This one is capped: it has its share, and the rest shares what is left.
            below = below.saturating_sub(weight);
            room -= self.share;
        }
        (below > 0 && room > 0.0).then(|| self.share * (below as f64 / room))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and at least 1")]
const fn whole(weight: f64) -> u128 {
    weight as u128
}
