//! Write federated learning workers as WebAssembly components.
//!
//! A worker implements [`Trainer`] and [`Aggregator`] for types of its own and hands them to [`worker!`]; the federated round loop, the
//! channels, the aggregation and the data come from this crate and from the host. `cargo build --target wasm32-wasip2 --release` of
//! a `cdylib` crate gives the component to upload. A worker that needs another loop implements [`Role`] and drives its
//! [`Channel`]s, [`Aggregation`] and [`Dataset`]s itself.
//!
//! Numbers stay in the host until they are read: sending, duplicating and averaging a [`Model`] moves a handle. Natively the crate
//! compiles so that a worker's own mathematics can be unit tested; calls that need a host panic there.
//!
//! This crate never names a transport, a file or a credential: a worker has none.

pub mod client;
pub mod rule;
pub mod selector;
pub mod telemetry;

mod aggregation;
#[doc(hidden)]
pub mod bindings;
mod channel;
mod context;
mod data;
mod error;
mod fedavg;
mod hyper;
mod metrics;
mod rng;
mod tensor;
mod worker;

pub use aggregation::{Aggregation, Contribution, OptionValue, Outcome};
pub use channel::{BaseRef, Channel, EndId, Event, Form, Message, Outgoing, Peer, Quorum, Receipt, next};
pub use context::{Checkpoint, Context, Round};
pub use data::{ArrayInfo, Dataset, Images, Minibatches};
pub use error::{Error, Result};
pub use hyper::Hyper;
pub use metrics::{Metrics, WeightedMean};
pub use rng::Rng;
pub use selector::Selector;
pub use tensor::{Dtype, Model, Tensor};
pub use worker::{Aggregator, Role, Trainer, Update};

/// For [`worker!`] alone.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::worker::{Probe, RunAggregator, RunRole, RunTrainer, install_panic_hook};
}
