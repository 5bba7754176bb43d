//! Runs system tasks in this process: fiab's deployer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flame_api::{AgentId, Trust};
use flame_control::{DeployError, Deployer, Launch};
use flame_sandbox::{Dataset, Sandbox};
use flamelet::{AgentConfig, InprocHub, Listen, Policy, TlsSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Time for an agent to end after it was told to.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Places a flamelet as a task of this process.
#[derive(Debug)]
pub struct InProcessDeployer {
    sandbox: Arc<Sandbox>,
    datasets: Vec<Arc<Dataset>>,
    /// Joins the agents that it places.
    hub: Arc<InprocHub>,
    running: Mutex<HashMap<AgentId, Placed>>,
}

#[derive(Debug)]
struct Placed {
    shutdown: CancellationToken,
    agent: JoinHandle<()>,
}

impl InProcessDeployer {
    /// A deployer that grants `datasets` to the tasks that it places.
    pub fn new(sandbox: Arc<Sandbox>, datasets: Vec<Arc<Dataset>>) -> Self {
        Self { sandbox, datasets, hub: Arc::default(), running: Mutex::default() }
    }

    /// The data that a task gets: its own, where the platform hands it some, and otherwise what the operator grants.
    async fn datasets(&self, own: Vec<(String, PathBuf)>) -> Result<Vec<Arc<Dataset>>, DeployError> {
        if own.is_empty() {
            return Ok(self.datasets.clone());
        }
        let load = move || {
            let mut sets = Vec::new();
            for (name, path) in &own {
                let loaded = Dataset::load(name, path).map_err(|error| error.to_string())?;
                sets.extend(loaded.into_iter().map(Arc::new));
            }
            Ok::<_, String>(sets)
        };
        let loaded = tokio::task::spawn_blocking(load).await.map_err(|error| DeployError::new(error.to_string()))?;
        loaded.map_err(DeployError::new)
    }

    fn take(&self, agent: &AgentId) -> Option<Placed> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(agent)
    }
}

#[async_trait]
impl Deployer for InProcessDeployer {
    fn name(&self) -> &'static str {
        "in-process"
    }

    fn is_in_process(&self) -> bool {
        true
    }

    async fn deploy(&self, launch: Launch) -> Result<(), DeployError> {
        // A repeated deployment replaces the earlier one.
        self.revoke(&launch.agent).await?;
        let config = AgentConfig {
            id: launch.agent.clone(),
            key: launch.key,
            apiserver: launch.apiserver,
            notifier: launch.notifier,
            trust: Trust::load(launch.ca.as_deref()).map_err(|error| DeployError::new(error.to_string()))?,
            datasets: self.datasets(launch.data).await?,
            policy: Policy::default(),
            audit: None,
            broker_tls: TlsSettings::default(),
            p2p_listen: Some(Listen {
                address: launch.p2p_listen.to_string(),
                advertise: launch.p2p_advertise.map(|host| format!("{host}:0")),
            }),
            inproc: Some(Arc::clone(&self.hub)),
        };
        let shutdown = CancellationToken::new();
        let agent = tokio::spawn({
            let (sandbox, shutdown, exited) = (Arc::clone(&self.sandbox), shutdown.clone(), launch.exited);
            async move {
                if let Err(error) = flamelet::run(config, sandbox, shutdown.clone()).await
                    && !shutdown.is_cancelled()
                {
                    exited.exited(error.to_string());
                }
            }
        });
        let placed = Placed { shutdown, agent };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(launch.agent, placed);
        Ok(())
    }

    async fn revoke(&self, agent: &AgentId) -> Result<(), DeployError> {
        if let Some(placed) = self.take(agent) {
            placed.shutdown.cancel();
            let mut agent = placed.agent;
            // It ends at its next await; a failure in it has been logged where it happened.
            if tokio::time::timeout(END_WITHIN, &mut agent).await.is_err() {
                agent.abort();
            }
        }
        Ok(())
    }

    async fn shutdown(&self) {
        let agents: Vec<_> = self.running.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for agent in agents {
            let _ = self.revoke(&agent).await;
        }
    }
}
