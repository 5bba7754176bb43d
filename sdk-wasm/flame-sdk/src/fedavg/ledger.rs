//! A round's bookkeeping: who was asked, who is missing, who is away and until when, and whose answer is folded next. Pure.
//!
//! Answers are folded in roster order whatever the order of their arrival, so that a round's result does not depend on the network.
//! Two exceptions: an end that was given up and turns up after its turn has passed is folded behind the others; and answers that wait
//! for their turn and together are larger than what may be held are folded as they came, because rounding is the lesser harm.

use std::collections::VecDeque;
use std::time::Duration;

/// What became of one end in this round.
#[derive(Debug)]
enum State<T> {
    /// Not asked, or given up on: nobody waits for it.
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
    /// The end was not asked in this round, or the round had enough answers before.
    NotAsked,
    /// The job does not expect this end on the channel.
    Unknown,
}

/// One end of the roster.
#[derive(Debug)]
struct Entry<T> {
    end: String,
    state: State<T>,
    /// Seen, and not given up on since: it may be selected although it is away.
    known: bool,
    /// Selected for this round.
    asked: bool,
}

/// One round after another over the same roster.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    /// In roster order.
    entries: Vec<Entry<T>>,
    /// Whose turn it is to be folded.
    turn: usize,
    /// Positions before `turn` that are expected after all.
    late: VecDeque<usize>,
}

impl<T> Ledger<T> {
    /// For ends in roster order; nobody is expected yet.
    pub(super) fn new(roster: Vec<String>) -> Self {
        let entry = |end| Entry { end, state: State::Unexpected, known: false, asked: false };
        Self { entries: roster.into_iter().map(entry).collect(), turn: 0, late: VecDeque::new() }
    }

    /// Whom a round can be begun with, in roster order: who is here, and who was known and is away for a moment.
    pub(super) fn candidates(&mut self, present: &[String]) -> Vec<String> {
        for entry in &mut self.entries {
            entry.known |= present.contains(&entry.end);
        }
        self.entries.iter().filter(|entry| entry.known).map(|entry| entry.end.clone()).collect()
    }

    /// Whether these are all ends of the roster.
    pub(super) fn is_everybody(&self, selected: &[String]) -> bool {
        self.entries.iter().all(|entry| selected.contains(&entry.end))
    }

    /// Begins a round with those ends asked. Of them, those that are not here are awaited until `away_until`.
    pub(super) fn begin(&mut self, selected: &[String], present: &[String], away_until: Duration) {
        for entry in &mut self.entries {
            entry.asked = selected.contains(&entry.end);
            entry.state = match entry.state {
                _ if !entry.asked => State::Unexpected,
                _ if present.contains(&entry.end) => State::Missing,
                State::Away(until) => State::Away(until),
                _ => State::Away(away_until),
            };
        }
        self.turn = 0;
        self.late.clear();
    }

    /// The round has enough answers: nobody is waited for any more, and what comes is not taken.
    pub(super) fn close(&mut self) {
        for entry in &mut self.entries {
            if matches!(entry.state, State::Missing | State::Away(_) | State::Unexpected) {
                entry.state = State::Unexpected;
                entry.asked = false;
            }
        }
    }

    /// Ends that are waited for or have answered.
    #[cfg(test)]
    pub(super) fn expected(&self) -> usize {
        self.entries.iter().filter(|entry| !matches!(entry.state, State::Unexpected)).count()
    }

    /// Ends that have answered.
    pub(super) fn answered(&self) -> usize {
        self.entries.iter().filter(|entry| entry.has_answered()).count()
    }

    /// Ends that were asked and have not answered.
    pub(super) fn missing(&self) -> Vec<&str> {
        let missing = |entry: &&Entry<T>| entry.asked && !entry.has_answered();
        self.entries.iter().filter(missing).map(|entry| entry.end.as_str()).collect()
    }

    /// `end` came or came back. True if it was asked and its answer is missing, so that it needs the round's question (again).
    pub(super) fn joined(&mut self, end: &str) -> bool {
        let Some(at) = self.position(end) else { return false };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.known = true;
        }
        match self.entries.get(at) {
            Some(entry) if entry.asked && !entry.has_answered() => {
                self.expect_at(at, State::Missing);
                true
            }
            _ => false,
        }
    }

    /// `end` left; if its answer is missing, its return is awaited until then.
    pub(super) fn left(&mut self, end: &str, until: Duration) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.end == end)
            && matches!(entry.state, State::Missing)
        {
            entry.state = State::Away(until);
        }
    }

    /// `end` answered.
    pub(super) fn answer(&mut self, end: &str, answer: T) -> Result<(), Refusal> {
        let at = self.position(end).ok_or(Refusal::Unknown)?;
        match self.entries.get(at) {
            Some(entry) if entry.has_answered() => return Err(Refusal::Duplicate),
            Some(entry) if entry.asked => {}
            _ => return Err(Refusal::NotAsked),
        }
        self.expect_at(at, State::Answered(answer));
        Ok(())
    }

    /// Gives up on ends that have been away for too long, and names them.
    pub(super) fn give_up(&mut self, now: Duration) -> Vec<String> {
        let mut given_up = Vec::new();
        for entry in &mut self.entries {
            if matches!(entry.state, State::Away(until) if until <= now) {
                entry.state = State::Unexpected;
                entry.known = false;
                given_up.push(entry.end.clone());
            }
        }
        given_up
    }

    /// When the next end is given up on.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let until = |entry: &Entry<T>| if let State::Away(until) = entry.state { Some(until) } else { None };
        self.entries.iter().filter_map(until).min()
    }

    /// The answer whose turn it is, if it is here.
    pub(super) fn take_next(&mut self) -> Option<T> {
        loop {
            let (at, from_late) =
                if self.turn < self.entries.len() { (self.turn, false) } else { (*self.late.front()?, true) };
            let state = &mut self.entries.get_mut(at)?.state;
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
        let held =
            |entry: &Entry<T>| if let State::Answered(answer) = &entry.state { Some(size(answer)) } else { None };
        if self.entries.iter().filter_map(held).sum::<u64>() <= most {
            return None;
        }
        let first = self.entries.iter_mut().find(|entry| matches!(entry.state, State::Answered(_)))?;
        match std::mem::replace(&mut first.state, State::Folded) {
            State::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether nobody is waited for any more.
    pub(super) fn done(&self) -> bool {
        let open = |entry: &Entry<T>| matches!(entry.state, State::Missing | State::Away(_) | State::Answered(_));
        !self.entries.iter().any(open)
    }

    fn position(&self, end: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.end == end)
    }

    fn expect_at(&mut self, at: usize, new: State<T>) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.state = new;
            if at < self.turn && !self.late.contains(&at) {
                self.late.push_back(at);
            }
        }
    }
}

impl<T> Entry<T> {
    fn has_answered(&self) -> bool {
        matches!(self.state, State::Answered(_) | State::Folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_mins(1);

    fn ledger(present: &[&str]) -> Ledger<u32> {
        let mut ledger = Ledger::new(["a", "b", "c"].map(String::from).to_vec());
        begin(&mut ledger, present, LATER);
        ledger
    }

    /// With all candidates selected.
    fn begin(ledger: &mut Ledger<u32>, present: &[&str], until: Duration) {
        let selected = ledger.candidates(&owned(present));
        ledger.begin(&selected, &owned(present), until);
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
        begin(&mut ledger, &["b", "c"], LATER * 2);
        assert_eq!(ledger.expected(), 2);
        begin(&mut ledger, &["a", "b", "c"], LATER * 2);
        assert_eq!(ledger.expected(), 3);
    }

    #[test]
    fn an_end_that_died_between_rounds_is_waited_for() {
        let mut ledger = ledger(&["a", "b", "c"]);
        for (end, answer) in [("a", 1), ("b", 2), ("c", 3)] {
            ledger.answer(end, answer).unwrap();
        }
        folded(&mut ledger);
        begin(&mut ledger, &["a", "c"], LATER);
        assert_eq!((ledger.expected(), ledger.deadline()), (3, Some(LATER)));
    }

    #[test]
    fn an_end_that_was_given_up_and_turns_up_after_its_turn_is_folded_behind_the_others() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.left("a", LATER);
        ledger.answer("b", 2).unwrap();
        ledger.give_up(LATER);
        assert_eq!(folded(&mut ledger), [2]);
        assert!(ledger.joined("a"));
        ledger.answer("c", 3).unwrap();
        assert_eq!(folded(&mut ledger), [3]);
        assert!(!ledger.done());
        ledger.answer("a", 1).unwrap();
        assert_eq!(folded(&mut ledger), [1]);
        assert!(ledger.done());
    }

    #[test]
    fn sel_01_who_comes_in_a_round_takes_part_from_the_next_one_on() {
        let mut ledger = ledger(&["b", "c"]);
        assert!(!ledger.joined("a"));
        assert_eq!(ledger.answer("a", 1), Err(Refusal::NotAsked));
        assert_eq!(ledger.expected(), 2);
        begin(&mut ledger, &["a", "b", "c"], LATER);
        assert_eq!(ledger.expected(), 3);
    }

    #[test]
    fn who_is_not_selected_is_not_waited_for() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.begin(&owned(&["b"]), &owned(&["a", "b", "c"]), LATER);
        assert!(!ledger.is_everybody(&owned(&["b"])));
        assert_eq!((ledger.expected(), ledger.missing()), (1, vec!["b"]));
        assert!(!ledger.joined("a"));
        ledger.left("c", LATER);
        assert_eq!(ledger.deadline(), None);
        ledger.answer("b", 2).unwrap();
        assert_eq!(folded(&mut ledger), [2]);
        assert!(ledger.done());
        assert_eq!(ledger.candidates(&owned(&["b"])), ["a", "b", "c"], "who is away for a moment may be selected");
    }

    #[test]
    fn sel_05_a_round_that_has_enough_answers_takes_no_more() {
        let mut ledger = ledger(&["a", "b", "c"]);
        ledger.answer("c", 3).unwrap();
        ledger.answer("b", 2).unwrap();
        assert!(folded(&mut ledger).is_empty(), "a may answer");
        ledger.close();
        assert_eq!(folded(&mut ledger), [2, 3]);
        assert!(ledger.done());
        assert_eq!((ledger.answered(), ledger.answer("a", 1)), (2, Err(Refusal::NotAsked)));
        begin(&mut ledger, &["a", "b", "c"], LATER);
        assert_eq!(ledger.answer("a", 1), Ok(()));
    }
}
