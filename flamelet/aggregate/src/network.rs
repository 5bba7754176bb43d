//! Sorting networks over rows: the same comparisons for every coordinate, so that they run on whole vectors of coordinates.

use std::ops::Range;

/// Compares and swaps two rows, the lower to the first.
pub(crate) type Comparator = (usize, usize);

/// Batcher's odd-even merge sort of `rows` rows, without the comparators that no row of `wanted` depends on.
pub(crate) fn network(rows: usize, wanted: Range<usize>) -> Vec<Comparator> {
    let mut comparators = Vec::new();
    let mut p = 1;
    while p < rows {
        let mut k = p;
        while k >= 1 {
            let mut j = k % p;
            while j + k < rows {
                for i in 0..k.min(rows - j - k) {
                    let (low, high) = (i + j, i + j + k);
                    if low / (p * 2) == high / (p * 2) {
                        comparators.push((low, high));
                    }
                }
                j += 2 * k;
            }
            k /= 2;
        }
        p *= 2;
    }
    // From the end: what a wanted row is compared with is wanted before.
    let mut needed: Vec<bool> = (0..rows).map(|row| wanted.contains(&row)).collect();
    comparators.reverse();
    comparators.retain(|(low, high)| {
        let is = |row: &usize| needed.get(*row).copied().unwrap_or_default();
        let kept = is(low) || is(high);
        for row in [low, high] {
            if let (true, Some(needed)) = (kept, needed.get_mut(*row)) {
                *needed = true;
            }
        }
        kept
    });
    comparators.reverse();
    comparators
}

/// Runs a network over rows of `width` elements that lie one after another.
pub(crate) fn run<V: Copy + PartialOrd>(network: &[Comparator], rows: &mut [V], width: usize) {
    for (low, high) in network {
        let Some((before, after)) = rows.split_at_mut_checked(high * width) else { return };
        let (Some(low), Some(high)) = (before.get_mut(low * width..(low + 1) * width), after.get_mut(..width)) else {
            return;
        };
        for (low, high) in low.iter_mut().zip(high) {
            let (a, b) = (*low, *high);
            // As the processor's own minimum and maximum do it.
            *low = if b < a { b } else { a };
            *high = if b < a { a } else { b };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_of_zeros_and_ones_is_sorted_where_it_is_wanted() {
        // What sorts these sorts everything (Knuth, the 0-1 principle).
        for rows in 0..=13_usize {
            for wanted in [0..rows, rows / 2..rows.min(rows / 2 + 1), rows / 4..rows - rows / 4] {
                let network = network(rows, wanted.clone());
                for bits in 0..1_u32 << rows {
                    let mut numbers: Vec<u32> = (0..rows).map(|row| bits >> row & 1).collect();
                    run(&network, &mut numbers, 1);
                    let zeros = rows - bits.count_ones() as usize;
                    for row in wanted.clone() {
                        assert_eq!(numbers[row], u32::from(row >= zeros), "{rows} {bits:b}");
                    }
                }
            }
        }
    }

    #[test]
    fn large_networks_sort() {
        for rows in [31, 32, 33, 64] {
            let mut numbers: Vec<usize> = (0..rows).map(|row| row * 37 % 101).collect();
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            run(&network(rows, 0..rows), &mut numbers, 1);
            assert_eq!(numbers, sorted);
        }
    }

    #[test]
    fn a_median_needs_fewer_comparisons_than_a_sort() {
        assert!(network(10, 4..6).len() < network(10, 0..10).len());
    }
}
