//! A large model goes to an end and one comes back, and nobody keeps one: who has sent or seen it lets go of it. So a
//! process holds one at a time, and whatever is above it is Flame's.

use std::time::Duration;

use flame_sdk::{Channel, Context, Error, Model, Outgoing, Result, Role};

use crate::{ones, zeros};

const LONG: Duration = Duration::from_secs(300);
/// Ones that are added in one call: what holds them is the guest's own, and small beside the model.
const FEW: u64 = 1 << 16;

/// Sends first.
pub(crate) struct Giver;

/// Receives first.
pub(crate) struct Taker;

impl Role for Giver {
    fn run(ctx: &Context) -> Result<()> {
        let channel = Channel::by_tag("distribute")?;
        give(ctx, &channel)?;
        take(ctx, &channel)?;
        channel.leave()
    }
}

impl Role for Taker {
    fn run(ctx: &Context) -> Result<()> {
        let channel = Channel::by_tag("fetch")?;
        take(ctx, &channel)?;
        give(ctx, &channel)?;
        channel.leave()
    }
}

fn give(ctx: &Context, channel: &Channel) -> Result<()> {
    channel.await_ends(1, LONG)?;
    let sent = channel.broadcast(&Outgoing::new("model", 1).model("model", &written(ctx)?))?;
    sent.wait(LONG)
}

/// A model of ones: memory that was never written to takes none.
fn written(ctx: &Context) -> Result<Model> {
    let (mut model, ones) = (zeros(ctx)?, ones(ctx, FEW)?);
    let (count, part) = (model.parameter_count(), ones.parameter_count());
    for at in (0..count).step_by(part as usize) {
        let rest = (count - at).min(part);
        model.axpby_slice(at, 1.0, &ones.slice(0, rest)?, 1.0)?;
    }
    Ok(model)
}

fn take(ctx: &Context, channel: &Channel) -> Result<()> {
    let got = channel.recv_fifo(&[], LONG)?;
    let last = ctx.hyper::<u64>("parameters")? - 1;
    let is = got.model("model")?.get("w")?.read_f32(last, 1)?;
    if is != [1.0] {
        return Err(Error::Worker(format!("the model ends with {is:?}")));
    }
    Ok(())
}
