//! Whose things are whose.

use flame_api::{AgentId, DesignId, JobId, Problem, UserName};

use super::{Controller, unknown_job};
use crate::failure::store as store_failed;
use crate::store::records::{DesignName, JobRecord};
use crate::store::{Tree, get_record};

impl Controller {
    /// Whose job it is. Blocks.
    pub(crate) fn job_owner(&self, job: &JobId) -> Result<UserName, Problem> {
        let record = get_record::<JobRecord>(&*self.store, Tree::Jobs, job.as_str()).map_err(store_failed)?;
        record.map(|record| record.job.owner).ok_or_else(|| unknown_job(job))
    }

    /// Whose job an agent serves. Blocks.
    pub(crate) fn agent_owner(&self, agent: &AgentId) -> Result<UserName, Problem> {
        self.job_owner(&self.agent(agent)?.job)
    }

    /// The owner of a design that an admin calls by its short name: the one in `name`, or, where they have none that is called so,
    /// the only one who has. Blocks.
    pub(crate) fn owner_or_only(&self, name: &DesignName) -> Result<UserName, Problem> {
        let own = name.owner().clone();
        if self.store.get(Tree::Designs, name.as_str().as_bytes()).map_err(store_failed)?.is_some() {
            return Ok(own);
        }
        let named = |id: &DesignId, key: &[u8]| {
            let (owner, of) = std::str::from_utf8(key).ok()?.split_once('/')?;
            (of == id.as_str()).then(|| owner.parse().ok())?
        };
        let all = self.store.scan(Tree::Designs, b"").map_err(store_failed)?;
        let mut owners = all.iter().filter_map(|(key, _)| named(name.id(), key));
        match (owners.next(), owners.next()) {
            (Some(only), None) => Ok(only),
            _ => Ok(own),
        }
    }
}
