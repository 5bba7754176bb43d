//! Small seeded randomness: the same seed gives the same numbers on every machine and in every run. Not for secrets.

/// xoshiro256++ (Blackman and Vigna, 2019), seeded by splitmix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
    spare: Option<f32>,
}

impl Rng {
    /// A generator for `seed`; near seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        let mut at = seed;
        let mut next = || {
            at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(at)
        };
        Self { state: [next(), next(), next(), next()], spare: None }
    }

    /// A generator for one purpose (`stream`, such as a round's number) of one seed: a worker that was restarted and runs a round
    /// again draws the same numbers.
    pub fn for_stream(seed: u64, stream: u64) -> Self {
        Self::new(mix(seed ^ mix(stream.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A whole number below `bound`, each equally likely; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Lemire's method: the high half of the product, with the few values that would be favoured drawn again.
        let floor = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
            let low = product as u64;
            if low >= floor {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in `[0, 1)` with 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "24 bits are exact in f32")]
        let bits = (self.next_u64() >> 40) as f32;
        bits * (1.0 / 16_777_216.0)
    }

    /// A normally distributed number with mean 0 and deviation 1 (Box-Muller).
    pub fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // 1 − u keeps the logarithm's argument above 0.
        let radius = (-2.0 * f64::from(1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * f64::from(self.uniform())).sin_cos();
        #[expect(clippy::cast_possible_truncation, reason = "f32 is what is asked for")]
        let (first, second) = ((radius * cos) as f32, (radius * sin) as f32);
        self.spare = Some(second);
        first
    }

    /// Puts `items` in a random order, each equally likely (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let pick = usize::try_from(self.below(last as u64 + 1)).unwrap_or(last);
            items.swap(last, pick);
        }
    }
}

/// splitmix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_in_every_run() {
        let mut rng = Rng { state: [1, 2, 3, 4], spare: None };
        // First outputs of the authors' xoshiro256++ from state 1, 2, 3, 4.
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
        assert_eq!(Rng::new(7).next_u64(), Rng::new(7).next_u64());
        assert_ne!(Rng::for_stream(7, 1).next_u64(), Rng::for_stream(7, 2).next_u64());
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut rng = Rng::new(1);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(rng.normal())).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_depends_on_the_seed() {
        let deal = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            Rng::new(seed).shuffle(&mut items);
            items
        };
        let mut sorted = deal(3);
        assert_ne!(sorted, deal(4));
        assert_eq!(sorted, deal(3));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut rng = Rng::new(5);
        let mut seen = [false; 3];
        for _ in 0..100 {
            seen[usize::try_from(rng.below(3)).unwrap()] = true;
            assert!((0.0..1.0).contains(&rng.uniform()));
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(rng.below(0), 0);
    }
}
