//! Placing system tasks: one trait, whatever places them.
//!
//! A deployer starts something that behaves as a flamelet, and says when it ended by itself. It knows nothing of jobs,
//! and decides nothing about them.

mod process;

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use flame_api::{AgentId, ComputeId, Secret};
use tokio::sync::oneshot;

pub use process::ProcessDeployer;

/// Places flamelets for system tasks.
#[async_trait]
pub trait Deployer: Send + Sync {
    /// For messages: `process`, `in-process`, `kubernetes`.
    fn name(&self) -> &'static str;

    /// Whether all that it starts is in one process, so that channels within a process are possible.
    fn is_in_process(&self) -> bool {
        false
    }

    /// Whether it could place a flamelet now, as far as it can tell without placing one.
    async fn check(&self) -> Result<(), DeployError> {
        Ok(())
    }

    /// Starts a flamelet. A former one of the same agent is revoked first.
    async fn deploy(&self, launch: Launch) -> Result<(), DeployError>;

    /// Ends what was started for the agent, if anything; its end is then not reported.
    async fn revoke(&self, agent: &AgentId) -> Result<(), DeployError>;

    /// Ends everything that was started, because the server stops. Jobs go on when it starts again.
    async fn shutdown(&self);
}

/// What a flamelet needs to serve a system task.
#[derive(Debug)]
pub struct Launch {
    /// The agent that it is.
    pub agent: AgentId,
    /// Its key; random.
    pub key: Secret,
    /// `http://host:port`.
    pub apiserver: String,
    /// `host:port`.
    pub notifier: String,
    /// Certificates (PEM) of who vouches for both over TLS, where the machine does not know them.
    pub ca: Option<PathBuf>,
    /// Where it may run: `default`, or a compute that was registered for this deployer.
    pub compute: ComputeId,
    /// Data that it is to grant to its task, by name. The paths are of the machines of its compute.
    pub data: Vec<(String, PathBuf)>,
    /// Where it listens for its peers; port 0 takes a free one.
    pub p2p_listen: SocketAddr,
    /// Host under which its peers reach it, where that is not the one that its session comes from.
    pub p2p_advertise: Option<String>,
    /// To be called when it ended by itself.
    pub exited: ExitReporter,
}

/// Tells the controller that what was deployed has ended by itself. Dropping it says that nobody knows any more.
#[derive(Debug)]
pub struct ExitReporter(oneshot::Sender<String>);

impl ExitReporter {
    pub(crate) fn new() -> (Self, oneshot::Receiver<String>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// `reason` says how, for people: `the flamelet of this task exited with signal 9`.
    pub fn exited(self, reason: String) {
        // The controller has let go of tasks that ended.
        let _ = self.0.send(reason);
    }
}

/// Why a flamelet could not be placed or revoked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeployError(String);

impl DeployError {
    /// The message says what to do about it.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
