//! Ring all-reduce on a self-loop channel: K members, K chunks, K−1 steps that sum and K−1 that share. No aggregator; the host holds all
//! the numbers, and the member moves slices of them.

use flame_sdk::{Channel, Context, Error, Form, Model, Outgoing, Result, Role};

struct Member;

impl Role for Member {
    fn run(ctx: &Context) -> Result<()> {
        let rounds: u64 = ctx.hyper_or("rounds", 1)?;
        let channel = Channel::by_tag("ring_allreduce")?;
        let ring: Vec<String> = channel.roster().into_iter().map(|peer| peer.id).collect();
        let (me, size) = (channel.me(), ring.len());
        let at = ring.iter().position(|id| *id == me.id).ok_or_else(|| Error::worker("not in the roster"))?;
        let (next, previous) = (ring[(at + 1) % size].clone(), ring[(at + size - 1) % size].clone());
        let within = channel.quorum().join_within;
        channel.await_ends(size as u32 - 1, within)?;

        // Each member's own model: ten parameters at its 1-based place in the ring. The mean is (K+1)/2 everywhere.
        let mut model = Model::new();
        model.set_f32("w", &[10], &[at as f32 + 1.0; 10])?;
        let count = model.parameter_count();
        let chunk = |k: usize| {
            let (k, size) = ((k % size) as u64, size as u64);
            (k * count / size, (k + 1) * count / size - k * count / size)
        };
        for round in 1..=rounds {
            for step in 0..2 * (size - 1) {
                // K − 1 steps that sum, then K − 1 that hand the sums on. In each a member sends what the step before brought it.
                let summing = step < size - 1;
                let kind = if summing { "sum" } else { "share" };
                let (offset, length) = chunk(at + 2 * size - step);
                let part = model.slice(offset, length)?;
                let outgoing = Outgoing::new(kind, round).form(Form::PartialSum).samples(1).model("model", &part);
                channel.send(std::slice::from_ref(&next), &outgoing)?;
                let received = channel.recv(&previous, within)?;
                if received.kind != kind || received.round != round {
                    return Err(Error::worker(format!(
                        "wanted \"{kind}\" of round {round}, got \"{}\"",
                        received.kind
                    )));
                }
                let (offset, _) = chunk(at + 2 * size - step - 1);
                model.axpby_slice(offset, 1.0, received.model("model")?, f64::from(u8::from(summing)))?;
            }
            model.scale(1.0 / size as f64)?;
            let mean = model.read_f32("w", &[10])?;
            ctx.record_metrics(round, &[("first", f64::from(mean[0])), ("last", f64::from(mean[9]))].into())?;
        }
        channel.leave()
    }
}

flame_sdk::worker! { trainer: Member }
