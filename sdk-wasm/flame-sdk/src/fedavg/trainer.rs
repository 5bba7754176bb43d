//! The trainer's side of the federated round loop.

use super::clock::Clock;
use super::{ASK, END, EVALUATE, EVALUATION, MEASURE, MODEL, OF_RECEIVED, ONE_WAIT, ROUNDS, UPDATE, WEIGHTS};
use crate::channel::{Channel, Event, Form, Message, Outgoing};
use crate::context::{Context, Round};
use crate::debug;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::tensor::Model;
use crate::warn;
use crate::worker::{Trainer, Update};

/// Runs the trainer until the aggregator says that training is over.
pub(crate) fn run_trainer<T: Trainer>(ctx: &Context) -> Result<()> {
    let mut role = T::load(ctx)?;
    let channel = Channel::by_tags_or_only(&["fetch", "upload"])?;
    let patience = channel.quorum().join_within;
    let mut clock = Clock::new();
    // Samples of the last update, which weigh this participant's measurements.
    let mut samples = 0;
    // The last question answered, by sender, kind, round and number. Its copy, sent because this end joined late, is passed over.
    let mut answered = None;

    loop {
        ctx.check_stop()?;
        let mut message = match channel.next(ONE_WAIT) {
            Ok(Event::Message(message)) => message,
            Ok(Event::Left(end)) => {
                await_return(&channel, &end)?;
                continue;
            }
            Ok(Event::Joined(_)) => {
                // A restarted aggregator has not got the answers that its predecessor took.
                answered = None;
                continue;
            }
            Err(Error::Timeout) => continue,
            Err(Error::Closed) => {
                await_return(&channel, "")?;
                continue;
            }
            Err(error @ Error::Unavailable(_)) => {
                clock.pause(patience, error)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        clock.up();

        let number = message.metrics.get(ASK).map(f64::to_bits);
        let question = (message.sender.clone(), message.kind.clone(), message.round, number);
        if answered.as_ref() == Some(&question) {
            debug!("round {}: \"{}\" came twice and is answered already", message.round, message.kind);
            continue;
        }
        let round = asked(ctx, &message);
        match message.kind.as_str() {
            WEIGHTS => {
                let received = message.take_model(MODEL)?;
                let round = round.with_extras(std::mem::take(&mut message.models));
                let update = train(&mut role, &round, &channel, &message, &received)?;
                samples = update.samples;
            }
            EVALUATE => {
                let metrics = role.evaluate(&round, message.model(MODEL)?)?;
                let answer = Outgoing::new(EVALUATION, round.round).samples(samples).metrics(&metrics);
                channel.send(std::slice::from_ref(&message.sender), &answer)?;
            }
            END => return channel.leave(),
            other => {
                warn!(
                    "round {}: {} sent \"{other}\", which a trainer does not know; left out",
                    round.round, message.sender
                );
                continue;
            }
        }
        answered = Some(question);
    }
}

/// The round as the aggregator's message tells it.
fn asked<'a>(ctx: &'a Context, message: &Message) -> Round<'a> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from f64 saturates")]
    let rounds = message.metrics.get(ROUNDS).map_or(message.round, |rounds| rounds as u64);
    Round::new(ctx, message.round, rounds, message.metrics.clone())
}

fn train<T: Trainer>(
    role: &mut T,
    round: &Round<'_>,
    channel: &Channel,
    message: &Message,
    received: &Model,
) -> Result<Update> {
    let measured =
        if round.settings.get(MEASURE) == Some(1.0) { role.evaluate(round, received)? } else { Metrics::new() };
    let mut model = received.duplicate()?;
    let update = role.train(round, &mut model)?;
    if update.form == Form::Delta {
        model = model.difference(received)?;
    }
    let mut answer = Outgoing::new(UPDATE, round.round)
        .form(update.form)
        .base(message.id)
        .samples(update.samples)
        .metrics(&update.metrics)
        .metrics(&measured.prefixed(OF_RECEIVED))
        .model(MODEL, &model);
    for (name, extra) in &update.extras {
        answer = answer.model(name, extra);
    }
    channel.send(std::slice::from_ref(&message.sender), &answer)?;
    Ok(update)
}

/// The aggregator left before the end: waits for it to come back.
fn await_return(channel: &Channel, end: &str) -> Result<()> {
    // What it sent before it left is still to be read, the end of training perhaps.
    if !end.is_empty() && channel.peek(end).is_ok_and(|kind| kind.is_some()) {
        return Ok(());
    }
    let patience = channel.quorum().join_within;
    match channel.await_ends(1, patience) {
        Ok(_) => Ok(()),
        Err(Error::Timeout) => Err(Error::Worker(format!(
            "the aggregator left channel {} before the end of training and did not come back within {} s (the job's joinTimeout)",
            channel.name(),
            patience.as_secs()
        ))),
        Err(error) => Err(error),
    }
}
