//! Runs an untrusted worker component in wasmtime, with what its grant allows and nothing else.
//!
//! A [`Sandbox`] compiles and caches components and links them against the WIT package `flame:worker` and the few WASI
//! interfaces that Rust's standard library needs: no sockets, no http, no directories, no environment. [`Sandbox::run`]
//! runs one task on a thread of its own and tells how it ended. A trap, an exhausted limit or a panic ends that task
//! and nothing else.
//!
//! This crate knows nothing of the control plane: what it hears of a job stands in [`TaskSpec`], what it has to say goes
//! into a [`TaskSink`].

mod admission;
mod appetite;
mod audit;
mod bindings;
mod cache;
mod charge;
mod checkpoint;
mod clock;
mod compiler;
mod dataset;
mod egress;
mod engine;
mod error;
mod filter;
mod gate;
mod host;
mod idx;
mod limits;
mod meter;
mod rate;
mod ready;
mod run;
mod sink;
mod spec;
mod state;
mod stdio;
mod text;
mod usage;

pub use audit::{Auditor, Departure, Route};
pub use checkpoint::remove_checkpoint;
pub use compiler::{Compiler, compile_if_asked};
pub use dataset::{Dataset, DatasetError};
pub use egress::{Allowance, Egress, Filters, Rounding};
pub use engine::{Prepared, Sandbox, SandboxConfig, SandboxError};
pub use flame_aggregate::OptionValue;
pub use limits::{Limits, Times};
pub use run::Outcome;
pub use sink::{Level, SinkError, TaskSink};
pub use spec::{ChannelSpec, OptimizerSpec, TaskSpec};
pub use text::printable;
pub use usage::Usage;
