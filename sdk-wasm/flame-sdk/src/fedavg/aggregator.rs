//! The aggregator's side of the federated round loop.

use std::time::Duration;

use super::clock::Clock;
use super::ledger::{Ledger, Refusal};
use super::{END, EVALUATE, EVALUATION, LOOK, MEASURE, MODEL, OF_RECEIVED, ONE_WAIT, ROUNDS, UPDATE, WEIGHTS};
use crate::aggregation::{Aggregation, Contribution};
use crate::channel::{Channel, Event, Message, Outgoing, Quorum, Receipt};
use crate::context::{Context, Round};
use crate::error::{Error, Result};
use crate::metrics::{Metrics, WeightedMean};
use crate::tensor::Model;
use crate::worker::Aggregator;
use crate::{info, telemetry, warn};

/// Bytes of models that may wait for their turn to be folded.
const MAX_HELD: u64 = 64 << 20;

/// Runs the aggregator to the job's end.
pub(crate) fn run_aggregator<A: Aggregator>(ctx: &Context) -> Result<()> {
    let rounds: u64 = ctx.hyper("rounds")?;
    let mut role = A::load(ctx)?;
    let mut aggregation = Aggregation::from_job()?;
    let mut global = match ctx.base_model()? {
        Some(model) => model,
        None => role.initial_model(ctx)?,
    };
    let channel = Channel::by_tags_or_only(&["distribute", "aggregate"])?;
    let mut cohort = Cohort::gather(ctx, &channel)?;

    // A first measurement tells who measures from here on: this role, or the trainers.
    let settings = Metrics::new();
    let own_data = role.evaluate(&Round::new(ctx, 0, rounds, settings), &global)?.is_some();
    // Trainers measure the model that they receive, so a round's record waits for the next round's answers.
    let mut unmeasured: Option<(u64, Metrics)> = None;

    for round in 1..=rounds {
        ctx.check_stop()?;
        let mut this = Round::new(ctx, round, rounds, Metrics::new());
        this.settings = role.configure(&this)?;
        let asked = head(&this, !own_data);

        aggregation.begin(&global, &[])?;
        let mut tally = Tally::default();
        let question = Outgoing::new(WEIGHTS, round).metrics(&asked).model(MODEL, &global);
        cohort.ask(&question, UPDATE, round, |update| tally.fold(&mut aggregation, &update, round))?;
        tally.check(round)?;
        let outcome = aggregation.finish()?;
        global = outcome.model;

        let reported = tally.metrics.mean();
        // The host's means of the same reports say nothing new; what remains is the rule's own.
        let of_rule: Metrics = outcome.metrics.iter().filter(|(name, _)| reported.get(name).is_none()).collect();
        let (of_received, training) = reported.split_prefix(OF_RECEIVED);
        if let Some((round, record)) = unmeasured.take() {
            ctx.record_metrics(round, &record.and(&of_received))?;
        }
        let record = counts(outcome.accepted, outcome.samples).and(&training.prefixed("train-")).and(&of_rule);
        if own_data {
            let measured = role.evaluate(&this, &global)?.unwrap_or_default();
            info!("round {round} of {rounds}: {}", line(&measured));
            ctx.record_metrics(round, &record.and(&measured))?;
        } else {
            info!("round {round} of {rounds}: {}", line(&record));
            unmeasured = Some((round, record));
        }
        telemetry::progress(round, rounds);
    }

    if let Some((round, record)) = unmeasured {
        let measured = cohort.measure(&Round::new(ctx, round, rounds, Metrics::new()), &global)?;
        ctx.record_metrics(round, &record.and(&measured))?;
    }
    ctx.publish_model(MODEL, &global)?;
    let goodbye = channel.broadcast(&Outgoing::new(END, rounds))?;
    see_off(&channel, &goodbye, cohort.quorum.join_within.min(ONE_WAIT))?;
    channel.leave()
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

/// Bytes of an answer's models.
fn size(answer: &Message) -> u64 {
    answer.models.iter().map(|(_, model)| model.byte_size()).sum()
}

/// The numbers that go with a round's weights.
fn head(round: &Round<'_>, measure: bool) -> Metrics {
    #[expect(clippy::cast_precision_loss, reason = "round counts are far below 2^53")]
    let rounds = round.rounds as f64;
    round.settings.clone().and(&Metrics::from([(ROUNDS, rounds), (MEASURE, f64::from(u8::from(measure)))]))
}

fn counts(participants: u32, samples: u64) -> Metrics {
    #[expect(clippy::cast_precision_loss, reason = "sample counts are far below 2^53")]
    let samples = samples as f64;
    Metrics::from([("participants", f64::from(participants)), ("samples", samples)])
}

fn line(metrics: &Metrics) -> String {
    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ")
}

/// What the answers of one round gave besides the sum that the host keeps.
#[derive(Default)]
struct Tally {
    metrics: WeightedMean,
    accepted: usize,
    refused: Option<Error>,
}

impl Tally {
    /// Folds one update in. One that the rule refuses is passed over: a single participant must not be able to end the job.
    fn fold(&mut self, rule: &mut Aggregation, update: &Message, round: u64) -> Result<()> {
        let about = Contribution::of(update, round);
        match update.model(MODEL).and_then(|model| rule.add(model, &about, None, &[])) {
            Ok(()) => {
                self.accepted += 1;
                self.metrics.add(&update.metrics, update.samples);
                Ok(())
            }
            Err(
                error
                @ (Error::NotFound(_) | Error::ShapeMismatch(_) | Error::NotFinite(_) | Error::InvalidArgument(_)),
            ) => {
                warn!("round {round}: the update of {} is left out: {error}", update.sender);
                self.refused = Some(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// An error if every update was refused.
    fn check(&mut self, round: u64) -> Result<()> {
        match self.refused.take() {
            Some(error) if self.accepted == 0 => Err(error.at(&format!("round {round}: every update was refused"))),
            _ => Ok(()),
        }
    }
}

/// The trainers of this group, asked one question a round.
struct Cohort<'a> {
    ctx: &'a Context,
    channel: &'a Channel,
    quorum: Quorum,
    ledger: Ledger<Message>,
    clock: Clock,
}

impl<'a> Cohort<'a> {
    /// Waits until the quorum is here.
    fn gather(ctx: &'a Context, channel: &'a Channel) -> Result<Self> {
        let ledger = Ledger::new(channel.others());
        let cohort = Self { ctx, channel, quorum: channel.quorum(), ledger, clock: Clock::new() };
        cohort.await_minimum()?;
        Ok(cohort)
    }

    fn await_minimum(&self) -> Result<()> {
        let Quorum { minimum, join_within } = self.quorum;
        match self.channel.await_ends(minimum, join_within) {
            Ok(_) => Ok(()),
            Err(Error::Timeout) => Err(Error::NotEnough(format!(
                "{} of at least {minimum} participants are on channel {} after {} s; start the others, or set \
                 minParticipants or joinTimeout in the job",
                self.channel.ends().map_or(0, |ends| ends.len()),
                self.channel.name(),
                join_within.as_secs()
            ))),
            Err(error) => Err(error),
        }
    }

    /// Sends `question` to everybody and hands each answer of `kind` to `fold`, in roster order, until nobody is missing.
    fn ask(
        &mut self,
        question: &Outgoing<'_>,
        kind: &str,
        round: u64,
        mut fold: impl FnMut(Message) -> Result<()>,
    ) -> Result<()> {
        self.drain()?;
        self.ledger.begin(&self.channel.ends()?, self.clock.now() + self.quorum.join_within);
        if self.ledger.expected() < self.quorum.minimum as usize {
            self.await_minimum()?;
            self.ledger.begin(&self.channel.ends()?, self.clock.now() + self.quorum.join_within);
        }
        let mut sent = vec![self.channel.broadcast(question)?];

        loop {
            while let Some(answer) = self.ledger.take_next().or_else(|| self.ledger.take_early(size, MAX_HELD)) {
                fold(answer)?;
            }
            let now = self.clock.now();
            for end in self.ledger.give_up(now) {
                warn!("round {round}: {end} left and did not come back in time; going on without it");
            }
            if self.ledger.done() {
                break;
            }
            self.ctx.check_stop()?;
            let within = self.ledger.deadline().map_or(ONE_WAIT, |at| at.saturating_sub(now)).min(ONE_WAIT);
            // A millisecond more, so that a wait until a deadline ends behind it.
            let within = within + Duration::from_millis(1);
            match self.channel.next(within) {
                Ok(event) => {
                    self.clock.up();
                    match event {
                        Event::Message(message) => self.take(message, kind, round),
                        Event::Left(end) => self.ledger.left(&end, self.clock.now() + self.quorum.join_within),
                        Event::Joined(end) => {
                            if self.ledger.joined(&end) {
                                sent.push(self.channel.send(&[end], question)?);
                            }
                        }
                    }
                }
                Err(Error::Timeout) => self.clock.waited(within),
                Err(error @ Error::Unavailable(_)) => self.clock.pause(self.quorum.join_within, error)?,
                Err(error) => return Err(error),
            }
        }
        // Nobody who comes later should spend time on a round that is over.
        for receipt in &sent {
            receipt.cancel();
        }

        let (answered, minimum) = (self.ledger.answered(), self.quorum.minimum as usize);
        if answered < minimum {
            return Err(Error::NotEnough(format!(
                "round {round}: {answered} of at least {minimum} participants answered; missing {}, which did not come back within {} s \
                 (the job's joinTimeout)",
                self.ledger.missing().join(", "),
                self.quorum.join_within.as_secs()
            )));
        }
        Ok(())
    }

    /// Has the trainers measure `model`, and takes the mean.
    fn measure(&mut self, round: &Round<'_>, model: &Model) -> Result<Metrics> {
        let mut mean = WeightedMean::default();
        let asked = head(round, true);
        let question = Outgoing::new(EVALUATE, round.round).metrics(&asked).model(MODEL, model);
        self.ask(&question, EVALUATION, round.round, |answer| {
            mean.add(&answer.metrics, answer.samples);
            Ok(())
        })?;
        Ok(mean.mean())
    }

    fn take(&mut self, message: Message, kind: &str, round: u64) {
        if message.kind != kind || message.round != round {
            let Message { sender, kind: got, round: of, .. } = message;
            warn!("round {round}: {sender} sent \"{got}\" of round {of}, which nobody waits for; left out");
            return;
        }
        let sender = message.sender.clone();
        match self.ledger.answer(&sender, message) {
            Ok(()) => {}
            Err(Refusal::Duplicate) => warn!("round {round}: {sender} answered twice; the second answer is left out"),
            Err(Refusal::Unknown) => warn!("round {round}: {sender} is not in the roster; its answer is left out"),
        }
    }

    /// Takes what is left of the last round off the queue; who is here now, the channel knows.
    fn drain(&mut self) -> Result<()> {
        loop {
            match self.channel.next(Duration::ZERO) {
                Ok(Event::Message(Message { sender, kind, round, .. })) => {
                    warn!("{sender} sent \"{kind}\" of round {round} too late; left out");
                }
                Ok(_) => {}
                Err(Error::Timeout | Error::Unavailable(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
