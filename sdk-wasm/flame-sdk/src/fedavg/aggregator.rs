//! The aggregator's side of the federated round loop.

use std::time::Duration;

use super::cohort::{Cohort, head};
use super::keeping::{Keeper, Progress};
use super::tally::Tally;
use super::{END, LOOK, MODEL, OF_RECEIVED, ONE_WAIT, UPDATE, WEIGHTS};
use crate::aggregation::{Aggregation, Outcome};
use crate::channel::{Channel, Outgoing, Receipt};
use crate::context::{Context, Round};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::worker::Aggregator;
use crate::{info, telemetry, warn};

/// Runs the aggregator to the job's end.
pub(crate) fn run_aggregator<A: Aggregator>(ctx: &Context) -> Result<()> {
    let rounds: u64 = ctx.hyper("rounds")?;
    let mut role = A::load(ctx)?;
    let mut keeper = Keeper::new(ctx);
    let resumed = keeper.resume()?;
    let mut aggregation = Aggregation::from_job()?;
    let mut progress = match (resumed, ctx.base_model()?) {
        (Some(progress), _) => progress,
        (None, Some(model)) => Progress::new(model),
        (None, None) => Progress::new(role.initial_model(ctx)?),
    };
    let channel = Channel::by_tags_or_only(&["distribute", "aggregate"])?;
    let selector = match role.selector(ctx)? {
        Some(selector) => selector,
        None => ctx.selector()?,
    };
    let mut cohort = Cohort::gather(ctx, &channel, selector)?;

    // A first measurement tells who measures from here on: this role, or the trainers.
    let settings = Metrics::new();
    let own_data = role.evaluate(&Round::new(ctx, 0, rounds, settings), &progress.global)?.is_some();

    while progress.round < rounds {
        ctx.check_stop()?;
        let round = progress.round + 1;
        let mut this = Round::new(ctx, round, rounds, Metrics::new());
        this.settings = role.configure(&this)?;
        let Some((outcome, tally)) = train(&this, &progress, own_data, &mut aggregation, &mut cohort, &mut keeper)?
        else {
            break;
        };
        let reported = tally.metrics.mean();
        // The host's means of the same reports say nothing new; what remains is the rule's own.
        let of_rule: Metrics = outcome.metrics.iter().filter(|(name, _)| reported.get(name).is_none()).collect();
        let (of_received, training) = reported.split_prefix(OF_RECEIVED);
        if let Some((round, record)) = progress.unmeasured.take() {
            ctx.record_metrics(round, &record.and(&of_received))?;
        }
        let record = counts(outcome.accepted, outcome.samples).and(&training.prefixed("train-")).and(&of_rule);
        if own_data {
            let measured = role.evaluate(&this, &outcome.model)?.unwrap_or_default();
            info!("round {round} of {rounds}: {}", line(&measured));
            ctx.record_metrics(round, &record.and(&measured))?;
        } else {
            info!("round {round} of {rounds}: {}", line(&record));
            progress.unmeasured = Some((round, record));
        }
        progress = Progress { round, global: outcome.model, extras: outcome.extra, ..progress };
        telemetry::progress(round, rounds);
    }

    if let Some((round, record)) = progress.unmeasured {
        let measured = cohort.measure(&Round::new(ctx, round, rounds, Metrics::new()), &progress.global)?;
        ctx.record_metrics(round, &record.and(&measured))?;
    }
    ctx.publish_model(MODEL, &progress.global)?;
    let goodbye = channel.broadcast(&Outgoing::new(END, rounds))?;
    see_off(&channel, &goodbye, cohort.quorum.join_within.min(ONE_WAIT))?;
    channel.leave()
}

/// One round: what the participants made of the global model. `None`: the privacy budget is spent.
fn train(
    this: &Round<'_>,
    progress: &Progress,
    own_data: bool,
    aggregation: &mut Aggregation,
    cohort: &mut Cohort<'_>,
    keeper: &mut Keeper<'_>,
) -> Result<Option<(Outcome, Tally)>> {
    let round = this.round;
    let (from, carried) = progress.to_train_from();
    match aggregation.begin(from, &carried) {
        Ok(()) => {}
        Err(Error::BudgetSpent(spent)) => {
            warn!("round {round}: training ends here: {spent}");
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let mut tally = Tally::default();
    let asked = head(this, !own_data);
    let mut question = Outgoing::new(WEIGHTS, round).metrics(&asked).model(MODEL, from);
    for (name, model) in &carried {
        question = question.model(name, model);
    }
    let outcome = if cohort.is_asynchronous() {
        keeper.keep(progress, aggregation)?;
        cohort.buffer(&question, from, round, aggregation, &mut tally)?
    } else {
        let asked = cohort.ask_selected(&question, round)?;
        // While the participants train.
        keeper.keep(progress, aggregation)?;
        cohort.collect(asked, &question, UPDATE, round, |update| tally.fold(aggregation, &update, None, round))?;
        tally.check(round)?;
        aggregation.finish()?
    };
    Ok(Some((outcome, tally)))
}

/// Waits until everybody who is still here has the goodbye. The model is published: an end that is gone by now, or comes
/// too late, changes nothing.
fn see_off(channel: &Channel, goodbye: &Receipt, within: Duration) -> Result<()> {
    let looks = (within.as_millis() / LOOK.as_millis()).max(1);
    for _ in 0..looks {
        match goodbye.wait(LOOK) {
            Ok(()) => return Ok(()),
            Err(Error::Timeout) => {}
            Err(Error::Closed) => break,
            Err(error) => return Err(error),
        }
        let here = channel.ends()?;
        if goodbye.pending().iter().all(|end| !here.contains(end)) {
            break;
        }
    }
    warn!("left although these did not hear the end: {:?}", goodbye.pending());
    Ok(())
}

fn counts(participants: u32, samples: u64) -> Metrics {
    #[expect(clippy::cast_precision_loss, reason = "sample counts are far below 2^53")]
    let samples = samples as f64;
    Metrics::from([("participants", f64::from(participants)), ("samples", samples)])
}

fn line(metrics: &Metrics) -> String {
    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ")
}
