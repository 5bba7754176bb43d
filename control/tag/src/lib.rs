//! Flame's topology abstraction graph: a schema and a job's data spec become tasks.
//!
//! Pure: no I/O, no clock, no randomness. The same input gives the same tasks in the same order. Every mistake in a user's
//! files is found here, all at once, each with its place and its fix; nothing is corrected in silence.
//!
//! ```
//! use std::collections::BTreeMap;
//! use flame_tag::{JobSpec, Schema, TaskKind, expand};
//!
//! let schema = Schema::parse(
//!     r#"{"name": "simple", "roles": [{"name": "trainer", "isDataConsumer": true}, {"name": "aggregator"}],
//!         "channels": [{"name": "param-channel", "pair": ["trainer", "aggregator"]}]}"#,
//!     "schema.json",
//! )?;
//! let job = JobSpec::parse(r#"{"designId": "mnist", "backend": "mqtt", "dataSpec": {"fromUser": {"default": 2}}}"#, "job.json", &|path| {
//!     Err(format!("no file {path}"))
//! })?;
//! let code = ["aggregator".to_owned(), "trainer".to_owned()];
//! let tasks = expand(&schema, &job, &BTreeMap::new(), &code)?.tasks;
//! assert_eq!(tasks.len(), 3);
//! assert_eq!((tasks[0].role.as_str(), tasks[0].kind), ("aggregator", TaskKind::System));
//! assert_eq!((tasks[2].role.as_str(), tasks[2].kind), ("trainer", TaskKind::User));
//! # Ok::<(), flame_tag::Problems>(())
//! ```

mod check;
mod compression;
mod demand;
mod document;
mod dry_run;
mod expand;
mod identity;
mod job;
mod job_file;
mod names;
mod problem;
mod reader;
mod schema;
mod seats;
mod selector;

pub use compression::{Compression, MessageForm, TensorEncoding};
pub use document::MAX_FILE_BYTES;
pub use dry_run::{ChannelOutline, Outline, TaskOutline, dry_run};
pub use expand::{ChannelPlan, DEFAULT_COMPUTE, DatasetInfo, Expansion, MAX_TASKS, TaskKind, TaskPlan, expand};
pub use identity::{task_id, worker_seed};
pub use job::{BaseModel, Choice, DataSpec, JobSpec, Priority, Resources, RoleData, SystemData};
pub use job_file::Loader;
pub use problem::{MAX_PROBLEMS, Problem, Problems};
pub use schema::{Backend, Channel, DEFAULT_GROUP, GroupBy, GroupKind, MAX_CHANNELS, MAX_ROLES, Role, Schema};
pub use selector::{SELECTORS, SelectorInfo, SelectorOption, SelectorRange};
