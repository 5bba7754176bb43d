//! What agents are to be told. An order becomes a numbered letter in the same durable step as the change that it follows
//! from, and stays until the agent has read it; the newest one stays, so that an agent that starts anew gets it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use flame_api::{AgentId, Code, JobId, Problem};

use super::lifecycle::{Course, Wanted};
use super::{CellState, Controller};
use crate::failure::store as store_failed;
use crate::store::records::{AgentRecord, Letter, Mailbox, Order, TaskRecord, mailbox_key};
use crate::store::{Batch, Store, Tree, get_record};

impl Mailbox {
    /// Adds an order, unless it is the newest one already. A stop takes the place of what was not read.
    pub(crate) fn post(&mut self, order: Order) -> Option<&Letter> {
        if self.letters.last().is_some_and(|letter| letter.order == order) {
            return None;
        }
        let unread = order == Order::Start;
        self.letters.retain(|letter| unread && letter.number > self.read);
        self.last += 1;
        self.letters.push(Letter { number: self.last, order });
        self.letters.last()
    }

    /// The agent has read up to a number. Whether that is news.
    pub(crate) fn has_read(&mut self, number: u64) -> bool {
        let number = number.min(self.last);
        if number <= self.read {
            return false;
        }
        self.read = number;
        let last = self.last;
        self.letters.retain(|letter| letter.number > number || letter.number == last);
        true
    }

    /// What a process that has read up to `seen` is to be told.
    pub(crate) fn after(&self, seen: u64) -> Vec<Letter> {
        // A number that was never given is of another server's store.
        let seen = if seen > self.last { 0 } else { seen };
        self.letters.iter().filter(|letter| letter.number > seen).cloned().collect()
    }
}

/// The order in what is wanted.
fn order(wanted: Wanted) -> Option<Order> {
    match wanted {
        Wanted::Nothing => None,
        Wanted::Start => Some(Order::Start),
        Wanted::Stop { reason, grace_seconds } => Some(Order::Stop { reason, grace_seconds }),
    }
}

/// What agents have read, newest number each, that is not noted yet.
pub(super) type Reads = BTreeMap<AgentId, Read>;

/// What one has read: of which job, at which of its positions, up to which number.
pub(super) struct Read {
    job: JobId,
    position: u32,
    number: u64,
}

/// The mailboxes of a job's agents, by position.
#[derive(Default)]
pub(super) struct Mail {
    boxes: Vec<Mailbox>,
}

impl Mail {
    /// Blocks.
    pub(super) fn load(store: &dyn Store, job: &JobId, course: &Course) -> Result<Self, Problem> {
        let mut by_key = BTreeMap::new();
        let prefix = crate::store::records::prefix(job);
        for (key, mailbox) in
            crate::store::page_records(store, Tree::Mailboxes, &prefix, b"", usize::MAX).map_err(store_failed)?
        {
            by_key.insert(key, mailbox);
        }
        let of = |task: &TaskRecord| by_key.remove(mailbox_key(job, &task.agent).as_bytes()).unwrap_or_default();
        Ok(Self { boxes: course.tasks.iter().map(of).collect() })
    }

    /// Adds to a batch what has to be said after a change, to everybody or to those whose tasks changed. Who is to be told
    /// what, once the batch is committed.
    pub(super) fn post(
        &mut self,
        batch: &mut Batch,
        course: &Course,
        everybody: bool,
    ) -> Result<Vec<(AgentId, Letter)>, Problem> {
        let mut posted = Vec::new();
        for (task, mailbox) in course.tasks.iter().zip(&mut self.boxes) {
            if !everybody && !task.changed {
                continue;
            }
            let Some(letter) = order(course.wanted(task.position)).and_then(|order| mailbox.post(order)) else {
                continue;
            };
            posted.push((task.agent.clone(), letter.clone()));
            let key = mailbox_key(&task.job, &task.agent);
            batch.put_record(Tree::Mailboxes, &key, mailbox).map_err(store_failed)?;
        }
        Ok(posted)
    }

    /// For other tasks of the same job: who stays goes on with the same numbers, and has nothing to read. Blocks.
    pub(super) fn renew(
        store: &dyn Store,
        old: &Course,
        tasks: &[TaskRecord],
        batch: &mut Batch,
    ) -> Result<(), Problem> {
        let stay: BTreeSet<&AgentId> = tasks.iter().map(|task| &task.agent).collect();
        let mail = Self::load(store, &old.job.job.id, old)?;
        for (task, mailbox) in old.tasks.iter().zip(mail.boxes) {
            let key = mailbox_key(&task.job, &task.agent);
            if stay.contains(&task.agent) {
                let empty = Mailbox { last: mailbox.last, read: mailbox.last, letters: Vec::new() };
                batch.put_record(Tree::Mailboxes, &key, &empty).map_err(store_failed)?;
            } else {
                batch.delete(Tree::Mailboxes, key);
            }
        }
        Ok(())
    }

    fn of(&mut self, position: u32) -> Option<&mut Mailbox> {
        self.boxes.get_mut(usize::try_from(position).ok()?)
    }
}

impl Controller {
    /// What an agent that has read up to `seen` is to be told. Blocks.
    pub(crate) fn letters(&self, id: &AgentId, agent: &AgentRecord, seen: u64) -> Result<Vec<Letter>, Problem> {
        let cell = self.cell(&agent.job)?;
        let mut state = cell.lock();
        self.load(&agent.job, &mut state.course)?;
        let course = state.course.as_ref().ok_or_else(|| super::unknown_job(&agent.job))?;
        let wanted = order(course.wanted(agent.position));
        self.with_mailbox(&mut state, &agent.job, id, agent.position, |mailbox| {
            // A store of an earlier version has none: what is wanted is derived, as ever.
            if let Some(order) = wanted
                && mailbox.post(order).is_some()
            {
                let mut batch = Batch::new();
                batch.put_record(Tree::Mailboxes, &mailbox_key(&agent.job, id), mailbox).map_err(store_failed)?;
                // What is lost of it in a crash is said once more.
                self.store.commit_soon(batch).map_err(store_failed)?;
            }
            Ok(mailbox.after(seen))
        })
    }

    /// An agent has read what it was told. Noted soon, together with what others have read meanwhile.
    pub(crate) fn has_read(self: &Arc<Self>, id: &AgentId, agent: &AgentRecord, number: u64) {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = reads.is_empty();
        let new = || Read { job: agent.job.clone(), position: agent.position, number };
        let read = reads.entry(id.clone()).or_insert_with(new);
        read.number = read.number.max(number);
        drop(reads);
        if is_first {
            let this = Arc::clone(self);
            self.keepers.spawn(async move {
                if let Err(problem) = this.run(Self::note_reads).await {
                    tracing::warn!("what agents have read is not noted, so they will be told it again: {problem}");
                }
            });
        }
    }

    /// Notes what was read until now, each job's in one step. Blocks.
    fn note_reads(&self) -> Result<(), Problem> {
        let reads = std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut by_job: BTreeMap<JobId, Vec<(AgentId, u32, u64)>> = BTreeMap::new();
        for (id, Read { job, position, number }) in reads {
            by_job.entry(job).or_default().push((id, position, number));
        }
        let mut done = Ok(());
        for (job, reads) in by_job {
            // One job's failure does not hold up the others.
            let noted = self.note_reads_of(&job, reads);
            done = done.and(noted);
        }
        done
    }

    fn note_reads_of(&self, job: &JobId, reads: Vec<(AgentId, u32, u64)>) -> Result<(), Problem> {
        let cell = match self.cell(job) {
            // It was deleted meanwhile, mailboxes and all.
            Err(problem) if problem.code == Code::NotFound => return Ok(()),
            found => found?,
        };
        let mut state = cell.lock();
        let mut batch = Batch::new();
        for (id, position, number) in reads {
            self.with_mailbox(&mut state, job, &id, position, |mailbox| {
                if mailbox.has_read(number) {
                    batch.put_record(Tree::Mailboxes, &mailbox_key(job, &id), mailbox).map_err(store_failed)?;
                }
                Ok(())
            })?;
        }
        if batch.is_empty() { Ok(()) } else { self.store.commit_soon(batch).map_err(store_failed) }
    }

    /// Works on one agent's mailbox: the one in memory, where the job's are there.
    fn with_mailbox<T>(
        &self,
        state: &mut CellState,
        job: &JobId,
        id: &AgentId,
        position: u32,
        act: impl FnOnce(&mut Mailbox) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if let Some(mailbox) = state.mail.as_mut().and_then(|mail| mail.of(position)) {
            return act(mailbox);
        }
        let known = get_record(&*self.store, Tree::Mailboxes, &mailbox_key(job, id)).map_err(store_failed)?;
        act(&mut known.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(reason: &str) -> Order {
        Order::Stop { reason: reason.into(), grace_seconds: 10 }
    }

    fn told(mailbox: &Mailbox, seen: u64) -> Vec<(u64, Order)> {
        mailbox.after(seen).into_iter().map(|letter| (letter.number, letter.order)).collect()
    }

    #[test]
    fn a_stop_takes_the_place_of_a_start_that_was_not_read() {
        let mut mailbox = Mailbox::default();
        assert_eq!(mailbox.post(Order::Start).unwrap().number, 1);
        assert!(mailbox.post(Order::Start).is_none(), "an order is given once");
        assert_eq!(mailbox.post(stop("a")).unwrap().number, 2);
        assert_eq!(told(&mailbox, 0), [(2, stop("a"))]);
    }

    #[test]
    fn what_was_not_read_is_said_again_and_the_newest_order_to_whoever_starts_anew() {
        let mut mailbox = Mailbox::default();
        mailbox.post(Order::Start);
        assert_eq!(told(&mailbox, 0), [(1, Order::Start)]);
        assert_eq!(told(&mailbox, 0), [(1, Order::Start)], "until it is read");
        assert!(mailbox.has_read(1) && !mailbox.has_read(1));
        assert_eq!(told(&mailbox, 1), []);
        assert_eq!(told(&mailbox, 0), [(1, Order::Start)], "a new process has read nothing");
        mailbox.post(stop("b"));
        assert_eq!(told(&mailbox, 1), [(2, stop("b"))]);
        assert_eq!(told(&mailbox, 0), [(2, stop("b"))]);
        assert_eq!(told(&mailbox, 99), [(2, stop("b"))], "a number from elsewhere is none");
        assert!(mailbox.has_read(99), "and reads no more than there is");
        assert_eq!(mailbox.read, 2);
    }

    #[test]
    fn a_mailbox_stays_small() {
        let mut mailbox = Mailbox::default();
        for n in 0..1_000 {
            mailbox.post(Order::Start);
            mailbox.post(stop(&n.to_string()));
            if n % 3 == 0 {
                mailbox.has_read(mailbox.last);
            }
            assert!(mailbox.letters.len() <= 2);
        }
    }
}
