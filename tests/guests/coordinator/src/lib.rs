//! A coordinator: before each round it pairs every trainer with one of the middle aggregators, and tells each side through the message
//! body whom it will work with. It moves no models. The other two roles here obey and report, so that one component shows the whole.

use std::time::Duration;

use flame_sdk::{Channel, Context, EndId, Outgoing, Result, Role};

struct Coordinator;

impl Role for Coordinator {
    fn run(ctx: &Context) -> Result<()> {
        let rounds: u64 = ctx.hyper_or("rounds", 1)?;
        let (mids, trainers) = (Channel::by_tag("coordinateWithMidAgg")?, Channel::by_tag("coordinateWithTrainer")?);
        for channel in [&mids, &trainers] {
            channel.await_ends(channel.quorum().minimum, channel.quorum().join_within)?;
        }
        for round in 1..=rounds {
            ctx.check_stop()?;
            // Round robin over the order of a round's shuffle: as even as can be, and another pairing each round.
            let (mut here, mid_ends) = (trainers.ends()?, mids.ends()?);
            ctx.rng(round).shuffle(&mut here);
            for (at, mid) in mid_ends.iter().enumerate() {
                let mine: Vec<EndId> = here.iter().skip(at).step_by(mid_ends.len()).cloned().collect();
                let told = Outgoing::new("pairing", round);
                mids.send(std::slice::from_ref(mid), &told.body(mine.join("\n").into_bytes()))?;
                if !mine.is_empty() {
                    trainers.send(&mine, &Outgoing::new("pairing", round).body(mid.clone().into_bytes()))?;
                }
            }
            ctx.record_metrics(round, &[("trainers", here.len() as f64), ("mids", mid_ends.len() as f64)].into())?;
        }
        for channel in [&mids, &trainers] {
            channel.broadcast(&Outgoing::new("end-of-training", rounds))?.wait(channel.quorum().join_within)?;
            channel.leave()?;
        }
        Ok(())
    }
}

/// A middle aggregator's or a trainer's side: counts the partners that it is given until the end.
fn obey(ctx: &Context) -> Result<()> {
    let channel = Channel::by_tag("coordinate")?;
    loop {
        // Of whoever it is: the coordinator may have said everything and left before this end looks for it.
        let message = channel.recv_fifo(&[], Duration::from_secs(60))?;
        if message.kind == "end-of-training" {
            return channel.leave();
        }
        let partners = String::from_utf8_lossy(&message.body).lines().count();
        ctx.record_metrics(message.round, &[("partners", partners as f64)].into())?;
    }
}

flame_sdk::worker! { coordinator: Coordinator, "middle-aggregator" => obey, trainer => obey }
