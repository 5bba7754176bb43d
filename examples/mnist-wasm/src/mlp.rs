//! A perceptron with one hidden layer (784-128-10: ReLU, softmax cross-entropy) and plain minibatch SGD. Pure; the only file here
//! that knows numbers.
//!
//! Four fifths of a digit's pixels are 0, so an image is kept as the list of its ink, and a pass costs one 32-wide multiply-add per
//! pixel of ink and 32 hidden units. Loops over 32 have a fixed length: they become straight SIMD code, in which the sandbox's
//! interruption checks (one per loop turn) weigh little.

use flame_sdk::{Minibatches, Rng};

/// Pixels of a digit, 28 × 28.
pub const PIXELS: usize = 784;
/// Classes, 0 to 9.
pub const CLASSES: usize = 10;
/// Hidden units that one kernel handles; the number of hidden units is a multiple of it.
pub const BLOCK: usize = 32;
/// Classes rounded up to whole SIMD registers; the padding stays 0.
const PADDED: usize = 12;

/// One pixel that is not 0.
#[derive(Clone, Copy, Debug)]
struct Ink {
    pixel: u32,
    /// Above 0, at most 1.
    value: f32,
}

/// Labelled digits, as lists of their ink.
#[derive(Clone, Debug, Default)]
pub struct Digits {
    ink: Vec<Ink>,
    /// Where each digit's ink ends.
    ends: Vec<usize>,
    labels: Vec<u8>,
}

impl Digits {
    /// From rows of 784 bytes and as many labels below 10; `None` where the two do not fit.
    pub fn new(images: &[u8], labels: &[u8]) -> Option<Self> {
        if images.len() != labels.len() * PIXELS || labels.iter().any(|label| usize::from(*label) >= CLASSES) {
            return None;
        }
        let mut digits = Self { labels: labels.to_vec(), ..Self::default() };
        for image in images.chunks_exact(PIXELS) {
            let ink = (0..).zip(image).filter(|(_, byte)| **byte > 0);
            digits.ink.extend(ink.map(|(pixel, byte)| Ink { pixel, value: f32::from(*byte) / 255.0 }));
            digits.ends.push(digits.ink.len());
        }
        Some(digits)
    }

    /// The number of digits.
    pub fn len(&self) -> u32 {
        u32::try_from(self.labels.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    fn ink(&self, row: u32) -> &[Ink] {
        let row = row as usize;
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(row).and_then(|end| self.ink.get(start..*end)).unwrap_or_default()
    }

    fn label(&self, row: u32) -> usize {
        self.labels.get(row as usize).copied().map_or(0, usize::from)
    }
}

/// Mean cross-entropy and share of right answers over a number of digits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
}

/// The network. Weights of the first layer are kept in blocks of 32 hidden units, each a 784 × 32 matrix that fits a core's cache.
#[derive(Clone, Debug)]
pub struct Mlp {
    w1: Vec<[f32; BLOCK]>,
    b1: Vec<[f32; BLOCK]>,
    /// A row per hidden unit.
    w2: Vec<[f32; PADDED]>,
    b2: [f32; PADDED],
}

impl Mlp {
    /// Random weights with variance 2 / inputs (He et al. 2015); biases of 0.
    pub fn new(hidden: usize, rng: &mut Rng) -> Option<Self> {
        let mut normal =
            |count: usize, variance: f32| -> Vec<f32> { (0..count).map(|_| rng.normal() * variance.sqrt()).collect() };
        #[expect(clippy::cast_precision_loss, reason = "layer sizes are small")]
        let (w1, w2) = (normal(PIXELS * hidden, 2.0 / PIXELS as f32), normal(hidden * CLASSES, 2.0 / hidden as f32));
        Self::from_layers(&w1, &vec![0.0; hidden], &w2, &[0.0; CLASSES])
    }

    /// From row-major layers: `x·w1 + b1` with w1 784 × hidden, `h·w2 + b2` with w2 hidden × 10. `None` where the sizes do not fit.
    pub fn from_layers(w1: &[f32], b1: &[f32], w2: &[f32], b2: &[f32]) -> Option<Self> {
        let (hidden, blocks) = (b1.len(), b1.len() / BLOCK);
        let (rows, rest) = w1.as_chunks::<BLOCK>();
        let fits = blocks > 0 && hidden % BLOCK == 0 && rest.is_empty() && rows.len() == PIXELS * blocks;
        if !fits || w2.len() != hidden * CLASSES || b2.len() != CLASSES {
            return None;
        }
        let w1 = (0..blocks).flat_map(|block| rows.iter().skip(block).step_by(blocks).copied()).collect();
        Some(Self {
            w1,
            b1: b1.as_chunks().0.to_vec(),
            w2: w2.as_chunks::<CLASSES>().0.iter().map(|row| padded(row)).collect(),
            b2: padded(b2),
        })
    }

    /// The layers as [`Mlp::from_layers`] takes them: w1, b1, w2, b2.
    pub fn layers(&self) -> [Vec<f32>; 4] {
        let w1 = (0..PIXELS).flat_map(|pixel| self.w1.iter().skip(pixel).step_by(PIXELS).flatten().copied()).collect();
        let w2 = self.w2.iter().flat_map(|row| row.iter().take(CLASSES).copied()).collect();
        [w1, self.b1.iter().flatten().copied().collect(), w2, self.b2.iter().take(CLASSES).copied().collect()]
    }

    /// The number of hidden units.
    pub fn hidden(&self) -> usize {
        self.w2.len()
    }

    /// One epoch of minibatch SGD in a random order; the score is that of each batch before its step.
    pub fn train_epoch(&mut self, digits: &Digits, batch: usize, rate: f32, rng: &mut Rng) -> Score {
        let mut pass = Pass::default();
        let mut total = Total::default();
        for rows in Minibatches::new(digits.len(), batch, rng).iter() {
            self.forward(digits, rows, &mut pass);
            total.add(digits, rows, &mut pass);
            self.step(digits, rows, rate, &mut pass);
        }
        total.mean()
    }

    /// The score over all digits.
    pub fn evaluate(&self, digits: &Digits) -> Score {
        let mut pass = Pass::default();
        let mut total = Total::default();
        let rows: Vec<u32> = (0..digits.len()).collect();
        for rows in rows.chunks(64) {
            self.forward(digits, rows, &mut pass);
            total.add(digits, rows, &mut pass);
        }
        total.mean()
    }

    /// Hidden activations and logits of a minibatch.
    fn forward(&self, digits: &Digits, rows: &[u32], pass: &mut Pass) {
        pass.hidden.resize(rows.len() * self.b1.len(), [0.0; BLOCK]);
        for (block, (w1, b1)) in self.w1.chunks_exact(PIXELS).zip(&self.b1).enumerate() {
            let hidden = pass.hidden.iter_mut().skip(block).step_by(self.b1.len());
            for (hidden, row) in hidden.zip(rows) {
                *hidden = gather(w1, digits.ink(*row), *b1).map(|sum| sum.max(0.0));
            }
        }
        pass.logits.clear();
        for hidden in pass.hidden.chunks_exact(self.b1.len()) {
            let mut logits = self.b2;
            for (unit, weights) in hidden.as_flattened().iter().zip(&self.w2) {
                axpy(*unit, weights, &mut logits);
            }
            pass.logits.push(logits);
        }
    }

    /// One step down the gradient of the minibatch's mean loss; `pass.logits` holds its derivatives by the logits.
    fn step(&mut self, digits: &Digits, rows: &[u32], rate: f32, pass: &mut Pass) {
        #[expect(clippy::cast_precision_loss, reason = "batches are small")]
        let scale = -rate / rows.len() as f32;
        pass.g2.clear();
        pass.g2.resize(self.w2.len(), [0.0; PADDED]);
        let blocks = self.b1.len();
        for (hidden, slopes) in pass.hidden.chunks_exact_mut(blocks).zip(&pass.logits) {
            let units = hidden.as_flattened_mut().iter_mut();
            for ((unit, weights), gradient) in units.zip(&self.w2).zip(&mut pass.g2) {
                axpy(*unit, slopes, gradient);
                // From here on `hidden` is the derivative by the hidden sum, scaled to a step; ReLU passes it where the unit is on.
                *unit = if *unit > 0.0 { dot(weights, slopes) * scale } else { 0.0 };
            }
            axpy(scale, slopes, &mut self.b2);
        }
        for (weights, gradient) in self.w2.iter_mut().zip(&pass.g2) {
            axpy(scale, gradient, weights);
        }
        for (block, (w1, b1)) in self.w1.chunks_exact_mut(PIXELS).zip(&mut self.b1).enumerate() {
            for (slopes, row) in pass.hidden.iter().skip(block).step_by(blocks).zip(rows) {
                axpy(1.0, slopes, b1);
                scatter(w1, digits.ink(*row), slopes);
            }
        }
    }
}

/// What a minibatch leaves behind, reused from batch to batch.
#[derive(Default)]
struct Pass {
    /// Digit by digit, block by block.
    hidden: Vec<[f32; BLOCK]>,
    logits: Vec<[f32; PADDED]>,
    /// The gradient of the second layer.
    g2: Vec<[f32; PADDED]>,
}

/// Sums for a mean score.
#[derive(Default)]
struct Total {
    loss: f64,
    right: u32,
    seen: u32,
}

impl Total {
    /// Scores a minibatch, and turns its logits into the loss's derivatives by them: softmax − one-hot.
    fn add(&mut self, digits: &Digits, rows: &[u32], pass: &mut Pass) {
        for (row, padded) in rows.iter().zip(&mut pass.logits) {
            let label = digits.label(*row);
            let (logits, _) = padded.split_at_mut(CLASSES);
            let most = logits.iter().copied().fold(f32::MIN, f32::max);
            let own = logits.get(label).copied().unwrap_or(most);
            let mut sum = 0.0;
            for logit in logits.iter_mut() {
                *logit = (*logit - most).exp();
                sum += *logit;
            }
            self.loss += f64::from(sum.ln() - (own - most));
            self.right += u32::from(own >= most);
            self.seen += 1;
            for (class, share) in logits.iter_mut().enumerate() {
                *share = *share / sum - if class == label { 1.0 } else { 0.0 };
            }
        }
    }

    fn mean(&self) -> Score {
        let seen = f64::from(self.seen.max(1));
        Score { loss: self.loss / seen, accuracy: f64::from(self.right) / seen }
    }
}

/// `bias + Σ value · w1[pixel]` over a digit's ink, for the 32 hidden units of a block.
fn gather(w1: &[[f32; BLOCK]], ink: &[Ink], bias: [f32; BLOCK]) -> [f32; BLOCK] {
    let mut sum = bias;
    let mut add = |ink: &Ink| {
        if let Some(weights) = w1.get(ink.pixel as usize) {
            axpy(ink.value, weights, &mut sum);
        }
    };
    // Two a turn halve the sandbox's checks.
    let (pairs, rest) = ink.as_chunks::<2>();
    for [first, second] in pairs {
        add(first);
        add(second);
    }
    rest.iter().for_each(add);
    sum
}

/// `w1[pixel] += value · slopes` over a digit's ink, for the 32 hidden units of a block.
fn scatter(w1: &mut [[f32; BLOCK]], ink: &[Ink], slopes: &[f32; BLOCK]) {
    // A copy that nothing else can point to stays in registers.
    let slopes = *slopes;
    let mut add = |ink: &Ink| {
        if let Some(weights) = w1.get_mut(ink.pixel as usize) {
            axpy(ink.value, &slopes, weights);
        }
    };
    let (pairs, rest) = ink.as_chunks::<2>();
    for [first, second] in pairs {
        add(first);
        add(second);
    }
    rest.iter().for_each(add);
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "its callers keep `y` in registers")]
fn axpy<const N: usize>(a: f32, x: &[f32; N], y: &mut [f32; N]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// The product over four lanes at a time, which keeps the order of the sum the same on every machine.
fn dot(x: &[f32; PADDED], y: &[f32; PADDED]) -> f32 {
    let mut lanes = [0.0; 4];
    for (x, y) in x.as_chunks::<4>().0.iter().zip(y.as_chunks::<4>().0) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    let [one, two, three, four] = lanes;
    (one + three) + (two + four)
}

fn padded(row: &[f32]) -> [f32; PADDED] {
    let mut wide = [0.0; PADDED];
    wide.iter_mut().zip(row).for_each(|(wide, value)| *wide = *value);
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits that are bright in a stripe of their class's own, with noise.
    fn stripes(count: u8, rng: &mut Rng) -> Digits {
        let labels: Vec<u8> = (0..count).map(|row| row % 10).collect();
        let mut images = vec![0; labels.len() * PIXELS];
        for (image, label) in images.chunks_exact_mut(PIXELS).zip(&labels) {
            for (pixel, byte) in image.iter_mut().enumerate() {
                let bright = pixel / 78 == usize::from(*label) || rng.below(10) == 0;
                *byte = if bright { u8::try_from(rng.below(200) + 50).unwrap() } else { 0 };
            }
        }
        Digits::new(&images, &labels).unwrap()
    }

    #[test]
    fn a_step_follows_the_gradient_that_finite_differences_give() {
        let mut rng = Rng::new(1);
        let digits = stripes(20, &mut rng);
        let mlp = Mlp::new(32, &mut rng).unwrap();
        let rows: Vec<u32> = (0..digits.len()).collect();
        let (mut moved, mut pass) = (mlp.clone(), Pass::default());
        moved.forward(&digits, &rows, &mut pass);
        Total::default().add(&digits, &rows, &mut pass);
        moved.step(&digits, &rows, 1.0, &mut pass);

        let (before, after) = (mlp.layers(), moved.layers());
        let loss = |layers: &[Vec<f32>; 4]| {
            let [w1, b1, w2, b2] = layers;
            Mlp::from_layers(w1, b1, w2, b2).unwrap().evaluate(&digits).loss
        };
        for layer in 0..4 {
            for _ in 0..8 {
                let at = usize::try_from(rng.below(before[layer].len() as u64)).unwrap();
                let (mut up, mut down) = (before.clone(), before.clone());
                up[layer][at] += 2e-3;
                down[layer][at] -= 2e-3;
                let slope = (loss(&up) - loss(&down)) / 4e-3;
                let step = f64::from(before[layer][at] - after[layer][at]);
                assert!(
                    (slope - step).abs() < 2e-3 + 0.02 * slope.abs(),
                    "layer {layer} at {at}: {slope} against {step}"
                );
            }
        }
    }

    #[test]
    fn it_learns_a_small_problem() {
        let mut rng = Rng::new(2);
        let (train, test) = (stripes(200, &mut rng), stripes(100, &mut rng));
        let mut mlp = Mlp::new(32, &mut rng).unwrap();
        let first = mlp.evaluate(&test);
        for _ in 0..15 {
            mlp.train_epoch(&train, 10, 0.1, &mut rng);
        }
        let last = mlp.evaluate(&test);
        assert!(first.accuracy < 0.5 && last.accuracy > 0.95, "{first:?} {last:?}");
        assert!(last.loss < first.loss);
    }

    #[test]
    fn layers_survive_the_change_of_layout() {
        let mlp = Mlp::new(64, &mut Rng::new(3)).unwrap();
        let layers = mlp.layers();
        let [w1, b1, w2, b2] = &layers;
        assert_eq!(Mlp::from_layers(w1, b1, w2, b2).unwrap().layers(), layers);
        // Row-major: row 5 of w1, unit 40 (block 1, place 8).
        assert_eq!(w1[5 * 64 + 40].to_bits(), mlp.w1[PIXELS + 5][8].to_bits());
        assert_eq!(mlp.hidden(), 64);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Digits::new(&[0; PIXELS], &[1, 2]).is_none());
        assert!(Digits::new(&[0; PIXELS], &[10]).is_none());
        assert!(Mlp::new(33, &mut Rng::new(1)).is_none());
        assert!(Mlp::new(0, &mut Rng::new(1)).is_none());
        assert!(Mlp::from_layers(&vec![0.0; PIXELS * 32], &[0.0; 32], &[0.0; 320], &[0.0; 9]).is_none());
    }
}
