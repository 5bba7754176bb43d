//! What a job asks for beyond its expansion, and whether this server can do it: a job is refused rather than run without.

use std::collections::{BTreeMap, BTreeSet};

use flame_api::{ComputeId, Dataset, Problem};
use flame_tag::{DEFAULT_COMPUTE, Expansion, JobSpec};

use super::datasets::task_data;
use super::{Controller, rules};
use crate::deploy::Deployer;

impl Controller {
    /// Everything that a job asks for and this server does not do. Blocks.
    pub(super) fn unserved(
        &self,
        spec: &JobSpec,
        expansion: &Expansion,
        datasets: &BTreeMap<String, Dataset>,
    ) -> Result<Vec<String>, Problem> {
        let mut found = unserved(spec, expansion, &*self.around.deployer);
        found.extend(datasets.values().filter_map(|dataset| task_data(dataset).err()));
        let computes: BTreeSet<&str> = expansion.tasks.iter().filter_map(|task| task.compute.as_deref()).collect();
        for compute in computes.into_iter().filter(|compute| *compute != DEFAULT_COMPUTE) {
            found.extend(self.not_placed(compute)?);
        }
        Ok(found)
    }

    /// Why nothing can be placed on a compute.
    fn not_placed(&self, compute: &str) -> Result<Option<String>, Problem> {
        let record = match compute.parse::<ComputeId>() {
            Ok(id) => self.compute_record(&id)?,
            Err(_) => None,
        };
        let here = self.around.deployer.name();
        Ok(match record {
            None => Some(format!("compute {compute} is not registered any more; register it, or delete its data sets")),
            Some(record) if record.compute.deployer != here => Some(format!(
                "compute {compute} is served by the deployer `{}`, and this server has `{here}`",
                record.compute.deployer
            )),
            Some(_) => None,
        })
    }
}

/// What a job file may say and nothing here does yet.
fn unserved(spec: &JobSpec, expansion: &Expansion, deployer: &dyn Deployer) -> Vec<String> {
    let mut found = Vec::new();
    if spec.base_model.as_ref().is_some_and(|model| !model.name.is_empty()) {
        found.push("baseModel: there is no model registry to take one from; leave its name empty".to_owned());
    }
    found.extend(spec.optimizer.as_ref().and_then(rules::refusal));
    let channels: BTreeSet<_> = expansion
        .tasks
        .iter()
        .flat_map(|task| &task.channels)
        .filter(|channel| channel.broker_host.is_some())
        .map(|channel| channel.name.as_str())
        .collect();
    found.extend(
        channels
            .into_iter()
            .map(|name| format!("channel {name}: messages go over the server's own broker; leave brokerHost out")),
    );
    found.extend(not_in_one_process(expansion, deployer));
    found
}

/// Why a channel within one process cannot be: whoever is on it has to be in that process, and that must be known.
fn not_in_one_process(expansion: &Expansion, deployer: &dyn Deployer) -> Vec<String> {
    let mut roles: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for task in &expansion.tasks {
        let outside = task.kind == flame_tag::TaskKind::User || !deployer.is_in_process();
        for channel in task.channels.iter().filter(|channel| outside && channel.backend == flame_tag::Backend::Inproc) {
            roles.entry(&channel.name).or_default().insert(&task.role);
        }
    }
    let why = |(channel, roles): (&str, BTreeSet<&str>)| {
        let roles: Vec<_> = roles.into_iter().collect();
        format!(
            "channel {channel}: the backend `inproc` joins tasks of one process, and those of {} run elsewhere (the \
             deployer is `{}`); use p2p or mqtt",
            roles.join(", "),
            deployer.name()
        )
    };
    roles.into_iter().map(why).collect()
}
