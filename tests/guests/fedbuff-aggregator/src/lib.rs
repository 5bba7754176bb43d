//! FedBuff (Nguyen et al. 2022): no rounds to wait for. Updates are folded as they come, stale ones by less; at every `goal` updates
//! the buffer becomes a new version of the model, and each trainer goes on from the newest version once it has answered.

use std::time::Duration;

use flame_sdk::{
    Aggregation, Channel, Context, Contribution, Error, Event, Model, OptionValue, Outgoing, Result, Role,
};

struct FedBuff;

impl Role for FedBuff {
    fn run(ctx: &Context) -> Result<()> {
        let (rounds, goal): (u64, u32) = (ctx.hyper("rounds")?, ctx.hyper_or("goal", 2)?);
        let channel = Channel::by_tag("distribute")?;
        let quorum = channel.quorum();
        let mut rule = Aggregation::create("fedbuff", &[("goal", OptionValue::Number(f64::from(goal)))])?;
        let mut global = Model::new();
        global.set_f32("w", &[4], &[0.0; 4])?;

        let started = channel.await_ends(quorum.minimum, quorum.join_within)?;
        let mut version = 1;
        let (mut folded, mut idle): (u32, Vec<String>) = (0, Vec::new());
        channel.send(&started, &Outgoing::new("weights", version).model("model", &global))?;
        rule.begin(&global, &[])?;
        while version <= rounds {
            match channel.next(Duration::from_secs(30)) {
                Ok(Event::Message(update)) => {
                    // The base's round, which the hosts vouch for, is the version that the update was computed from.
                    rule.add(update.model("model")?, &Contribution::of(&update, version), None, &[])?;
                    folded += 1;
                    idle.push(update.sender);
                }
                Ok(Event::Joined(end)) if !started.contains(&end) => idle.push(end),
                Ok(_) => {}
                Err(Error::Timeout) => ctx.check_stop()?,
                Err(error) => return Err(error),
            }
            if folded == goal {
                global = rule.finish()?.model;
                ctx.record_metrics(version, &[("folded", f64::from(folded))].into())?;
                (version, folded) = (version + 1, 0);
                rule.begin(&global, &[])?;
            }
            if version <= rounds && !idle.is_empty() {
                channel.send(&idle, &Outgoing::new("weights", version).model("model", &global))?;
                idle.clear();
            }
        }
        ctx.publish_model("model", &global)?;
        channel.broadcast(&Outgoing::new("end-of-training", rounds))?.wait(quorum.join_within)?;
        channel.leave()
    }
}

flame_sdk::worker! { aggregator: FedBuff }
