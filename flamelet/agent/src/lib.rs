//! Flame's agent: holds the session with the control plane, fetches what a task needs, and runs it in the sandbox.
//!
//! The session (`session`) survives a control plane that comes and goes. One supervisor (`agent`) turns its events into
//! a task's start and end, `grant` turns the server's grant into what the sandbox takes, and `report` carries logs,
//! metrics and models back. The participant's data never leaves: nothing here sends a path or a row.

mod agent;
mod args;
mod broker;
mod grant;
mod report;
mod session;

pub use agent::{AgentError, run};
pub use args::{AgentConfig, Args, DataArg};
pub use broker::BrokerArgs;
pub use flame_channel::mqtt::TlsSettings;
pub use flame_sandbox::Outcome;
