//! Which bytes of a message have arrived: a sorted list of disjoint, non-touching ranges.

/// A set of byte offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// `(start, end)`, end exclusive.
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// Adds `start..end`; says how many offsets were new.
    pub(crate) fn insert(&mut self, start: u64, end: u64) -> u64 {
        if start >= end {
            return 0;
        }
        let before = self.len();
        let first = self.ranges.partition_point(|&(_, e)| e < start);
        let last = self.ranges.partition_point(|&(s, _)| s <= end);
        let (mut low, mut high) = (start, end);
        for &(s, e) in self.ranges.get(first..last).unwrap_or_default() {
            low = low.min(s);
            high = high.max(e);
        }
        self.ranges.splice(first..last, [(low, high)]);
        self.len().saturating_sub(before)
    }

    /// Whether any offset of `start..end` is in it.
    pub(crate) fn overlaps(&self, start: u64, end: u64) -> bool {
        let first = self.ranges.partition_point(|&(_, e)| e <= start);
        start < end && self.ranges.get(first).is_some_and(|&(s, _)| s < end)
    }

    /// How many offsets are in it.
    pub(crate) fn len(&self) -> u64 {
        self.ranges.iter().map(|&(s, e)| e - s).sum()
    }

    /// One past the highest offset.
    pub(crate) fn highest(&self) -> u64 {
        self.ranges.last().map_or(0, |&(_, e)| e)
    }

    /// Gaps below the highest offset, as `(start, end)`, at most `limit`.
    pub(crate) fn gaps(&self, limit: usize) -> Vec<(u64, u64)> {
        let mut at = 0;
        let mut gaps = Vec::new();
        for &(s, e) in &self.ranges {
            if gaps.len() == limit {
                break;
            }
            if s > at {
                gaps.push((at, s));
            }
            at = e;
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set_of_offsets(parts in prop::collection::vec((0_u64..60, 0_u64..12), 0..40)) {
            let mut ranges = RangeSet::default();
            let mut model = std::collections::BTreeSet::new();
            for (start, len) in parts {
                let before = model.len();
                prop_assert_eq!(ranges.overlaps(start, start + len), (start..start + len).any(|at| model.contains(&at)));
                model.extend(start..start + len);
                prop_assert_eq!(ranges.insert(start, start + len), (model.len() - before) as u64);
                prop_assert_eq!(ranges.len(), model.len() as u64);
                prop_assert_eq!(ranges.highest(), model.last().map_or(0, |last| last + 1));
            }
            let missing: Vec<u64> = ranges.gaps(1000).into_iter().flat_map(|(s, e)| s..e).collect();
            let expected: Vec<u64> = (0..ranges.highest()).filter(|offset| !model.contains(offset)).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
