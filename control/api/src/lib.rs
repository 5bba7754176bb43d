//! The types that cross Flame's edges, REST and gRPC, and the client that `flamectl`, `flamelet` and `fiab` share.
//!
//! Both sides of an edge use the same type, so that neither can drift. Nothing here decides anything: life cycles are
//! the server's, expansion is `flame-tag`'s.

mod agent;
mod agent_key;
mod client;
mod codec;
mod encoding;
mod entity;
mod ids;
mod problem;
mod secret;
mod state;
mod tls;
mod token;

pub use agent::{
    AgentReport, Backend, BrokerAccess, ChannelGrant, CodeRef, CodeSignature, LogLevel, LogLine, MetricRow,
    OptimizerChoice, Progress, RosterEntry, TaskGrant, TaskResources,
};
pub use agent_key::{KeyError, RANDOM_KEY, stretch};
pub use client::{Client, ClientError};
pub use encoding::{ChannelEncoding, MessageForm, TensorEncoding};
pub use entity::{
    Agent, CodeComponent, CodeRevision, Compute, CreateDataset, CreateDesign, Created, Dataset, Design, DesignDetail,
    Job, JobCreated, JobEvent, JobEventKind, JobSnapshot, LogRecord, MetricRecord, ModelArtifact, Page,
    RegisterCompute, SchemaRevision, Task, TaskCounts, UpdateDataset, UpdateDesign,
};
pub use ids::{AgentId, ComputeId, DatasetId, DesignId, IdError, JobId, TokenId, UserName};
/// A point in time; RFC 3339 in JSON.
pub use jiff::Timestamp;
pub use problem::{Code, Problem};
pub use secret::{Secret, SecretKey};
pub use state::{IllegalStep, JOB_LIFE, JobState, JobStep, TASK_LIFE, TaskKind, TaskState, TaskStep};
pub use tls::{CA_VARIABLE, Trust, TrustError};
pub use token::{AuditRecord, CreateToken, Role, Token, TokenCreated};

/// The notifier's protocol, generated from `proto/notifier.proto`.
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
pub mod notifier {
    tonic::include_proto!("flame.notifier.v1");
}

/// Default port of the apiserver (REST).
pub const API_PORT: u16 = 10100;
/// Default port of the notifier (gRPC).
pub const NOTIFIER_PORT: u16 = 10101;
/// Default port of the embedded MQTT broker.
pub const BROKER_PORT: u16 = 1883;
/// The header with the signatures of uploaded code: lines of signature files, separated by commas.
pub const SIGNATURES_HEADER: &str = "flame-signatures";
/// The name under which a job's global model is published.
pub const MODEL: &str = "model";
