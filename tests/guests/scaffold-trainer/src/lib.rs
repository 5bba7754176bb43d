//! SCAFFOLD's trainer (Karimireddy et al. 2020): two models travel, the weights and the control variate c. Its own control cᵢ stays here.
//! The "training" is one step of a quadratic, so that the arithmetic can be checked by hand; all of it runs on handles.

use std::time::Duration;

use flame_sdk::{Channel, Context, Error, Event, Form, Model, Outgoing, Result, Role};

struct Scaffold;

impl Role for Scaffold {
    fn run(ctx: &Context) -> Result<()> {
        let rate: f64 = ctx.hyper_or("learningRate", 0.5)?;
        let steps: f64 = ctx.hyper_or("steps", 2.0)?;
        let channel = Channel::by_tag("fetch")?;
        // This trainer's optimum: all its parameters at its 1-based index.
        let optimum = channel.me().index as f32 + 1.0;
        let mut own: Option<Model> = None;
        loop {
            let received = match channel.next(Duration::from_secs(30)) {
                Ok(Event::Message(message)) => message,
                Ok(_) => continue,
                Err(Error::Timeout) => {
                    ctx.check_stop()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if received.kind == "end-of-training" {
                return channel.leave();
            }
            let (base, global_control) = (received.model("model")?, received.model("control")?);
            let own_control = match own.take() {
                Some(control) => control,
                None => constant_like(base, 0.0)?,
            };
            let target = constant_like(base, optimum)?;

            // y ← y − rate·(∇f(y) − cᵢ + c), with ∇f(y) = y − target.
            let mut y = base.duplicate()?;
            for _ in 0..steps as u32 {
                let gradient = y.difference(&target)?;
                y.axpy(-rate, &gradient)?;
                y.axpy(rate, &own_control)?;
                y.axpy(-rate, global_control)?;
            }
            // cᵢ⁺ = cᵢ − c + (x − y)/(steps·rate); Δcᵢ and Δy are sent.
            let mut new_control = own_control.difference(global_control)?;
            new_control.axpy(1.0 / (steps * rate), &base.difference(&y)?)?;
            let (delta, control_delta) = (y.difference(base)?, new_control.difference(&own_control)?);
            own = Some(new_control);
            let update = Outgoing::new("update", received.round).form(Form::Delta).base(received.id).samples(1);
            let update = update.model("model", &delta).model("control", &control_delta);
            channel.send(std::slice::from_ref(&received.sender), &update)?;
        }
    }
}

/// A model of the layout of `model` with every parameter at `value`.
fn constant_like(model: &Model, value: f32) -> Result<Model> {
    let mut constant = model.duplicate()?;
    for name in model.names() {
        let count = model.get(&name)?.len() as usize;
        constant.write_f32(&name, &vec![value; count])?;
    }
    Ok(constant)
}

flame_sdk::worker! { trainer: Scaffold }
