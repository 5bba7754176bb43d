//! A round's bookkeeping: who is expected, who is missing, who is away and until when, and whose answer is folded next. Pure.
//!
//! Answers are folded in roster order whatever the order of their arrival, so that a round's result does not depend on the network.
//! Two exceptions: an end that turns up after its turn has passed is folded behind the others; and answers that wait for their
//! turn and together are larger than what may be held are folded as they came, because rounding is the lesser harm.

use std::collections::VecDeque;
use std::time::Duration;

/// What became of one end in this round.
#[derive(Debug, PartialEq)]
enum State<T> {
    /// Never seen, or given up on: nobody waits for it.
    Unexpected,
    /// Here, and its answer is awaited.
    Missing,
    /// It left; its return is awaited until then.
    Away(Duration),
    /// Its answer waits for its turn.
    Answered(T),
    /// Its answer was folded.
    Folded,
}

/// Why an answer is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The end has answered in this round already.
    Duplicate,
    /// The job does not expect this end on the channel.
    Unknown,
}

/// One round after another over the same roster.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    /// In roster order.
    ends: Vec<(String, State<T>)>,
    /// Whose turn it is to be folded.
    turn: usize,
    /// Positions before `turn` that are expected after all.
    late: VecDeque<usize>,
}

impl<T> Ledger<T> {
    /// For ends in roster order; nobody is expected yet.
    pub(super) fn new(roster: Vec<String>) -> Self {
        Self { ends: roster.into_iter().map(|end| (end, State::Unexpected)).collect(), turn: 0, late: VecDeque::new() }
    }

    /// Begins a round with those ends here. Ends of the last round that are not here are awaited until `away_until`.
    pub(super) fn begin(&mut self, present: &[String], away_until: Duration) {
        for (end, state) in &mut self.ends {
            *state = match state {
                _ if present.contains(end) => State::Missing,
                State::Unexpected => State::Unexpected,
                State::Away(until) => State::Away(*until),
                _ => State::Away(away_until),
            };
        }
        self.turn = 0;
        self.late.clear();
    }

    /// Ends that are waited for or have answered.
    pub(super) fn expected(&self) -> usize {
        self.ends.iter().filter(|(_, state)| !matches!(state, State::Unexpected)).count()
    }

    /// Ends that have answered.
    pub(super) fn answered(&self) -> usize {
        self.ends.iter().filter(|(_, state)| matches!(state, State::Answered(_) | State::Folded)).count()
    }

    /// Ends that have not answered and are waited for, or were given up on.
    pub(super) fn missing(&self) -> Vec<&str> {
        let answered = |state: &State<T>| matches!(state, State::Answered(_) | State::Folded);
        self.ends.iter().filter(|(_, state)| !answered(state)).map(|(end, _)| end.as_str()).collect()
    }

    /// `end` came or came back. True if its answer is missing, so that it needs the round's question (again).
    pub(super) fn joined(&mut self, end: &str) -> bool {
        let Some(at) = self.position(end) else { return false };
        match self.state(at) {
            Some(State::Unexpected | State::Missing | State::Away(_)) => {
                self.expect_at(at, State::Missing);
                true
            }
            _ => false,
        }
    }

    /// `end` left; if its answer is missing, its return is awaited until then.
    pub(super) fn left(&mut self, end: &str, until: Duration) {
        if let Some((_, state @ State::Missing)) = self.ends.iter_mut().find(|(e, _)| e == end) {
            *state = State::Away(until);
        }
    }

    /// `end` answered.
    pub(super) fn answer(&mut self, end: &str, answer: T) -> Result<(), Refusal> {
        let at = self.position(end).ok_or(Refusal::Unknown)?;
        if matches!(self.state(at), Some(State::Answered(_) | State::Folded)) {
            return Err(Refusal::Duplicate);
        }
        self.expect_at(at, State::Answered(answer));
        Ok(())
    }

    /// Gives up on ends that have been away for too long, and names them.
    pub(super) fn give_up(&mut self, now: Duration) -> Vec<String> {
        let mut given_up = Vec::new();
        for (end, state) in &mut self.ends {
            if matches!(state, State::Away(until) if *until <= now) {
                *state = State::Unexpected;
                given_up.push(end.clone());
            }
        }
        given_up
    }

    /// When the next end is given up on.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.ends.iter().filter_map(|(_, state)| if let State::Away(until) = state { Some(*until) } else { None }).min()
    }

    /// The answer whose turn it is, if it is here.
    pub(super) fn take_next(&mut self) -> Option<T> {
        loop {
            let (at, from_late) =
                if self.turn < self.ends.len() { (self.turn, false) } else { (*self.late.front()?, true) };
            let (_, state) = self.ends.get_mut(at)?;
            let answer = match state {
                State::Missing | State::Away(_) => return None,
                State::Unexpected | State::Folded => None,
                State::Answered(_) => match std::mem::replace(state, State::Folded) {
                    State::Answered(answer) => Some(answer),
                    _ => None,
                },
            };
            if from_late {
                self.late.pop_front();
            } else {
                self.turn += 1;
            }
            if answer.is_some() {
                return answer;
            }
        }
    }

    /// An answer whose turn has not come, if those that wait are larger than `most` together.
    pub(super) fn take_early(&mut self, size: impl Fn(&T) -> u64, most: u64) -> Option<T> {
        let held = self
            .ends
            .iter()
            .filter_map(|(_, state)| if let State::Answered(answer) = state { Some(size(answer)) } else { None });
        if held.sum::<u64>() <= most {
            return None;
        }
        let (_, first) = self.ends.iter_mut().find(|(_, state)| matches!(state, State::Answered(_)))?;
        match std::mem::replace(first, State::Folded) {
            State::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether nobody is waited for any more.
    pub(super) fn done(&self) -> bool {
        !self.ends.iter().any(|(_, state)| matches!(state, State::Missing | State::Away(_) | State::Answered(_)))
    }

    fn position(&self, end: &str) -> Option<usize> {
        self.ends.iter().position(|(e, _)| e == end)
    }

    fn state(&self, at: usize) -> Option<&State<T>> {
        self.ends.get(at).map(|(_, state)| state)
    }

    fn expect_at(&mut self, at: usize, new: State<T>) {
        if let Some((_, state)) = self.ends.get_mut(at) {
            *state = new;
            if at < self.turn && !self.late.contains(&at) {
                self.late.push_back(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_mins(1);

    fn ledger(present: &[&str]) -> Ledger<u32> {
        let mut ledger = Ledger::new(["a", "b", "c"].map(String::from).to_vec());
        ledger.begin(&owned(present), LATER);
        ledger
    }

    fn owned(ends: &[&str]) -> Vec<String> {
        ends.iter().map(|end| (*end).to_owned()).collect()
    }

    fn folded(ledger: &mut Ledger<u32>) -> Vec<u32> {
        std::iter::from_fn(|| ledger.take_next()).collect()
    }

    #[test]
    fn answers_are_folded_in_roster_order_as_soon_as_their_turn_comes() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.answer("c", 3).unwrap();
        assert!(folded(&mut ledger).is_empty());
        ledger.answer("a", 1).unwrap();
        assert_eq!(folded(&mut ledger), [1]);
        assert!(!ledger.done());
        ledger.answer("b", 2).unwrap();
        assert_eq!(folded(&mut ledger), [2, 3]);
        assert!(ledger.done());
        assert_eq!(ledger.answered(), 3);
    }

    #[test]
    fn what_is_too_large_to_wait_is_folded_at_once_and_only_once() {
        let mut ledger = ledger(&["a", "b", "c"]);
        let size = |answer: &u32| u64::from(*answer);
        ledger.answer("c", 3).unwrap();
        assert_eq!(ledger.take_early(size, 3), None);
        ledger.answer("b", 2).unwrap();
        assert_eq!(ledger.take_early(size, 3), Some(2));
        assert_eq!(ledger.take_early(size, 3), None);
        ledger.answer("a", 1).unwrap();
        assert_eq!(folded(&mut ledger), [1, 3]);
        assert!(ledger.done());
        assert_eq!((ledger.answered(), ledger.answer("b", 2)), (3, Err(Refusal::Duplicate)));
    }

    #[test]
    fn a_second_answer_and_a_strangers_are_refused() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.answer("b", 1).unwrap();
        assert_eq!(ledger.answer("b", 2), Err(Refusal::Duplicate));
        ledger.answer("a", 1).unwrap();
        folded(&mut ledger);
        assert_eq!(ledger.answer("a", 2), Err(Refusal::Duplicate));
        assert_eq!(ledger.answer("x", 2), Err(Refusal::Unknown));
    }

    #[test]
    fn an_end_that_comes_back_while_its_answer_is_missing_is_asked_again() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.left("a", LATER);
        assert!(ledger.joined("a"));
        ledger.answer("a", 1).unwrap();
        ledger.left("a", LATER);
        assert!(!ledger.joined("a"), "it has answered");
        assert_eq!(ledger.deadline(), None);
        assert!(!ledger.joined("x"));
    }

    #[test]
    fn an_end_that_stays_away_is_given_up_and_holds_nobody_up() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.left("a", LATER);
        ledger.answer("b", 2).unwrap();
        ledger.answer("c", 3).unwrap();
        assert!(folded(&mut ledger).is_empty(), "a may come back");
        assert_eq!(ledger.deadline(), Some(LATER));
        assert!(ledger.give_up(LATER / 2).is_empty());
        assert_eq!(ledger.give_up(LATER), ["a"]);
        assert_eq!(folded(&mut ledger), [2, 3]);
        assert!(ledger.done());
        assert_eq!(ledger.missing(), ["a"]);
    }

    #[test]
    fn an_end_that_was_given_up_is_not_waited_for_in_the_next_round_unless_it_is_back() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.left("a", LATER);
        ledger.give_up(LATER);
        ledger.begin(&owned(&["b", "c"]), LATER * 2);
        assert_eq!(ledger.expected(), 2);
        ledger.begin(&owned(&["a", "b", "c"]), LATER * 2);
        assert_eq!(ledger.expected(), 3);
    }

    #[test]
    fn an_end_that_died_between_rounds_is_waited_for() {
        let mut ledger = ledger(&["a", "b", "c"]);
        for (end, answer) in [("a", 1), ("b", 2), ("c", 3)] {
            ledger.answer(end, answer).unwrap();
        }
        folded(&mut ledger);
        ledger.begin(&owned(&["a", "c"]), LATER);
        assert_eq!((ledger.expected(), ledger.deadline()), (3, Some(LATER)));
    }

    #[test]
    fn an_end_that_turns_up_after_its_turn_is_folded_behind_the_others() {
        let mut ledger = ledger(&["b", "c"]);
        ledger.answer("b", 2).unwrap();
        assert_eq!(folded(&mut ledger), [2]);
        assert!(ledger.joined("a"));
        ledger.answer("c", 3).unwrap();
        assert_eq!(folded(&mut ledger), [3]);
        assert!(!ledger.done());
        ledger.answer("a", 1).unwrap();
        assert_eq!(folded(&mut ledger), [1]);
        assert!(ledger.done());
    }
}
