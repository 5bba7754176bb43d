//! Flame's control plane as a library: apiserver, controller, notifier, store, deployers, embedded broker.
//!
//! The binary `flame-control` and `fiab` both start a [`Server`] from a [`ServerConfig`]. Nothing here runs anybody's
//! code: guests live in flamelets, and this crate must never link the sandbox.
//!
//! The rooms: [`apiserver`] and [`notifier`] are the edges and decide nothing; [`controller`] decides, by the rules in
//! its `lifecycle`; [`store`] remembers; [`artifacts`] keeps large bytes; [`deploy`] places system tasks; `broker`
//! carries the channels' sealed messages.

pub mod apiserver;
pub mod args;
pub mod artifacts;
pub mod broker;
mod cli_config;
mod config;
pub mod controller;
mod crypto;
pub mod db;
pub mod deploy;
mod failure;
mod listener;
pub mod notifier;
mod server;
mod signals;
pub mod store;
mod tls;

pub use apiserver::Rates;
pub use broker::BrokerChoice;
pub use cli_config::{CliConfig, CliConfigError, write_cli_config};
pub use config::ServerConfig;
pub use deploy::{DeployError, Deployer, ExitReporter, Launch, ProcessDeployer};
pub use server::{Server, StartError};
pub use signals::EndSignals;
pub use tls::{Tls, TlsError};
