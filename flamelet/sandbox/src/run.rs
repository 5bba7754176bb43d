//! Runs one task to its end on a thread of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, Trap};
use wasmtime_wasi::WasiCtxBuilder;

use crate::bindings::Failure;
use crate::bindings::flame::worker::types::Error;
use crate::charge::Quota;
use crate::limits::StoreLimiter;
use crate::state::{HostState, Joined};
use crate::stdio::{GuestLog, PrintedLines};
use crate::{Level, Prepared, Sandbox, TaskSpec};

/// Time for saying goodbye on the channels after the guest returned.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

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
        let sandbox = Arc::clone(self);
        let runtime = tokio::runtime::Handle::current();
        let name = format!("guest-{}", spec.task.as_str().get(..8).unwrap_or_default());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut done = done;
            let outcome = runtime.block_on(async {
                tokio::select! {
                    outcome = sandbox.run_guest(prepared, spec) => Some(outcome),
                    () = done.closed() => None,
                }
            });
            if let Some(outcome) = outcome {
                // The receiver went away a moment ago: there is nobody left to tell.
                let _ = done.send(outcome);
            }
        });
        match thread {
            Ok(_) => outcome.await.unwrap_or_else(|_| Outcome::Failed("the host failed while it ran the guest".into())),
            Err(error) => Outcome::Failed(format!("the host has no thread for the guest: {error}")),
        }
    }

    async fn run_guest(&self, prepared: Prepared, spec: TaskSpec) -> Outcome {
        let spec = Arc::new(spec);
        let log = Arc::new(GuestLog::new(Arc::clone(&spec.sink), spec.limits.log_lines_per_second));
        let mut store = Store::new(&self.engine, host_state(&spec, &log));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(spec.limits.call_bytes);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);

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
            () = tokio::time::sleep(spec.limits.wall.task) => Ended::OutOfTime,
        };

        let state = store.into_data();
        let refused = state.limiter.refused.clone();
        let channels = state.channels.clone();
        // The guest's handles go before the goodbye, so that nothing of it can be sent any more.
        drop(state);
        for channel in channels.values() {
            let _ = tokio::time::timeout(LEAVE_WITHIN, channel.leave()).await;
        }
        outcome(ended, &spec, &log, refused)
    }
}

enum Ended {
    Returned(wasmtime::Result<Result<(), Failure>>),
    Stopped,
    OutOfTime,
}

fn outcome(ended: Ended, spec: &TaskSpec, log: &GuestLog, refused: Option<String>) -> Outcome {
    match ended {
        Ended::Returned(Ok(Ok(()))) if spec.stop.is_cancelled() => Outcome::Terminated,
        Ended::Returned(Ok(Ok(()))) => Outcome::Completed,
        Ended::Returned(Ok(Err(Failure::Host(Error::Stopped)))) | Ended::Stopped => Outcome::Terminated,
        Ended::Returned(Ok(Err(_))) if spec.stop.is_cancelled() => Outcome::Terminated,
        Ended::Returned(Ok(Err(failure))) => Outcome::Failed(describe(&failure)),
        Ended::Returned(Err(trap)) => {
            let mut reason = trap_reason(&trap);
            // A panic hook speaks before the trap; a refused allocation tells why there was one.
            for more in [log.last_error(), refused].into_iter().flatten() {
                reason = format!("{more} ({reason})");
            }
            tracing::debug!(task = %spec.task, error = ?trap, "the guest trapped");
            log.line(Level::Error, &reason);
            Outcome::Failed(reason)
        }
        Ended::OutOfTime => Outcome::Failed(format!(
            "the task ran for {} s, which is all the wall time that its grant has (resources.wallTime in the job)",
            spec.limits.wall.task.as_secs()
        )),
    }
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

fn host_state(spec: &Arc<TaskSpec>, log: &Arc<GuestLog>) -> HostState {
    let mut table = ResourceTable::new();
    table.set_max_capacity(spec.limits.handles);
    // No directory, no environment, no arguments, no sockets: a context is built with none of them.
    let wasi = WasiCtxBuilder::new()
        .stdout(PrintedLines::new(Arc::clone(log), Level::Info))
        .stderr(PrintedLines::new(Arc::clone(log), Level::Warn))
        .build();
    HostState {
        spec: Arc::clone(spec),
        table,
        wasi,
        limiter: StoreLimiter::new(&spec.limits),
        quota: Quota::new(spec.limits.tensor_bytes),
        log: Arc::clone(log),
        channels: HashMap::new(),
        joined: Joined::default(),
        bases: VecDeque::new(),
        next_message: 0,
        reported_bytes: [0; 4],
    }
}
