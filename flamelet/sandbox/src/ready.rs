//! Components in memory, and how many compile at a time.
//!
//! Tasks of one component that start together wait for one compilation. Each compilation has a thread of its own, so that
//! whoever waits can give up; a hostile component may keep its thread busy, but at most [`MAX_COMPILING`] threads there
//! are, and components that are compiled already need none.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Prepared;

/// Compilations under way at a time, those that nobody waits for any more included.
const MAX_COMPILING: usize = 2;
/// Components kept ready in memory; a flamelet runs few at a time.
const MAX_IN_MEMORY: usize = 16;

/// Digest, and whether for deterministic tasks.
type Key = (Arc<str>, bool);

/// What is ready, and what is being made ready.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    compiling: usize,
}

#[derive(Debug)]
enum Entry {
    Compiling,
    Done(Result<Prepared, String>),
}

impl Ready {
    /// What is kept under `key`, made by `make` where it is not there; at most `within` is waited for it.
    pub(crate) fn get_or_make(
        self: &Arc<Self>,
        key: &Key,
        within: Duration,
        make: impl FnOnce() -> Result<Prepared, String> + Send + 'static,
    ) -> Result<Prepared, String> {
        let give_up = Instant::now() + within;
        let mut make = Some(make);
        let mut inner = self.lock();
        loop {
            match inner.entries.get(key) {
                Some(Entry::Done(done)) => return done.clone(),
                None if inner.compiling < MAX_COMPILING => {
                    if let Some(make) = make.take() {
                        self.start(&mut inner, key, make)?;
                    }
                }
                // Under way, or in line.
                Some(Entry::Compiling) | None => {}
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("the component does not compile within {} s", within.as_secs()));
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn start(
        self: &Arc<Self>,
        inner: &mut Inner,
        key: &Key,
        make: impl FnOnce() -> Result<Prepared, String> + Send + 'static,
    ) -> Result<(), String> {
        let (ready, at) = (Arc::clone(self), key.clone());
        let thread = std::thread::Builder::new().name("compile".into()).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| {
                Err(format!("the compiler failed on the component: {}", crate::run::panic_text(&*panic)))
            });
            let mut inner = ready.lock();
            inner.compiling -= 1;
            if inner.entries.len() >= MAX_IN_MEMORY {
                inner.entries.retain(|_, entry| matches!(entry, Entry::Compiling));
            }
            inner.entries.insert(at, Entry::Done(result));
            drop(inner);
            ready.changed.notify_all();
        });
        thread.map_err(|error| format!("the host has no thread to compile the component: {error}"))?;
        inner.compiling += 1;
        inner.entries.insert(key.clone(), Entry::Compiling);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn key(name: &str) -> Key {
        (name.into(), false)
    }

    #[test]
    fn endless_compilations_hold_two_threads_and_no_waiter() {
        let ready = Arc::new(Ready::default());
        let (let_go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for name in ["a", "b"] {
            let wait = Arc::clone(&wait);
            let slow = move || {
                let _ = wait.lock().unwrap_or_else(PoisonError::into_inner).recv();
                Err("late".to_owned())
            };
            let refused = ready.get_or_make(&key(name), Duration::from_millis(20), slow).unwrap_err();
            assert!(refused.contains("within"), "{refused}");
        }
        // No third one begins.
        let started = ready.get_or_make(&key("c"), Duration::from_millis(20), || Err("ran".into())).unwrap_err();
        assert!(started.contains("within"), "{started}");
        drop(let_go);
        let done = ready.get_or_make(&key("c"), Duration::from_mins(1), || Err("ran".into())).unwrap_err();
        assert_eq!(done, "ran");
        // What finished late is there for the next who asks.
        assert_eq!(ready.get_or_make(&key("a"), Duration::from_mins(1), || Err("again".into())).unwrap_err(), "late");
    }

    #[test]
    fn a_compiler_that_panics_fails_the_component_alone() {
        let ready = Arc::new(Ready::default());
        let failed = ready.get_or_make(&key("a"), Duration::from_mins(1), || panic!("no such register"));
        assert!(failed.unwrap_err().contains("no such register"));
        assert_eq!(ready.lock().compiling, 0);
    }
}
