//! MNIST by federated averaging: one component for the trainer and the aggregator.
//!
//! Hyperparameters: `rounds`, `learningRate` (0.1), `batchSize` (32), `localEpochs` (1), `hidden` (128, a multiple of 32).

pub mod mlp;

use flame_sdk::{Aggregator, Context, Dataset, Error, Metrics, Model, Result, Round, Trainer, Update};
use mlp::{CLASSES, Digits, Mlp, PIXELS};

/// Trains on the digits of one participant.
#[derive(Debug)]
pub struct MnistTrainer {
    digits: Digits,
    batch: usize,
    epochs: u32,
}

impl Trainer for MnistTrainer {
    fn load(ctx: &Context) -> Result<Self> {
        let digits = load(&ctx.dataset()?)?;
        Ok(Self { digits, batch: ctx.hyper_or("batchSize", 32)?, epochs: ctx.hyper_or("localEpochs", 1)? })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a learning rate fits f32")]
    fn train(&mut self, ctx: &Round<'_>, model: &mut Model) -> Result<Update> {
        let rate = ctx.number_or("learningRate", 0.1)? as f32;
        let (mut mlp, mut rng) = (read(model)?, ctx.round_rng());
        let mut score = mlp::Score::default();
        for _ in 0..self.epochs {
            score = mlp.train_epoch(&self.digits, self.batch, rate, &mut rng);
        }
        write(&mlp, model)?;
        Ok(Update::new(self.digits.len().into()).metric("loss", score.loss).metric("accuracy", score.accuracy))
    }

    fn evaluate(&mut self, _: &Round<'_>, model: &Model) -> Result<Metrics> {
        measure(model, &self.digits)
    }
}

/// Makes the first model, and measures each round's on the job's evaluation data where it has some.
#[derive(Debug)]
pub struct MnistAggregator {
    test: Option<Digits>,
}

impl Aggregator for MnistAggregator {
    fn load(ctx: &Context) -> Result<Self> {
        Ok(Self { test: ctx.evaluation_data()?.as_ref().map(load).transpose()? })
    }

    fn initial_model(&mut self, ctx: &Context) -> Result<Model> {
        let hidden: usize = ctx.hyper_or("hidden", 128)?;
        let mlp = Some(hidden).filter(|units| *units <= 4096).and_then(|units| Mlp::new(units, &mut ctx.rng(0)));
        let mlp = mlp.ok_or_else(|| {
            Error::InvalidArgument(format!(
                "hyperparameter hidden must be a multiple of 32 from 32 to 4096, got {hidden}"
            ))
        })?;
        let hidden = hidden as u64;
        let mut model = Model::new();
        let shapes: [&[u64]; 4] = [&[PIXELS as u64, hidden], &[hidden], &[hidden, CLASSES as u64], &[CLASSES as u64]];
        for ((name, shape), layer) in LAYERS.into_iter().zip(shapes).zip(mlp.layers()) {
            model.set_f32(name, shape, &layer)?;
        }
        Ok(model)
    }

    fn evaluate(&mut self, _: &Round<'_>, model: &Model) -> Result<Option<Metrics>> {
        self.test.as_ref().map(|digits| measure(model, digits)).transpose()
    }
}

/// The model's tensors, with inputs along the first axis: `relu(x·w1 + b1)·w2 + b2`, x being the pixels scaled to 0..1.
const LAYERS: [&str; 4] = ["w1", "b1", "w2", "b2"];

fn load(dataset: &Dataset) -> Result<Digits> {
    dataset.images(&[28, 28])?;
    let (images, labels) = (dataset.read_all_u8("images")?, dataset.labels(10)?);
    Digits::new(&images, &labels).ok_or_else(|| Error::ShapeMismatch("as many labels as images are needed".into()))
}

fn read(model: &Model) -> Result<Mlp> {
    let [w1, b1, w2, b2] = LAYERS.map(|name| model.get(name)?.to_f32());
    Mlp::from_layers(&w1?, &b1?, &w2?, &b2?).ok_or_else(|| Error::ShapeMismatch("not a 784-hidden-10 network".into()))
}

fn write(mlp: &Mlp, model: &mut Model) -> Result<()> {
    LAYERS.into_iter().zip(mlp.layers()).try_for_each(|(name, layer)| model.write_f32(name, &layer))
}

fn measure(model: &Model, digits: &Digits) -> Result<Metrics> {
    let score = read(model)?.evaluate(digits);
    Ok(Metrics::from([("loss", score.loss), ("accuracy", score.accuracy)]))
}

flame_sdk::worker! { trainer: MnistTrainer, aggregator: MnistAggregator }
