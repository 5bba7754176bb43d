//! Spreads the training data over participants.

use flame_model::{Dtype, Tensor};
use flame_sandbox::Dataset;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma};

use crate::args::Partition;

/// Fewest rows of a participant; a draw that gives anybody fewer is drawn again.
const MIN_ROWS: usize = 10;
/// Draws before the split counts as impossible.
const MAX_DRAWS: usize = 1_000;

/// One data set for each participant; together they hold every row once.
pub(super) fn shards(
    training: &Dataset,
    participants: usize,
    partition: Partition,
    seed: u64,
) -> anyhow::Result<Vec<Dataset>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let rows = match partition {
        Partition::Iid => iid(usize::try_from(training.rows())?, participants, &mut random),
        Partition::Dirichlet(alpha) => {
            let labels = training.array("labels").filter(|labels| labels.dtype() == Dtype::Uint8);
            let labels = labels.ok_or_else(|| anyhow::anyhow!("the training data has no array `labels` of bytes"))?;
            dirichlet(labels.bytes(), participants, alpha, &mut random)?
        }
    };
    rows.iter().map(|rows| take(training, rows)).collect()
}

/// Shuffled and dealt out; sizes differ by one at the most.
fn iid(rows: usize, participants: usize, random: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(random);
    (0..participants)
        .map(|participant| order.iter().skip(participant).step_by(participants).copied().collect())
        .collect()
}

/// For every label, its rows are cut by shares from a symmetric Dirichlet distribution (Hsu, Qi and Brown 2019).
fn dirichlet(
    labels: &[u8],
    participants: usize,
    alpha: f64,
    random: &mut ChaCha8Rng,
) -> anyhow::Result<Vec<Vec<usize>>> {
    let gamma = Gamma::new(alpha, 1.0)?;
    let classes = labels.iter().max().map_or(0, |label| usize::from(*label) + 1);
    for _ in 0..MAX_DRAWS {
        let mut shards = vec![Vec::new(); participants];
        for class in 0..classes {
            let mut rows: Vec<usize> =
                (0..).zip(labels).filter(|(_, l)| usize::from(**l) == class).map(|(r, _)| r).collect();
            rows.shuffle(random);
            // Normalised Gamma variates are a Dirichlet one.
            let weights: Vec<f64> = (0..participants).map(|_| gamma.sample(random)).collect();
            let total = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            let (mut cut, mut sum) = (0, 0.0);
            for (shard, share) in shards.iter_mut().zip(&weights) {
                sum += share / total;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "a share between 0 and 1 of a number of rows"
                )]
                let end = ((sum * rows.len() as f64).round() as usize).clamp(cut, rows.len());
                shard.extend(rows.iter().skip(cut).take(end - cut));
                cut = end;
            }
            // Rounding can leave a last row: nobody's loss but it belongs to somebody.
            if let Some(last) = shards.last_mut() {
                last.extend(rows.iter().skip(cut));
            }
        }
        if shards.iter().all(|rows| rows.len() >= MIN_ROWS) {
            for rows in &mut shards {
                rows.shuffle(random);
            }
            return Ok(shards);
        }
    }
    anyhow::bail!(
        "no split of {} rows over {participants} participants with alpha {alpha} gives everybody {MIN_ROWS} rows; take \
         fewer participants or a larger alpha",
        labels.len()
    )
}

/// The rows named, as a data set.
fn take(from: &Dataset, rows: &[usize]) -> anyhow::Result<Dataset> {
    let mut arrays = indexmap::IndexMap::new();
    for (name, tensor) in from.arrays() {
        let row_elements: u64 = tensor.shape().iter().skip(1).product();
        let mut bytes = Vec::with_capacity(rows.len() * usize::try_from(row_elements)? * tensor.dtype().size());
        for row in rows {
            bytes.extend_from_slice(tensor.read_bytes(*row as u64 * row_elements, row_elements)?);
        }
        let shape: Vec<u64> =
            std::iter::once(rows.len() as u64).chain(tensor.shape().iter().skip(1).copied()).collect();
        arrays.insert(name.to_owned(), Tensor::from_bytes(&shape, tensor.dtype(), &bytes)?);
    }
    Dataset::new(from.name().to_owned(), arrays).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything_once(shards: &[Vec<usize>], rows: usize) {
        let mut all: Vec<usize> = shards.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..rows).collect::<Vec<_>>());
    }

    #[test]
    fn every_row_goes_to_one_participant() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let shards = iid(103, 4, &mut random);
        everything_once(&shards, 103);
        assert!(shards.iter().all(|rows| rows.len() == 25 || rows.len() == 26));
        let labels: Vec<u8> = (0..2_000).map(|row| u8::try_from(row % 10).unwrap()).collect();
        for alpha in [0.1, 0.5, 100.0] {
            everything_once(&dirichlet(&labels, 7, alpha, &mut random).unwrap(), 2_000);
        }
    }

    #[test]
    fn a_small_alpha_skews_the_labels() {
        let labels: Vec<u8> = (0..10_000).map(|row| u8::try_from(row % 10).unwrap()).collect();
        let largest_share = |alpha| {
            let shards = dirichlet(&labels, 5, alpha, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
            let share = |rows: &Vec<usize>| {
                let most = (0..10).map(|c| rows.iter().filter(|r| labels[**r] == c).count()).max().unwrap();
                f64::from(u32::try_from(most).unwrap()) / f64::from(u32::try_from(rows.len()).unwrap())
            };
            shards.iter().map(share).sum::<f64>() / 5.0
        };
        assert!(largest_share(0.1) > 0.3 && largest_share(1_000.0) < 0.12);
    }

    #[test]
    fn one_seed_gives_one_split() {
        let split = |seed| iid(1_000, 3, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(split(5), split(5));
        assert_ne!(split(5), split(6));
    }

    #[test]
    fn an_impossible_split_says_so() {
        let error = dirichlet(&[0, 1, 2], 2, 0.5, &mut ChaCha8Rng::seed_from_u64(1)).unwrap_err();
        assert!(error.to_string().contains("fewer participants"), "{error}");
    }
}
