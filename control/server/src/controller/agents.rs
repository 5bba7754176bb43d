//! Agents: whose key is right, and what they say of their tasks.

use std::sync::Arc;

use flame_api::{AgentId, Code, Problem, Secret, TaskKind, Timestamp};

use super::Controller;
use super::lifecycle::{Heard, Said};
use crate::crypto;
use crate::failure::internal;
use crate::store::records::AgentRecord;

/// Longest key that is taken, in bytes.
const MAX_KEY: usize = 1024;
/// Longest reason that an agent can give, in characters.
const MAX_REASON: usize = 4096;

impl Controller {
    /// Whether the key is the agent's. The first key presented for a user task becomes it.
    pub(crate) async fn authenticate(self: &Arc<Self>, id: &AgentId, key: Secret) -> Result<AgentRecord, Problem> {
        if key.expose().is_empty() || key.expose().len() > MAX_KEY {
            let message = format!("an agent key has 1 to {MAX_KEY} bytes");
            return Err(Problem::new(Code::InvalidRequest, message).hint("set FLAME_AGENT_KEY to a key of your choice"));
        }
        let agent = id.clone();
        let record = self.run(move |this| this.agent(&agent)).await?;
        match (&record.key, record.kind) {
            (None, TaskKind::User) => self.bind(id, record, key).await,
            (None, TaskKind::System) => Err(wrong_key(id)),
            (Some(_), _) => self.verify(id, record, key).await,
        }
    }

    async fn bind(self: &Arc<Self>, id: &AgentId, record: AgentRecord, key: Secret) -> Result<AgentRecord, Problem> {
        let first = key.clone();
        let hash = self.hash(move || crypto::hash_chosen_key(&first)).await??;
        let (agent, job) = (id.clone(), record.job.clone());
        let bound = self
            .run(move |this| {
                // Under the job's lock: of two first keys, one is the first.
                let cell = this.cell(&job);
                let _lock = cell.lock();
                let mut record = this.agent(&agent)?;
                let first = record.key.is_none();
                if first {
                    record.key = Some(hash);
                    this.write_agent(&agent, &record)?;
                    tracing::info!(%agent, "an agent joined for the first time; its key is bound");
                }
                Ok((record, first))
            })
            .await?;
        match bound {
            (record, true) => Ok(record),
            (record, false) => self.verify(id, record, key).await,
        }
    }

    async fn verify(self: &Arc<Self>, id: &AgentId, record: AgentRecord, key: Secret) -> Result<AgentRecord, Problem> {
        let Some(hash) = record.key.clone() else { return Err(wrong_key(id)) };
        if self.hash(move || crypto::verify_key(&hash, &key)).await? { Ok(record) } else { Err(wrong_key(id)) }
    }

    /// Hashing takes long and much memory: a few at a time, off the executor.
    async fn hash<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _permit = self.hashing.acquire().await.map_err(|error| internal(&error))?;
        tokio::task::spawn_blocking(act).await.map_err(|error| internal(&error))
    }

    /// Takes an agent's word on its task.
    pub(crate) fn status(&self, agent: &AgentRecord, attempt: u32, said: Said) -> Result<Heard, Problem> {
        let said = match said {
            Said::Failed(reason) if reason.is_empty() => Said::Failed("its agent gave no reason".into()),
            Said::Failed(reason) => Said::Failed(reason.chars().take(MAX_REASON).collect()),
            other => other,
        };
        self.change(&agent.job, |course| course.status(agent.position, attempt, &said, Timestamp::now()))
    }
}

fn wrong_key(id: &AgentId) -> Problem {
    let message =
        format!("the key does not match the one that agent {id} was first joined with; use that key to rejoin");
    Problem::new(Code::Unauthenticated, message)
}
