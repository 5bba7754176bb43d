//! A round with nothing in it but Flame: the trainer adds one to every parameter, in the host. What each part of the round takes is
//! stamped by the machine's clock, so the stamps of several processes on one machine can be compared.

mod one_model;
mod stamping;

use std::time::SystemTime;

use flame_sdk::{Aggregator, Context, Dtype, Error, Metrics, Model, Result, Round, Tensor, Trainer, Update};

/// Parameters that are added to in one call: the ones that are added take so much memory and no more.
const PART: u64 = 1 << 20;

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// As many zeros as hyperparameter "parameters" says.
fn zeros(ctx: &Context) -> Result<Model> {
    let mut model = Model::new();
    model.set("w", &Tensor::zeros(&[ctx.hyper("parameters")?], Dtype::Float32)?)?;
    Ok(model)
}

/// The ones that are added in one call: `most`, or as many as a model has.
fn ones(ctx: &Context, most: u64) -> Result<Model> {
    let part = ctx.hyper::<u64>("parameters")?.min(most);
    let mut ones = Model::new();
    ones.set_f32("w", &[part], &vec![1.0; part as usize])?;
    Ok(ones)
}

struct PlusOne {
    ones: Model,
    /// The beginning of its task's id.
    name: String,
}

impl Trainer for PlusOne {
    fn load(ctx: &Context) -> Result<Self> {
        Ok(Self { ones: ones(ctx, PART)?, name: ctx.task_id().chars().take(8).collect() })
    }

    fn train(&mut self, ctx: &Round<'_>, model: &mut Model) -> Result<Update> {
        let got = now();
        // Zero before the first round, and one more after each.
        let (is, should) = (model.get("w")?.read_f32(0, 1)?, ctx.round as f32 - 1.0);
        if is != [should] {
            return Err(Error::Worker(format!("round {}: the model begins with {is:?}, not with {should}", ctx.round)));
        }
        let (count, part) = (model.parameter_count(), self.ones.parameter_count());
        for at in (0..count).step_by(part as usize) {
            if count - at < part {
                model.axpby_slice(at, 1.0, &self.ones.slice(0, count - at)?, 1.0)?;
            } else {
                model.axpby_slice(at, 1.0, &self.ones, 1.0)?;
            }
        }
        Ok(Update::new(1).metric(&format!("got-{}", self.name), got).metric(&format!("done-{}", self.name), now()))
    }
}

/// The aggregator that users write: the round loop is the SDK's.
struct Usual {
    begun: f64,
}

impl Aggregator for Usual {
    fn load(_: &Context) -> Result<Self> {
        Ok(Self { begun: 0.0 })
    }

    fn initial_model(&mut self, ctx: &Context) -> Result<Model> {
        zeros(ctx)
    }

    fn configure(&mut self, _: &Round<'_>) -> Result<Metrics> {
        self.begun = now();
        Ok(Metrics::new())
    }

    fn evaluate(&mut self, _: &Round<'_>, _: &Model) -> Result<Option<Metrics>> {
        Ok(Some(Metrics::from([("begun", self.begun), ("ended", now())])))
    }
}

flame_sdk::worker! {
    trainer: PlusOne,
    aggregator: Usual,
    "stamping-aggregator": stamping::Stamping,
    "giver": one_model::Giver,
    "taker": one_model::Taker,
}
