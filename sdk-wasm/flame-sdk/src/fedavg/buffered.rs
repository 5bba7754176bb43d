//! Asynchronous rounds: ends are at work on whatever model was the newest when they were asked, and an update is folded when it comes.
//! A round ends as soon as the aggregation rule has enough (FedBuff its `goal`, FedAsync one).

use std::collections::BTreeMap;
use std::time::Duration;

use super::cohort::{Cohort, answer};
use super::tally::Tally;
use super::{ASK, ONE_WAIT, UPDATE};
use crate::aggregation::{Aggregation, Outcome};
use crate::channel::{EndId, Event, Form, Message, Outgoing};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::tensor::Model;
use crate::warn;

/// Updates that may be refused, for each end of the roster, before a round without any other is given up.
const REFUSED_PER_END: usize = 3;

/// Who trains, and on what.
#[derive(Debug, Default)]
pub(super) struct AtWork {
    /// The round of the model that each has, and when it was asked.
    ends: BTreeMap<EndId, (u64, Duration)>,
    /// The models of those rounds: what whole models are compared with.
    models: BTreeMap<u64, Model>,
    asked: u32,
}

impl AtWork {
    /// Keeps the models of rounds that somebody works on, and those of later ones.
    fn tidy(&mut self, round: u64) {
        let ends = &self.ends;
        self.models.retain(|of, _| *of >= round || ends.values().any(|(working, _)| working == of));
    }
}

impl Cohort<'_> {
    /// Keeps ends at work and folds what they send, until the rule has enough for a new model.
    pub(super) fn buffer(
        &mut self,
        question: &Outgoing<'_>,
        global: &Model,
        round: u64,
        rule: &mut Aggregation,
        tally: &mut Tally,
    ) -> Result<Outcome> {
        self.at_work.tidy(round);
        self.at_work.models.insert(round, global.duplicate()?);
        loop {
            self.ctx.check_stop()?;
            self.put_to_work(question, round)?;
            match self.channel.next(ONE_WAIT) {
                Ok(Event::Message(message)) => {
                    self.clock.up();
                    if self.fold(&message, round, rule, tally)?
                        && let Some(outcome) = enough(rule)?
                    {
                        return Ok(outcome);
                    }
                }
                Ok(Event::Left(end)) => {
                    self.clock.up();
                    self.at_work.ends.remove(&end);
                    self.selector.left(&end);
                }
                Ok(Event::Joined(_)) => self.clock.up(),
                Err(Error::Timeout) => self.clock.waited(ONE_WAIT),
                Err(error @ Error::Unavailable(_)) => self.clock.pause(self.quorum.join_within, error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks whom the selector names of those who are here.
    fn put_to_work(&mut self, question: &Outgoing<'_>, round: u64) -> Result<()> {
        let mut present = self.channel.ends()?;
        if self.at_work.ends.is_empty() && present.len() < self.quorum.minimum as usize {
            self.await_minimum()?;
            present = self.channel.ends()?;
        }
        let mut chosen = self.selector.select(round, &present);
        chosen.retain(|end| present.contains(end));
        if chosen.is_empty() {
            return Ok(());
        }
        let work = &mut self.at_work;
        work.asked = work.asked.wrapping_add(1);
        let number = Metrics::from([(ASK, f64::from(work.asked))]);
        self.channel.send(&chosen, &question.clone().metrics(&number))?;
        let now = self.clock.now();
        work.ends.extend(chosen.into_iter().map(|end| (end, (round, now))));
        Ok(())
    }

    /// Whether an update was folded in.
    fn fold(&mut self, message: &Message, round: u64, rule: &mut Aggregation, tally: &mut Tally) -> Result<bool> {
        let working = self.at_work.ends.get(&message.sender).copied();
        let Some((of, since)) = working.filter(|(of, _)| message.kind == UPDATE && message.round == *of) else {
            let Message { sender, kind, round: of, .. } = message;
            warn!("round {round}: {sender} sent \"{kind}\" of round {of}, which nobody waits for; left out");
            return Ok(false);
        };
        self.at_work.ends.remove(&message.sender);
        let duration = self.clock.now().saturating_sub(since);
        self.selector.answered(of, &message.sender, &answer(message, duration));
        let base = self.at_work.models.get(&of).filter(|_| of != round && message.form == Form::Full);
        let before = tally.accepted;
        tally.fold(rule, message, base, round)?;
        if tally.accepted == 0 && tally.refused > REFUSED_PER_END * self.channel.others().len() {
            tally.check(round)?;
        }
        Ok(tally.accepted > before)
    }
}

/// What the rule gives, once it has enough.
fn enough(rule: &mut Aggregation) -> Result<Option<Outcome>> {
    match rule.finish() {
        Ok(outcome) => Ok(Some(outcome)),
        Err(Error::NotEnough(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
