//! Federated averaging of the example's network without Flame, in one native process: what accuracy should a job reach?
//!
//! `cargo run --release -p mnist-wasm --example simulate -- [PARTICIPANTS] [iid|ALPHA] [ROUNDS] [LEARNING_RATE] [BATCH] [SEEDS]`
//! prints the accuracy on the test digits after the last round for each seed, the median, and the time per round.

use std::io::Read;
use std::time::Instant;

use flame_sdk::Rng;
use mnist::mlp::{CLASSES, Digits, Mlp, PIXELS};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &'static str| words.get(at).map_or(default, String::as_str);
    let participants: usize = word(0, "4").parse()?;
    let alpha: Option<f64> = if word(1, "iid") == "iid" { None } else { Some(word(1, "iid").parse()?) };
    let rounds: u32 = word(2, "20").parse()?;
    let (rate, batch): (f32, usize) = (word(3, "0.1").parse()?, word(4, "32").parse()?);
    let seeds: u64 = word(5, "20").parse()?;

    let (images, labels) = read("train")?;
    let (test_images, test_labels) = read("test")?;
    let test = Digits::new(&test_images, &test_labels).ok_or("the test data do not fit")?;
    let mut ends = Vec::new();
    for seed in 1..=seeds {
        let start = Instant::now();
        let mut rng = Rng::for_stream(seed, 0);
        let shards: Vec<Digits> = partition(&labels, participants, alpha, &mut rng)
            .iter()
            .map(|rows| shard(&images, &labels, rows).ok_or("a shard does not fit"))
            .collect::<Result<_, _>>()?;
        let mut global = Mlp::new(128, &mut rng).ok_or("128 hidden units do not fit")?;
        for round in 1..=rounds {
            global = average(&global, &shards, |at, mlp, digits| {
                let mut rng = Rng::for_stream(seed ^ ((at as u64 + 1) << 32), round.into());
                mlp.train_epoch(digits, batch, rate, &mut rng);
            })
            .ok_or("the average does not fit")?;
        }
        let accuracy = global.evaluate(&test).accuracy;
        let ms = start.elapsed().as_secs_f64() * 1e3 / f64::from(rounds);
        println!("seed {seed:2}: {accuracy:.4} ({ms:.1} ms a round)");
        ends.push(accuracy);
    }
    ends.sort_by(f64::total_cmp);
    let (least, median) = (ends.first().ok_or("no seeds")?, ends.get(ends.len() / 2).ok_or("no seeds")?);
    println!("least {least:.4}, median {median:.4}");
    Ok(())
}

/// One round: everybody trains from `global`, and the sample-weighted mean is the new one.
fn average(global: &Mlp, shards: &[Digits], train: impl Fn(usize, &mut Mlp, &Digits)) -> Option<Mlp> {
    let total: f64 = shards.iter().map(|digits| f64::from(digits.len())).sum();
    let mut sums = global.layers().map(|layer| vec![0.0_f64; layer.len()]);
    for (at, digits) in shards.iter().enumerate().filter(|(_, digits)| !digits.is_empty()) {
        let mut mlp = global.clone();
        train(at, &mut mlp, digits);
        for (sum, layer) in sums.iter_mut().zip(mlp.layers()) {
            let weight = f64::from(digits.len()) / total;
            sum.iter_mut().zip(layer).for_each(|(sum, value)| *sum += weight * f64::from(value));
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "a model is kept in f32")]
    let [w1, b1, w2, b2] = sums.map(|sum| sum.into_iter().map(|value| value as f32).collect::<Vec<_>>());
    Mlp::from_layers(&w1, &b1, &w2, &b2)
}

/// Rows of each participant: equal random shares, or for every class shares drawn from a symmetric Dirichlet distribution.
fn partition(labels: &[u8], participants: usize, alpha: Option<f64>, rng: &mut Rng) -> Vec<Vec<usize>> {
    let mut shares = vec![Vec::new(); participants];
    let Some(alpha) = alpha else {
        let mut rows: Vec<usize> = (0..labels.len()).collect();
        rng.shuffle(&mut rows);
        for (share, rows) in shares.iter_mut().zip(rows.chunks(labels.len().div_ceil(participants))) {
            share.extend(rows);
        }
        return shares;
    };
    for class in 0..CLASSES {
        let mut rows: Vec<usize> =
            (0..labels.len()).filter(|row| labels.get(*row).is_some_and(|l| usize::from(*l) == class)).collect();
        rng.shuffle(&mut rows);
        let weights: Vec<f64> = (0..participants).map(|_| gamma(alpha, rng)).collect();
        let total: f64 = weights.iter().sum();
        let (mut sum, mut from) = (0.0, 0);
        for (share, weight) in shares.iter_mut().zip(&weights) {
            sum += weight;
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of rows"
            )]
            let to = ((sum / total * rows.len() as f64).round() as usize).clamp(from, rows.len());
            share.extend(rows.get(from..to).unwrap_or_default());
            from = to;
        }
    }
    shares
}

/// A gamma variate of shape `alpha` (Marsaglia and Tsang 2000).
fn gamma(alpha: f64, rng: &mut Rng) -> f64 {
    if alpha < 1.0 {
        return gamma(alpha + 1.0, rng) * f64::from(1.0 - rng.uniform()).powf(1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    loop {
        let x = f64::from(rng.normal());
        let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
        if v > 0.0 && f64::from(1.0 - rng.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

fn shard(images: &[u8], labels: &[u8], rows: &[usize]) -> Option<Digits> {
    let mut own = (Vec::new(), Vec::new());
    for row in rows {
        own.0.extend(images.get(row * PIXELS..(row + 1) * PIXELS)?);
        own.1.push(*labels.get(*row)?);
    }
    Digits::new(&own.0, &own.1)
}

/// Images and labels of a folder of `data/`, without their IDX headers (16 and 8 bytes).
fn read(folder: &str) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let load = |name: &str, header: usize| -> Result<Vec<u8>, Failure> {
        let path = format!("{}/data/{folder}/{name}.gz", env!("CARGO_MANIFEST_DIR"));
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut bytes)?;
        Ok(bytes.split_off(header.min(bytes.len())))
    };
    Ok((load("images-idx3-ubyte", 16)?, load("labels-idx1-ubyte", 8)?))
}
