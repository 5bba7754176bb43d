//! Runs one task to its end on a thread of its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::bindings::Failure;
use crate::bindings::flame::worker::types::Error;
use crate::clock;
use crate::limits::OverLimit;
use crate::meter::{LastCall, Meter};
use crate::state::HostState;
use crate::stdio::{GuestLog, PrintedLines};
use crate::{Level, Limits, Prepared, Sandbox, TaskSpec};

/// Time for saying goodbye on the channels after the guest returned.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How often a guest's use of its limits is told.
const TELL_USAGE: Duration = Duration::from_secs(1);

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The guest returned from `run` without a failure.
    Completed,
    /// The guest failed, trapped or went over a limit; the text says why.
    Failed(String),
    /// The job wanted it to end, and it ended.
    Terminated,
}

impl Sandbox {
    /// Runs a task to its end. Dropping the future ends the guest at its next tick.
    pub async fn run(self: &Arc<Self>, prepared: Prepared, spec: TaskSpec) -> Outcome {
        let (done, outcome) = oneshot::channel();
        if prepared.deterministic != spec.deterministic {
            return Outcome::Failed("the component was prepared for another mode than the task's".into());
        }
        let runtime = tokio::runtime::Handle::current();
        let name = format!("guest-{}", spec.task.as_str().get(..8).unwrap_or_default());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut done = done;
            let task = spec.task.clone();
            // Nothing of the task is used after a panic: its store and its channels go with it.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    tokio::select! {
                        outcome = run_guest(prepared, spec) => Some(outcome),
                        () = done.closed() => None,
                    }
                })
            }));
            let outcome = outcome.unwrap_or_else(|panic| {
                let reason = format!("the host failed while it ran the guest: {}", panic_text(&*panic));
                tracing::error!(%task, reason, "a host function panicked");
                Some(Outcome::Failed(reason))
            });
            if let Some(outcome) = outcome {
                // The receiver went away a moment ago: there is nobody left to tell.
                let _ = done.send(outcome);
            }
        });
        match thread {
            Ok(_) => {
                outcome.await.unwrap_or_else(|_| Outcome::Failed("the guest's thread ended without a word".into()))
            }
            Err(error) => Outcome::Failed(format!("the host has no thread for the guest: {error}")),
        }
    }
}

impl Prepared {
    /// Makes an instance and drops it: for measuring how long that takes.
    #[doc(hidden)]
    pub async fn instantiate(&self, spec: TaskSpec) -> wasmtime::Result<Duration> {
        let spec = Arc::new(spec);
        let began = Instant::now();
        let (mut store, ..) = store(self, &spec);
        self.pre.instantiate_async(&mut store).await?;
        Ok(began.elapsed())
    }
}

/// What an instance lives in, within its limits.
fn store(prepared: &Prepared, spec: &Arc<TaskSpec>) -> (Store<HostState>, Arc<GuestLog>, Arc<Meter>) {
    let log = GuestLog::new(Arc::clone(&spec.sink), spec.limits.log_lines_per_second, spec.egress.no_logs);
    let log = Arc::new(log);
    let meter = Arc::new(Meter::new(&spec.limits));
    let state = HostState::new(spec, &log, wasi(spec, &log), &meter);
    let mut store = Store::new(prepared.pre.engine(), state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(spec.limits.call_bytes);
    store.set_epoch_deadline(1);
    let (watch, mut last) = (Arc::clone(&meter), LastCall::default());
    let (sink, mut told) = (Arc::clone(&spec.sink), Instant::now());
    store.epoch_deadline_callback(move |store| {
        watch.tick(&mut last, store.data().calls).map_err(wasmtime::Error::new)?;
        if told.elapsed() >= TELL_USAGE {
            told = Instant::now();
            sink.using(&store.data().usage());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    (store, log, meter)
}

async fn run_guest(prepared: Prepared, spec: TaskSpec) -> Outcome {
    if let Err(reason) = spec.egress.filters.check() {
        return Outcome::Failed(reason);
    }
    let spec = Arc::new(spec);
    let (mut store, log, meter) = store(&prepared, &spec);
    let joined = store.data().joined.clone();
    let call = async {
        let worker = prepared.pre.instantiate_async(&mut store).await?;
        worker.call_run(&mut store).await
    };
    let overdue = async {
        spec.stop.cancelled().await;
        joined.stop();
        tokio::time::sleep(spec.limits.stop_grace).await;
    };
    let ended = tokio::select! {
        result = call => Ended::Returned(result),
        () = overdue => Ended::Stopped,
        over = meter.out_of_time() => Ended::OutOfTime(over),
    };

    let state = store.into_data();
    let refused = state.limiter.refused.clone();
    let channels = state.channels.clone();
    let usage = state.usage();
    // The guest's handles go before the goodbye, so that nothing of it can be sent any more.
    drop(state);
    for channel in channels.values() {
        let _ = tokio::time::timeout(LEAVE_WITHIN, channel.leave()).await;
    }
    log.host(Level::Debug, format!("the task used {usage:?}"));
    spec.sink.usage(&usage);
    outcome(ended, &spec, &log, refused)
}

enum Ended {
    Returned(wasmtime::Result<Result<(), Failure>>),
    Stopped,
    OutOfTime(OverLimit),
}

fn outcome(ended: Ended, spec: &TaskSpec, log: &GuestLog, refused: Option<String>) -> Outcome {
    let reason = match ended {
        Ended::Returned(Ok(Ok(()))) if spec.stop.is_cancelled() => return Outcome::Terminated,
        Ended::Returned(Ok(Ok(()))) => return Outcome::Completed,
        Ended::Returned(Ok(Err(Failure::Host(Error::Stopped)))) | Ended::Stopped => return Outcome::Terminated,
        Ended::Returned(Ok(Err(_))) if spec.stop.is_cancelled() => return Outcome::Terminated,
        Ended::Returned(Ok(Err(failure))) => {
            let text = describe(&failure);
            return Outcome::Failed(match failure {
                Failure::Guest(_) if log.stays() => kept("the guest failed", &text),
                // What the host said to the guest, unless the guest wrote it itself: nobody can tell.
                Failure::Host(error) if log.stays() => kept(&format!("the worker gave up: {}", case(&error)), &text),
                _ => text,
            });
        }
        Ended::Returned(Err(trap)) => {
            tracing::debug!(task = %spec.task, error = ?trap, "the guest trapped");
            over_limit(&trap, &spec.limits).unwrap_or_else(|| explain(&trap, log, refused))
        }
        Ended::OutOfTime(over) => over.0,
    };
    log.host(Level::Error, reason.clone());
    Outcome::Failed(reason)
}

/// Why a guest trapped: a panic hook speaks before the trap, and a refused allocation tells why there was one.
fn explain(trap: &wasmtime::Error, log: &GuestLog, refused: Option<String>) -> String {
    let mut reason = trap_reason(trap);
    if let Some(said) = log.last_error() {
        reason = if log.stays() { kept(&reason, &said) } else { format!("{said} ({reason})") };
    }
    match refused {
        Some(refused) => format!("{refused} ({reason})"),
        None => reason,
    }
}

/// A reason without the guest's own words, which are told here alone.
fn kept(reason: &str, said: &str) -> String {
    tracing::warn!(said, "{reason}; its words stay here");
    format!("{reason}; its words stay with the participant (egress.logs in policy.toml)")
}

/// The limit that a trap comes from, if it comes from one.
fn over_limit(error: &wasmtime::Error, limits: &Limits) -> Option<String> {
    if let Some(over) = error.downcast_ref::<OverLimit>() {
        return Some(over.0.clone());
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return Some(format!(
            "handles: the guest holds as many as its grant has, which is {} (limits.handles in policy.toml)",
            limits.handles
        ));
    }
    // The type of wasmtime's error is its own.
    error.root_cause().to_string().contains("fuel allocated for hostcalls").then(|| {
        format!(
            "call bytes: one host call was to carry more than {} bytes out of the guest, which is what its grant has \
             (limits.call-bytes in policy.toml)",
            limits.call_bytes
        )
    })
}

fn trap_reason(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => format!("the guest trapped: {trap}"),
        None => match error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            Some(exit) => format!("the guest called exit({}) instead of returning from `run`", exit.0),
            None => format!("the guest was ended: {}", error.root_cause()),
        },
    }
}

/// The case of an error, without its text.
fn case(error: &Error) -> &'static str {
    match error {
        Error::Timeout => "timeout",
        Error::Stopped => "stopped",
        Error::Closed => "closed",
        Error::NotPermitted(_) => "not permitted",
        Error::NotFound(_) => "not found",
        Error::ShapeMismatch(_) => "shapes do not match",
        Error::LimitExceeded(_) => "over a limit",
        Error::InvalidArgument(_) => "invalid argument",
        Error::NotFinite(_) => "not finite",
        Error::NotEnough(_) => "not enough updates",
        Error::BudgetSpent(_) => "privacy budget spent",
        Error::Unavailable(_) => "unavailable",
        Error::Internal(_) => "host fault",
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Guest(text) => crate::printable(text),
        Failure::Host(error) => crate::printable(&match error {
            Error::Timeout => "the worker gave up: a wait passed its deadline".into(),
            Error::Stopped => "the job was stopped".into(),
            Error::Closed => "the worker gave up: a peer or channel that it needs is gone".into(),
            Error::NotPermitted(text) => format!("not permitted: {text}"),
            Error::NotFound(text) => format!("not found: {text}"),
            Error::ShapeMismatch(text) => format!("shapes do not match: {text}"),
            Error::LimitExceeded(text) => format!("over a limit: {text}"),
            Error::InvalidArgument(text) => format!("invalid argument: {text}"),
            Error::NotFinite(text) => format!("not finite: {text}"),
            Error::NotEnough(text) => format!("not enough updates: {text}"),
            Error::BudgetSpent(text) => format!("privacy budget spent: {text}"),
            Error::Unavailable(text) => format!("unavailable: {text}"),
            Error::Internal(text) => format!("host fault: {text}"),
        }),
    }
}

fn wasi(spec: &TaskSpec, log: &Arc<GuestLog>) -> WasiCtx {
    // No directory, no environment, no arguments, no sockets: a context is built with none of them.
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(PrintedLines::new(Arc::clone(log), Level::Info));
    wasi.stderr(PrintedLines::new(Arc::clone(log), Level::Warn));
    if spec.deterministic {
        clock::deterministic(&mut wasi, spec.seed);
    } else {
        clock::coarse(&mut wasi);
    }
    wasi.build()
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    crate::printable(&text.unwrap_or_else(|| "a panic without words".into()))
}
