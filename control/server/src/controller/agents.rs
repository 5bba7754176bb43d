//! Agents: whose key is right, and what they say of their tasks.

use std::sync::Arc;

use flame_api::{Agent, AgentId, Code, Page, Problem, TaskKind, Timestamp, UserName};

use super::lifecycle::{Heard, Said};
use super::{Controller, Paging};
use crate::crypto::{self, Presented};
use crate::failure::{internal, store as store_failed};
use crate::store::records::{AgentRecord, KeyHash};
use crate::store::{Batch, Tree};

/// Longest key that is taken, in bytes.
const MAX_KEY: usize = 1024;
/// Length of a proof.
const PROOF: usize = 64;
/// Longest reason that an agent can give, in characters.
const MAX_REASON: usize = 4096;

impl Controller {
    /// Whether what was presented is the agent's key. The first one presented for a user task becomes it; whether it did.
    pub(crate) async fn authenticate(
        self: &Arc<Self>,
        id: &AgentId,
        presented: Presented,
    ) -> Result<(AgentRecord, bool), Problem> {
        check_form(&presented)?;
        let agent = id.clone();
        let record = self.run(move |this| this.agent(&agent)).await?;
        let presented = self.as_proof(id, &record, presented).await?;
        match (&record.key, record.kind) {
            (None, TaskKind::User) => self.bind(id, presented).await,
            (None, TaskKind::System) => Err(wrong_key(id)),
            (Some(_), _) => self.verify(id, record, presented).await,
        }
    }

    /// Stretches the key of a participant whose flamelet has not done it.
    async fn as_proof(&self, id: &AgentId, record: &AgentRecord, presented: Presented) -> Result<Presented, Problem> {
        let by_proof = matches!(record.key, None | Some(KeyHash::Stretched(_))) && record.kind == TaskKind::User;
        let key = match presented {
            Presented::Key(key) if by_proof => key,
            other => return Ok(other),
        };
        let agent = id.clone();
        let proof = self.hash(move || flame_api::stretch(&agent, &key)).await?;
        proof.map(Presented::Proof).map_err(|error| internal(&error))
    }

    async fn bind(self: &Arc<Self>, id: &AgentId, presented: Presented) -> Result<(AgentRecord, bool), Problem> {
        let Presented::Proof(proof) = &presented else { return Err(wrong_key(id)) };
        let (agent, hash) = (id.clone(), crypto::hash_proof(proof));
        let (record, first) = self
            .run(move |this| {
                // Of two first keys, one is the first.
                let mut first = false;
                let record = this.update_agent(&agent, |record| {
                    first = record.key.is_none();
                    record.key.get_or_insert(hash);
                })?;
                // What decides who may come in is on disk before anybody is let in by it.
                this.store.settle().map_err(store_failed)?;
                if first {
                    tracing::info!(%agent, "an agent joined for the first time; its key is bound");
                }
                Ok((record, first))
            })
            .await?;
        if first { Ok((record, true)) } else { self.verify(id, record, presented).await }
    }

    async fn verify(
        self: &Arc<Self>,
        id: &AgentId,
        record: AgentRecord,
        presented: Presented,
    ) -> Result<(AgentRecord, bool), Problem> {
        let Some(hash) = record.key.clone() else { return Err(wrong_key(id)) };
        let right = match hash {
            KeyHash::Argon2(_) => self.hash(move || crypto::verify_key(&hash, &presented)).await?,
            KeyHash::Stretched(_) | KeyHash::Sha256(_) => crypto::verify_key(&hash, &presented),
        };
        if right { Ok((record, false)) } else { Err(wrong_key(id)) }
    }

    /// Hashing takes long and much memory: a few at a time, off the executor.
    pub(super) async fn hash<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _permit = self.hashing.acquire().await.map_err(|error| internal(&error))?;
        tokio::task::spawn_blocking(act).await.map_err(|error| internal(&error))
    }

    /// Changes an agent's record under its job's lock. It is durable once the store is settled. Blocks.
    pub(super) fn update_agent(
        &self,
        id: &AgentId,
        change: impl FnOnce(&mut AgentRecord),
    ) -> Result<AgentRecord, Problem> {
        let cell = self.cell(&self.agent(id)?.job)?;
        let _lock = cell.lock();
        let mut record = self.agent(id)?;
        change(&mut record);
        let mut batch = Batch::new();
        batch.put_record(Tree::Agents, id.as_str(), &record).map_err(store_failed)?;
        self.store.commit_soon(batch).map_err(store_failed)?;
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

    /// A page of the agents of an owner's jobs, or of all, by id. Blocks.
    pub(crate) fn agents(&self, owner: Option<&UserName>, paging: &Paging) -> Result<Page<Agent>, Problem> {
        self.keyed_page(Tree::Agents, "", paging, |key, record: AgentRecord| {
            if owner.is_some_and(|owner| !self.job_owner(&record.job).is_ok_and(|of| of == *owner)) {
                return None;
            }
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

fn check_form(presented: &Presented) -> Result<(), Problem> {
    let wrong = match presented {
        Presented::Key(key) if !(1..=MAX_KEY).contains(&key.expose().len()) => {
            format!("an agent key has 1 to {MAX_KEY} bytes")
        }
        Presented::Proof(proof) if proof.expose().len() != PROOF || hex::decode(proof.expose()).is_err() => {
            format!("the proof of an agent key has {PROOF} hex digits")
        }
        _ => return Ok(()),
    };
    Err(Problem::new(Code::InvalidRequest, wrong).hint("set FLAME_AGENT_KEY to a key of your choice"))
}

fn wrong_key(id: &AgentId) -> Problem {
    let message =
        format!("the key does not match the one that agent {id} was first joined with; use that key to rejoin");
    Problem::new(Code::Unauthenticated, message)
}
