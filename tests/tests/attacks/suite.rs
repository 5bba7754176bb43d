//! Runs attacks and gathers what did not end as it must.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flame_model::Message;
use flame_sandbox::{Limits, Outcome, Prepared, SandboxError};
use flame_tests::{DEADLINE, attack};

use crate::stage::{Said, Stage, Terms, constant, ends};

/// Parameters of the base that every turn begins with.
pub(crate) const LEN: usize = 100;

/// One sandbox for all attacks.
pub(crate) struct Suite {
    stage: Stage,
    honest: Vec<u8>,
    count: AtomicUsize,
    problems: Mutex<Vec<String>>,
}

/// How an attack with a partner went.
pub(crate) struct Turn {
    pub(crate) said: Arc<Said>,
    pub(crate) came: Vec<Message>,
    pub(crate) outcome: Outcome,
}

impl Suite {
    pub(crate) fn new() -> Self {
        let honest = std::fs::read(attack("honest_job")).unwrap();
        Self { stage: Stage::new(), honest, count: AtomicUsize::new(0), problems: Mutex::default() }
    }

    /// Attacks so far.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Everything that went wrong, at once.
    pub(crate) fn verdict(&self) {
        let problems = self.problems.lock().unwrap();
        assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    }

    /// Remembers what is not as it has to be.
    pub(crate) fn expect(&self, holds: bool, name: &str, detail: impl std::fmt::Display) {
        if !holds {
            eprintln!("PROBLEM {name}: {detail}");
            self.problems.lock().unwrap().push(format!("{name}: {detail}"));
        }
    }

    /// The same sandbox, with channels of its own.
    pub(crate) fn stage(&self) -> Stage {
        self.stage.anew()
    }

    /// An attack of `tests/guests/attacks`, as far as it is compiled.
    pub(crate) fn prepared(&self, name: &str, deterministic: bool) -> Prepared {
        self.count.fetch_add(1, Ordering::Relaxed);
        let bytes = std::fs::read(attack(name)).unwrap();
        self.stage.sandbox.prepare_as(&bytes, "trainer", deterministic).unwrap()
    }

    /// The reason for which a component is refused before it runs.
    pub(crate) fn refused(&self, component: &[u8]) -> Result<Prepared, String> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.stage.sandbox.prepare(component, "trainer").map_err(|error: SandboxError| error.to_string())
    }

    /// Runs an attack that needs no partner.
    pub(crate) async fn alone(&self, name: &str, terms: Terms) -> (Arc<Said>, Outcome) {
        let prepared = self.prepared(name, terms.deterministic);
        self.runs(name, prepared, terms).await
    }

    /// Runs what is prepared.
    pub(crate) async fn runs(&self, name: &str, prepared: Prepared, terms: Terms) -> (Arc<Said>, Outcome) {
        let began = Instant::now();
        let (said, task) = self.stage().runs(prepared, "trainer", &[], terms);
        let outcome = ends(task).await;
        eprintln!("{name} ({:.1} s): {outcome:?}", began.elapsed().as_secs_f64());
        self.nothing_is_left(name).await;
        (said, outcome)
    }

    /// Runs an attack that has to fail with these words in the reason.
    pub(crate) async fn fails(&self, name: &str, limits: Limits, words: &[&str]) {
        let (_, outcome) = self.alone(name, Terms { limits, ..Terms::default() }).await;
        self.has_failed(name, &outcome, words);
    }

    /// Whether it failed with these words.
    pub(crate) fn has_failed(&self, name: &str, outcome: &Outcome, words: &[&str]) {
        let Outcome::Failed(reason) = outcome else {
            return self.expect(false, name, format!("it should fail, and it ended as {outcome:?}"));
        };
        for word in words {
            self.expect(reason.contains(word), name, format!("no `{word}` in: {reason}"));
        }
        self.expect(reason.len() < 20_000, name, "the reason is too long to read");
        self.expect(!reason.contains('\u{1b}'), name, "the reason moves the terminal");
    }

    /// Runs an attack that completes, and holds what it said to what is expected.
    pub(crate) async fn completes(&self, name: &str, terms: Terms, expected: &[(&str, &str)]) -> Arc<Said> {
        let (said, outcome) = self.alone(name, terms).await;
        self.expect(outcome == Outcome::Completed, name, format!("it ended as {outcome:?}"));
        self.said(name, &said, expected);
        said
    }

    /// Every line of `what` has one of the words that `|` sets apart.
    pub(crate) fn said(&self, name: &str, said: &Said, expected: &[(&str, &str)]) {
        for (what, words) in expected {
            let lines = said.all(what);
            self.expect(!lines.is_empty(), name, format!("nothing of `{what}` was said"));
            for line in lines {
                let fits = words.split('|').any(|word| line.contains(word));
                self.expect(fits, name, format!("`{what}` has none of `{words}`: {line}"));
                self.expect(line.chars().count() < 5_000, name, format!("a line of `{what}` is too long"));
            }
        }
    }

    /// Runs an attack that an aggregator sends one base, until it ends.
    pub(crate) async fn turn(&self, name: &str, terms: Terms, expected: &[(&str, &str)]) -> Turn {
        let prepared = self.prepared(name, terms.deterministic);
        let began = Instant::now();
        let stage = self.stage();
        let aggregator = stage.aggregator().await;
        let (said, task) = stage.runs(prepared, "trainer", &[], terms);
        aggregator.begin(1, &constant(5.0, LEN)).await;
        let mut came = Vec::new();
        loop {
            match aggregator.next().await {
                Some(message) if message.kind == "done" => aggregator.end().await,
                Some(message) => came.push(message),
                None if task.is_finished() => break,
                None => assert!(began.elapsed() < DEADLINE, "{name} does not end"),
            }
        }
        let outcome = ends(task).await;
        eprintln!("{name} ({:.1} s): {outcome:?}, {} messages", began.elapsed().as_secs_f64(), came.len());
        drop(aggregator);
        self.said(name, &said, expected);
        self.nothing_is_left(name).await;
        Turn { said, came, outcome }
    }

    /// No guest's thread lives on, and the same sandbox runs a job of two honest tasks.
    pub(crate) async fn nothing_is_left(&self, name: &str) {
        let began = Instant::now();
        while guest_threads() > 0 && began.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.expect(guest_threads() == 0, name, "a guest's thread is left");
        self.honest_job(name).await;
    }

    /// A trainer and an aggregator that do what they should.
    pub(crate) async fn honest_job(&self, after: &str) {
        let stage = self.stage();
        let hyper = [("rounds", "1")];
        let run = |role: &str| {
            let prepared = stage.sandbox.prepare(&self.honest, role).unwrap();
            stage.runs(prepared, role, &hyper, Terms::default())
        };
        let (said, aggregator) = run("aggregator");
        let (_, trainer) = run("trainer");
        let (aggregator, trainer) = (ends(aggregator).await, ends(trainer).await);
        let completed = aggregator == Outcome::Completed && trainer == Outcome::Completed;
        self.expect(completed, after, format!("the honest job after it: {aggregator:?}, {trainer:?}"));
        self.expect(!said.models.lock().unwrap().is_empty(), after, "the honest job after it has no result");
    }
}

/// Threads of this process that run a guest.
fn guest_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads.map(name).filter(|name| name.starts_with("guest-")).count()
}

/// Most resident memory of this process so far, in MiB.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
