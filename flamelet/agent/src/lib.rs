//! Flame's agent: holds the session with the control plane, fetches what a task needs, and runs it in the sandbox.
//!
//! The session (`session`) survives a control plane that comes and goes. One supervisor (`agent`) turns its events into
//! a task's start and end, `code` decides whether what came is what was granted and signed, `grant` turns the server's
//! grant into what the sandbox takes, `transports` connects what carries its channels, `peers` finds those who are
//! reached directly, and `report` carries logs, metrics and models back. What a task may do here is the participant's
//! word (`policy`), and what it did is written down (`audit`). The participant's data never leaves: nothing here sends a
//! path or a row.

mod agent;
mod agents_file;
mod args;
mod audit;
mod broker;
mod check;
mod cli;
mod code;
mod grant;
mod peers;
mod policy;
mod report;
mod session;
mod transports;

pub use agent::{AgentError, run, run_all};
pub use args::{AgentConfig, Args, DataArg, P2pListen};
pub use audit::{AuditError, AuditLog, ShowOptions, Verified, show, verify};
pub use broker::BrokerArgs;
pub use check::check;
pub use cli::{AuditCommand, Cli, Command, PolicyCommand};
pub use flame_bundle::PublicKey;
pub use flame_channel::inproc::InprocHub;
pub use flame_channel::mqtt::TlsSettings;
pub use flame_channel::p2p::Listen;
pub use flame_sandbox::Outcome;
pub use policy::{Policy, PolicyError};
