//! Agents: whose key is right, and what they say of their tasks.

use std::sync::Arc;

use flame_api::{Agent, AgentId, Code, Page, Problem, Secret, TaskKind, Timestamp};

use super::lifecycle::{Heard, Said};
use super::{Controller, Paging};
use crate::crypto;
use crate::failure::{internal, store as store_failed};
use crate::store::records::AgentRecord;
use crate::store::{Tree, put_record};

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
            (None, TaskKind::User) => self.bind(id, key).await,
            (None, TaskKind::System) => Err(wrong_key(id)),
            (Some(_), _) => self.verify(id, record, key).await,
        }
    }

    async fn bind(self: &Arc<Self>, id: &AgentId, key: Secret) -> Result<AgentRecord, Problem> {
        let first = key.clone();
        let hash = self.hash(move || crypto::hash_chosen_key(&first)).await??;
        let agent = id.clone();
        let bound = self
            .run(move |this| {
                // Of two first keys, one is the first.
                let mut first = false;
                let record = this.update_agent(&agent, |record| {
                    first = record.key.is_none();
                    record.key.get_or_insert(hash);
                })?;
                if first {
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
    pub(super) async fn hash<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _permit = self.hashing.acquire().await.map_err(|error| internal(&error))?;
        tokio::task::spawn_blocking(act).await.map_err(|error| internal(&error))
    }

    /// Changes an agent's record under its job's lock. Blocks.
    pub(super) fn update_agent(
        &self,
        id: &AgentId,
        change: impl FnOnce(&mut AgentRecord),
    ) -> Result<AgentRecord, Problem> {
        let cell = self.cell(&self.agent(id)?.job)?;
        let _lock = cell.lock();
        let mut record = self.agent(id)?;
        change(&mut record);
        put_record(&*self.store, Tree::Agents, id.as_str(), &record).map_err(store_failed)?;
        Ok(record)
    }

    /// An agent has opened a session, and says what it is. Blocks.
    pub(crate) fn arrived(&self, id: &AgentId, version: String, hostname: String) -> Result<(), Problem> {
        let record = self.update_agent(id, |record| {
            record.last_seen = Some(Timestamp::now());
            (record.version, record.hostname) = (version, hostname);
        })?;
        self.change(&record.job, |course| course.back(record.position))?;
        // Watchers see who is there.
        self.cell(&record.job)?.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// An agent's session has ended, and no newer one has taken its place. Blocks.
    pub(crate) fn departed(&self, id: &AgentId) -> Result<(), Problem> {
        let now = Timestamp::now();
        let record = self.update_agent(id, |record| record.last_seen = Some(now))?;
        if self.sessions.is_connected(id) {
            return Ok(());
        }
        self.change(&record.job, |course| course.away(record.position, now))?;
        self.cell(&record.job)?.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// A page of the agents, by id. Blocks.
    pub(crate) fn agents(&self, paging: &Paging) -> Result<Page<Agent>, Problem> {
        self.keyed_page(Tree::Agents, "", paging, |key, record: AgentRecord| {
            Some(self.agent_view(key.parse().ok()?, record))
        })
    }

    /// One agent, as users see it. Blocks.
    pub(crate) fn agent_detail(&self, id: &AgentId) -> Result<Agent, Problem> {
        self.agent(id).map(|record| self.agent_view(id.clone(), record))
    }

    fn agent_view(&self, id: AgentId, record: AgentRecord) -> Agent {
        Agent {
            connected: self.sessions.is_connected(&id),
            id,
            job: record.job,
            kind: record.kind,
            bound: record.key.is_some(),
            last_seen: record.last_seen,
            version: record.version,
            hostname: record.hostname,
        }
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
