//! Does what the hyperparameter `do` names and logs what came of it, as `what: ok` or `what: error`.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flame_sdk::{Channel, Context, Dataset, Dtype, Error, Form, Message, Metrics, Model, Outgoing, Result, Role, Tensor, telemetry};

const LONG: Duration = Duration::from_secs(3_600);

struct Probe;

impl Role for Probe {
    fn run(ctx: &Context) -> Result<()> {
        let what: String = ctx.hyper("do")?;
        match what.as_str() {
            "nothing" => Ok(()),
            "attempts" => attempts(ctx),
            "spin" => spin(),
            "spin-calling" => loop {
                black_box(ctx.check_stop().is_ok());
            },
            "wait" => Channel::join("param")?.recv_fifo(&[], LONG).map(drop),
            "memory" => memory(),
            "tensors" => (0..).try_for_each(|_| Tensor::zeros(&[1 << 18], Dtype::Float32).map(std::mem::forget)),
            "handles" => (0..).try_for_each(|_| Tensor::zeros(&[1], Dtype::Float32).map(std::mem::forget)),
            "models" => loop {
                std::mem::forget(Model::new());
            },
            "carry" => Tensor::from_bytes(&[1 << 20], Dtype::Uint8, &vec![0; 1 << 20]).map(drop),
            "log" => {
                (0..5_000).for_each(|line| flame_sdk::info!("line {line}"));
                Ok(())
            }
            "record" => (0..).try_for_each(|round| ctx.record_metrics(round, &[("x", 1.0)].into())),
            "publish" => (0..).try_for_each(|_| ctx.publish_model("model", &constant(1.0, 1 << 16)?)),
            "queue" => queue(),
            "progress" => {
                telemetry::progress(1, 2);
                Ok(())
            }
            "speak" => {
                flame_sdk::info!("a secret");
                println!("a secret");
                telemetry::progress(777_000_777, 777_000_777);
                Err(Error::worker("a secret"))
            }
            "look" => look(ctx),
            other => Err(Error::worker(format!("no such thing to do: {other}"))),
        }
    }
}

/// Takes bases, and tries with each of them all that `try` names, word by word.
fn attempts(ctx: &Context) -> Result<()> {
    let script: String = ctx.hyper("try")?;
    let channel = Channel::join("param")?;
    if ctx.hyper_or("open", true)? {
        Dataset::open("data")?;
    }
    let mut first = None;
    loop {
        let base = channel.recv_fifo(&[], LONG)?;
        if base.kind == "end-of-training" {
            return channel.leave();
        }
        let mut trained = base.model("model")?.duplicate()?;
        let step: f64 = ctx.hyper_or("step", 10.0)?;
        trained.axpy(1.0, &constant(step as f32, trained.parameter_count())?)?;
        for word in script.split_whitespace() {
            let tried = attempt(ctx, &channel, &base, first.as_ref().unwrap_or(&base), &trained, word);
            match tried {
                Ok(()) => flame_sdk::info!("{word}: ok"),
                Err(error) => flame_sdk::info!("{word}: {error}"),
            }
        }
        flame_sdk::info!("mine: {:?}", trained.read_f32("w", &[trained.parameter_count()])?.first());
        first.get_or_insert(base);
        channel.send(&channel.ends()?, &Outgoing::new("done", 0))?;
    }
}

fn attempt(
    ctx: &Context,
    channel: &Channel,
    base: &Message,
    first: &Message,
    trained: &Model,
    word: &str,
) -> Result<()> {
    let ends = [base.sender.clone()];
    let samples = ctx.hyper_or("samples", 3_u64)?;
    let message = |kind: &'static str| Outgoing::new(kind, base.round).samples(samples).base(base.id);
    let form = |form, model| channel.send(&ends, &message("update").form(form).model("model", model)).map(drop);
    match word {
        "full" => form(Form::Full, trained),
        "delta" => form(Form::Delta, &trained.difference(base.model("model")?)?),
        "state" => form(Form::State, trained),
        "partial-sum" => form(Form::PartialSum, trained),
        "broadcast" => channel.broadcast(&message("update").form(Form::Full).model("model", trained)).map(drop),
        "baseless" => {
            let message = Outgoing::new("update", 1).samples(samples).form(Form::Full).model("model", trained);
            channel.send(&ends, &message).map(drop)
        }
        "stale" => {
            let message = message("update").base(first.id).form(Form::Full).model("model", trained);
            channel.send(&ends, &message).map(drop)
        }
        "other-name" => channel.send(&ends, &message("update").form(Form::Full).model("secret", trained)).map(drop),
        "other-tensor" => {
            let mut renamed = Model::new();
            renamed.set("secret", &trained.get("w")?)?;
            form(Form::Full, &renamed)
        }
        "nan" => {
            let mut broken = trained.duplicate()?;
            broken.scale(f64::NAN)?;
            form(Form::Full, &broken)
        }
        "many-samples" => {
            let message = message("update").samples(u64::MAX).form(Form::Full).model("model", trained);
            channel.send(&ends, &message).map(drop)
        }
        "body" => channel.send(&ends, &message("note").body(vec![7; 100])).map(drop),
        "odd-kind" => channel.send(&ends, &message("odd")).map(drop),
        "metrics" => channel.send(&ends, &message("note").metrics(&[("loss", 0.5)].into())).map(drop),
        "record" => ctx.record_metrics(base.round, &[("loss", 0.5)].into()),
        "publish" => ctx.publish_model("result", trained),
        "publish-other" => ctx.publish_model("result", &constant(1.0, 3)?),
        "join-other" => Channel::join("other").map(drop),
        other => Err(Error::worker(format!("no such attempt: {other}"))),
    }
}

fn constant(value: f32, len: u64) -> Result<Model> {
    let mut model = Model::new();
    model.set_f32("w", &[len], &vec![value; len as usize])?;
    Ok(model)
}

fn spin() -> Result<()> {
    let mut at = 0_u64;
    while black_box(at) != u64::MAX {
        at = black_box(at.wrapping_add(1) % 1_000_003);
    }
    Ok(())
}

fn memory() -> Result<()> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(black_box(vec![1; 4 << 20]));
    }
}

/// More messages than anybody takes.
fn queue() -> Result<()> {
    let channel = Channel::join("param")?;
    let ends = channel.await_ends(1, LONG)?;
    let model = constant(1.0, 1 << 14)?;
    (0..).try_for_each(|round| channel.send(&ends, &Outgoing::new("flood", round).model("model", &model)).map(drop))
}

/// Everything that differs from run to run on an ordinary machine.
fn look(ctx: &Context) -> Result<()> {
    let began = Instant::now();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| Error::worker(error.to_string()))?;
    flame_sdk::info!("wall {wall:?}");
    flame_sdk::info!("sub-millisecond {}", wall.subsec_nanos() % 1_000_000);
    flame_sdk::info!("random {:x}", RandomState::new().build_hasher().finish());
    std::thread::sleep(Duration::from_millis(2));
    flame_sdk::info!("elapsed {:?}", began.elapsed());
    let (zero, quiet) = (black_box(0.0_f32), black_box(f32::from_bits(0xffc1_2345)));
    flame_sdk::info!("nans {:x} {:x} {:x}", (zero / zero).to_bits(), (quiet + 1.0).to_bits(), (-quiet * 2.0).to_bits());
    ctx.record_metrics(1, &Metrics::from([("seed", ctx.seed() as f64)]))
}

flame_sdk::worker! { trainer: Probe }
