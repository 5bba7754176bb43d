//! Flame's agent: holds the session with the control plane, fetches what a task needs, and runs it in the sandbox.
//!
//! The session (`session`) survives a control plane that comes and goes. One supervisor (`agent`) turns its events into
//! a task's start and end, `code` decides whether what came is what was granted and signed, `grant` turns the server's
//! grant into what the sandbox takes, `transports` connects what carries its channels, `peers` finds those who are
//! reached directly, and `report` carries logs, metrics and models back. The participant's data never leaves: nothing
//! here sends a path or a row.

mod agent;
mod args;
mod broker;
mod code;
mod grant;
mod peers;
mod report;
mod session;
mod transports;

pub use agent::{AgentError, run};
pub use args::{AgentConfig, Args, DataArg, P2pListen};
pub use broker::BrokerArgs;
pub use flame_bundle::PublicKey;
pub use flame_channel::inproc::InprocHub;
pub use flame_channel::mqtt::TlsSettings;
pub use flame_channel::p2p::Listen;
pub use flame_sandbox::Outcome;
