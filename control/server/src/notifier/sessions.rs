//! Who is connected now. Nothing of it is durable: an agent comes back by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flame_api::{AgentId, Problem, Secret};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::crypto;
use crate::store::records::Letter;

/// The open sessions, one per agent, and the tokens that they gave out.
#[derive(Default)]
pub struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_agent: HashMap<AgentId, Entry>,
    by_token: HashMap<[u8; 32], AgentId>,
    next: u64,
}

struct Entry {
    number: u64,
    /// What it is to be told and was not yet.
    letters: Arc<Mutex<Vec<Letter>>>,
    /// SHA-256 of the token; the token itself is with the agent only.
    token: [u8; 32],
    wake: Arc<Notify>,
    superseded: CancellationToken,
    dismissed: CancellationToken,
    peers_moved: Arc<Notify>,
    /// Where its peers reach it, and who they are, once it has said so.
    announced: Option<Announced>,
}

struct Announced {
    reach: Reach,
    peers: Arc<[AgentId]>,
}

/// Where an agent's peers reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It does not listen.
    Hidden,
    /// `host:port`.
    At(String),
}

/// A session that was just opened. It closes when dropped.
pub(crate) struct OpenSession {
    sessions: Arc<Sessions>,
    agent: AgentId,
    number: u64,
    /// For the agent's REST calls.
    pub(crate) token: Secret,
    /// What the agent is to be told, since the session is open.
    letters: Arc<Mutex<Vec<Letter>>>,
    /// Notified whenever there are letters.
    pub(crate) wake: Arc<Notify>,
    /// Cancelled by a newer session of the same agent.
    pub(crate) superseded: CancellationToken,
    /// Cancelled when the agent's task is another one now, or gone.
    pub(crate) dismissed: CancellationToken,
    /// Notified whenever one of its peers has come, gone or moved.
    pub(crate) peers_moved: Arc<Notify>,
}

impl Sessions {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session; an older one of the same agent loses its token at once and is told to end.
    pub(crate) fn open(self: &Arc<Self>, agent: &AgentId) -> Result<OpenSession, Problem> {
        let token = crypto::random_secret()?;
        let hash = crypto::sha256(token.expose().as_bytes());
        let (wake, superseded) = (Arc::new(Notify::new()), CancellationToken::new());
        let peers_moved = Arc::new(Notify::new());
        let (letters, dismissed) = (Arc::default(), CancellationToken::new());
        let mut inner = self.inner();
        inner.next += 1;
        let number = inner.next;
        let entry = Entry {
            number,
            letters: Arc::clone(&letters),
            token: hash,
            wake: Arc::clone(&wake),
            superseded: superseded.clone(),
            dismissed: dismissed.clone(),
            peers_moved: Arc::clone(&peers_moved),
            announced: None,
        };
        inner.by_token.insert(hash, agent.clone());
        if let Some(old) = inner.by_agent.insert(agent.clone(), entry) {
            inner.by_token.remove(&old.token);
            old.superseded.cancel();
            inner.tell_peers(old.announced.as_ref());
        }
        drop(inner);
        let sessions = Arc::clone(self);
        Ok(OpenSession {
            sessions,
            agent: agent.clone(),
            number,
            token,
            letters,
            wake,
            superseded,
            dismissed,
            peers_moved,
        })
    }

    /// An agent says where its peers reach it.
    pub(crate) fn announce(&self, session: &OpenSession, reach: Reach, peers: &Arc<[AgentId]>) {
        let mut inner = self.inner();
        let entry = inner.by_agent.get_mut(&session.agent).filter(|entry| entry.number == session.number);
        if let Some(entry) = entry {
            let announced = entry.announced.insert(Announced { reach, peers: Arc::clone(peers) });
            let peers = Arc::clone(&announced.peers);
            inner.wake_peers(&peers);
        }
    }

    /// Where those of `agents` are reached who have said so.
    pub(crate) fn reaches(&self, agents: &[AgentId]) -> BTreeMap<AgentId, Reach> {
        let inner = self.inner();
        let reach = |agent: &AgentId| {
            let announced = inner.by_agent.get(agent)?.announced.as_ref()?;
            Some((agent.clone(), announced.reach.clone()))
        };
        agents.iter().filter_map(reach).collect()
    }

    /// Hands letters to those agents who are connected. The others find them in their mailboxes.
    pub(crate) fn post(&self, letters: Vec<(AgentId, Letter)>) {
        let inner = self.inner();
        for (agent, letter) in letters {
            if let Some(entry) = inner.by_agent.get(&agent) {
                entry.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
                entry.wake.notify_one();
            }
        }
    }

    /// Ends the sessions of agents whose tasks are others now, or gone.
    pub(crate) fn dismiss(&self, agents: &[AgentId]) {
        let inner = self.inner();
        agents.iter().filter_map(|agent| inner.by_agent.get(agent)).for_each(|entry| entry.dismissed.cancel());
    }

    /// Whose token this is. Found by its hash, so that a comparison's time tells nothing of the token.
    pub(crate) fn agent_of(&self, token: &str) -> Option<AgentId> {
        self.inner().by_token.get(&crypto::sha256(token.as_bytes())).cloned()
    }

    /// How many agents have a session now.
    pub(crate) fn count(&self) -> usize {
        self.inner().by_agent.len()
    }

    /// Whether the agent has a session now.
    pub(crate) fn is_connected(&self, agent: &AgentId) -> bool {
        self.inner().by_agent.contains_key(agent)
    }
}

impl Inner {
    /// An agent that had announced itself is gone, or has to do it again.
    fn tell_peers(&self, announced: Option<&Announced>) {
        if let Some(announced) = announced {
            self.wake_peers(&announced.peers);
        }
    }

    fn wake_peers(&self, peers: &[AgentId]) {
        for entry in peers.iter().filter_map(|peer| self.by_agent.get(peer)) {
            entry.peers_moved.notify_one();
        }
    }
}

impl OpenSession {
    /// What came since the last time.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let mut inner = self.sessions.inner();
        if inner.by_agent.get(&self.agent).is_some_and(|entry| entry.number == self.number)
            && let Some(entry) = inner.by_agent.remove(&self.agent)
        {
            inner.by_token.remove(&entry.token);
            inner.tell_peers(entry.announced.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_session_supersedes_and_an_older_ones_end_does_not_close_it() {
        let sessions = Arc::new(Sessions::default());
        let agent: AgentId = "1".repeat(40).parse().unwrap();
        let first = sessions.open(&agent).unwrap();
        assert_eq!(sessions.agent_of(first.token.expose()), Some(agent.clone()));
        let second = sessions.open(&agent).unwrap();
        assert!(first.superseded.is_cancelled() && !second.superseded.is_cancelled());
        assert_eq!(sessions.agent_of(first.token.expose()), None);
        drop(first);
        assert!(sessions.is_connected(&agent));
        drop(second);
        assert!(!sessions.is_connected(&agent));
    }
}
