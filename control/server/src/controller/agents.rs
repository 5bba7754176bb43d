//! Agents: whose key is right, and what they say of their tasks.

use std::sync::Arc;

use flame_api::{AgentId, Code, Problem, TaskKind, Timestamp};

use super::Controller;
use super::lifecycle::{Heard, Said};
use crate::crypto::{self, Presented};
use crate::failure::internal;
use crate::store::records::{AgentRecord, KeyHash};

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
    async fn as_proof(
        &self,
        id: &AgentId,
        record: &AgentRecord,
        presented: Presented,
    ) -> Result<Presented, Problem> {
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
                let _lock = this.binding(&agent);
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
