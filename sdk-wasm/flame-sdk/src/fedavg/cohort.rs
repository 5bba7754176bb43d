//! The trainers of a group, asked one question after another.

use std::time::Duration;

use super::buffered::AtWork;
use super::clock::Clock;
use super::ledger::{Ledger, Refusal};
use super::{EVALUATE, EVALUATION, MEASURE, MODEL, ONE_WAIT, ROUNDS};
use crate::channel::{Channel, EndId, Event, Message, Outgoing, Quorum, Receipt};
use crate::context::{Context, Round};
use crate::error::{Error, Result};
use crate::metrics::{Metrics, WeightedMean};
use crate::selector::{Answer, Selector};
use crate::tensor::Model;
use crate::warn;

/// Bytes of models that may wait for their turn to be folded.
const MAX_HELD: u64 = 64 << 20;

/// The trainers of this group.
pub(super) struct Cohort<'a> {
    pub(super) ctx: &'a Context,
    pub(super) channel: &'a Channel,
    pub(super) quorum: Quorum,
    pub(super) selector: Box<dyn Selector>,
    pub(super) clock: Clock,
    /// For asynchronous selectors: who trains, and on what.
    pub(super) at_work: AtWork,
    ledger: Ledger<Message>,
}

/// A question on its way: whom it went to, and with how many answers it is settled.
pub(super) struct Asked {
    ends: Vec<EndId>,
    enough: usize,
    began: Duration,
    sent: Vec<Receipt>,
}

/// The numbers that go with a round's weights.
pub(super) fn head(round: &Round<'_>, measure: bool) -> Metrics {
    #[expect(clippy::cast_precision_loss, reason = "round counts are far below 2^53")]
    let rounds = round.rounds as f64;
    round.settings.clone().and(&Metrics::from([(ROUNDS, rounds), (MEASURE, f64::from(u8::from(measure)))]))
}

/// Bytes of an answer's models.
fn size(answer: &Message) -> u64 {
    answer.models.iter().map(|(_, model)| model.byte_size()).sum()
}

/// What a selector hears of an answer.
pub(super) fn answer(message: &Message, duration: Duration) -> Answer {
    Answer {
        samples: message.samples,
        loss: message.metrics.get("loss"),
        utility: message.metrics.get("utility"),
        duration,
    }
}

impl<'a> Cohort<'a> {
    /// Waits until the quorum is here.
    pub(super) fn gather(ctx: &'a Context, channel: &'a Channel, selector: Box<dyn Selector>) -> Result<Self> {
        let ledger = Ledger::new(channel.others());
        let (quorum, clock, at_work) = (channel.quorum(), Clock::new(), AtWork::default());
        let cohort = Self { ctx, channel, quorum, selector, clock, at_work, ledger };
        cohort.await_minimum()?;
        Ok(cohort)
    }

    /// Whether updates are taken as they come, by [`Cohort::buffer`].
    pub(super) fn is_asynchronous(&self) -> bool {
        self.selector.is_asynchronous()
    }

    pub(super) fn await_minimum(&self) -> Result<()> {
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

    /// Sends `question` to whom the selector names for the round.
    pub(super) fn ask_selected(&mut self, question: &Outgoing<'_>, round: u64) -> Result<Asked> {
        let (candidates, present) = self.candidates()?;
        let mut ends = self.selector.select(round, &candidates);
        ends.retain(|end| candidates.contains(end));
        if ends.is_empty() {
            return Err(Error::worker(format!("round {round}: the selector names none of {} ends", candidates.len())));
        }
        let enough = self.selector.enough(ends.len()).clamp(1, ends.len());
        self.ask(question, ends, enough, &present)
    }

    /// Has the trainers measure `model`, and takes the mean.
    pub(super) fn measure(&mut self, round: &Round<'_>, model: &Model) -> Result<Metrics> {
        let mut mean = WeightedMean::default();
        let asked = head(round, true);
        let question = Outgoing::new(EVALUATE, round.round).metrics(&asked).model(MODEL, model);
        let (ends, present) = self.candidates()?;
        let enough = ends.len();
        let asked = self.ask(&question, ends, enough, &present)?;
        self.collect(asked, &question, EVALUATION, round.round, |answer| {
            mean.add(&answer.metrics, answer.samples);
            Ok(())
        })?;
        Ok(mean.mean())
    }

    /// Who may be asked, and who of them is here: at least the quorum.
    fn candidates(&mut self) -> Result<(Vec<EndId>, Vec<EndId>)> {
        self.drain()?;
        let mut present = self.channel.ends()?;
        let mut candidates = self.ledger.candidates(&present);
        if candidates.len() < self.quorum.minimum as usize {
            self.await_minimum()?;
            present = self.channel.ends()?;
            candidates = self.ledger.candidates(&present);
        }
        Ok((candidates, present))
    }

    fn ask(&mut self, question: &Outgoing<'_>, ends: Vec<EndId>, enough: usize, present: &[EndId]) -> Result<Asked> {
        let began = self.clock.now();
        self.ledger.begin(&ends, present, began + self.quorum.join_within);
        // Either is one upload. A broadcast addresses those who come later in the round as well, who are to wait for the next.
        let everybody = self.ledger.is_everybody(&ends);
        let sent = if everybody { self.channel.broadcast(question)? } else { self.channel.send(&ends, question)? };
        Ok(Asked { ends, enough, began, sent: vec![sent] })
    }

    /// Hands each answer of `kind` to `fold`, in roster order, until nobody is missing or there are enough.
    pub(super) fn collect(
        &mut self,
        mut asked: Asked,
        question: &Outgoing<'_>,
        kind: &str,
        round: u64,
        mut fold: impl FnMut(Message) -> Result<()>,
    ) -> Result<()> {
        loop {
            while let Some(answer) = self.ledger.take_next().or_else(|| self.ledger.take_early(size, MAX_HELD)) {
                fold(answer)?;
            }
            let now = self.clock.now();
            for end in self.ledger.give_up(now) {
                warn!("round {round}: {end} left and did not come back in time; going on without it");
                self.selector.left(&end);
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
                        Event::Message(message) => {
                            let duration = self.clock.now().saturating_sub(asked.began);
                            self.take(message, kind, round, duration);
                            if asked.enough < asked.ends.len() && self.ledger.answered() >= asked.enough {
                                self.ledger.close();
                            }
                        }
                        Event::Left(end) => self.ledger.left(&end, self.clock.now() + self.quorum.join_within),
                        Event::Joined(end) => {
                            if self.ledger.joined(&end) {
                                asked.sent.push(self.channel.send(&[end], question)?);
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
        for receipt in &asked.sent {
            receipt.cancel();
        }

        let (answered, minimum) = (self.ledger.answered(), asked.enough.min(self.quorum.minimum as usize));
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

    fn take(&mut self, message: Message, kind: &str, round: u64, duration: Duration) {
        if message.kind != kind || message.round != round {
            let Message { sender, kind: got, round: of, .. } = message;
            warn!("round {round}: {sender} sent \"{got}\" of round {of}, which nobody waits for; left out");
            return;
        }
        let (sender, heard) = (message.sender.clone(), answer(&message, duration));
        match self.ledger.answer(&sender, message) {
            Ok(()) => self.selector.answered(round, &sender, &heard),
            Err(Refusal::Duplicate) => warn!("round {round}: {sender} answered twice; the second answer is left out"),
            Err(Refusal::NotAsked) => warn!("round {round}: {sender} was not asked; its answer is left out"),
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
