//! An aggregator that says when each update came and how long the rule took: what the SDK's loop has no hooks for.

use std::time::Duration;

use flame_sdk::{Aggregation, Channel, Context, Contribution, Metrics, Outgoing, Result, Role};

use crate::{now, zeros};

const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Stamping;

impl Role for Stamping {
    fn run(ctx: &Context) -> Result<()> {
        let rounds: u64 = ctx.hyper("rounds")?;
        let mut rule = Aggregation::from_job()?;
        let mut global = zeros(ctx)?;
        let channel = Channel::by_tag("distribute")?;
        let trainers = channel.await_ends(channel.quorum().minimum, channel.quorum().join_within)?;
        for round in 1..=rounds {
            ctx.check_stop()?;
            let begun = now();
            rule.begin(&global, &[])?;
            let mut folding = now() - begun;
            let _sent = channel.broadcast(&Outgoing::new("weights", round).model("model", &global))?;
            let (mut stamps, mut came) = (Metrics::new(), begun);
            for _ in &trainers {
                let update = channel.recv_fifo(&[], LONG)?;
                came = now();
                rule.add(update.model("model")?, &Contribution::of(&update, round), None, &[])?;
                folding += now() - came;
                stamps = stamps.and(&update.metrics);
            }
            let finishing = now();
            global = rule.finish()?.model;
            let ended = now();
            folding += ended - finishing;
            let own = Metrics::from([("begun", begun), ("came", came), ("ended", ended), ("folding", folding)]);
            ctx.record_metrics(round, &own.and(&stamps.prefixed("train-")))?;
        }
        channel.broadcast(&Outgoing::new("end-of-training", rounds))?.wait(LONG)?;
        channel.leave()
    }
}
