//! Both files at once, without a server: what `flamectl create job --dry-run` shows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::expand::{DatasetInfo, Expansion, TaskKind, expand};
use crate::job::JobSpec;
use crate::job_file::Loader;
use crate::problem::Problems;
use crate::schema::{Backend, Schema};

/// What a dry run prints as JSON: the tasks of an expansion, in its order, without what only a server needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline<'e> {
    /// The tasks.
    pub tasks: Vec<TaskOutline<'e>>,
}

/// One task of an [`Outline`]. Every key is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskOutline<'e> {
    /// Role in the schema.
    pub role: &'e str,
    /// Who brings the compute.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Position within the role, from 0.
    pub index: u32,
    /// Channel to group, for every channel of the role.
    pub group_association: &'e BTreeMap<String, String>,
    /// Id of the data set that the platform works on; null where there is none.
    pub dataset: Option<&'e str>,
    /// The role's channels, in the schema's order.
    pub channels: Vec<ChannelOutline<'e>>,
}

/// One channel of a [`TaskOutline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelOutline<'e> {
    /// Name in the schema.
    pub name: &'e str,
    /// The transport.
    pub backend: Backend,
}

impl Expansion {
    /// The tasks as a dry run prints them.
    pub fn outline(&self) -> Outline<'_> {
        let tasks = self.tasks.iter().map(|task| TaskOutline {
            role: &task.role,
            kind: task.kind,
            index: task.index,
            group_association: &task.group_association,
            dataset: task.dataset.as_deref(),
            channels: task
                .channels
                .iter()
                .map(|channel| ChannelOutline { name: &channel.name, backend: channel.backend })
                .collect(),
        });
        Outline { tasks: tasks.collect() }
    }
}

/// Reads a schema and a job and expands them; the mistakes of both come together. Each text comes with the name of its file.
///
/// `datasets: None` takes the data sets that the job names for granted, `code_roles: None` the code of every role.
pub fn dry_run(
    (schema_text, schema_file): (&str, &str),
    (job_text, job_file): (&str, &str),
    loader: &Loader<'_>,
    datasets: Option<&BTreeMap<String, DatasetInfo>>,
    code_roles: Option<&[String]>,
) -> Result<Expansion, Problems> {
    let (schema, mut problems) = Schema::read(schema_text, schema_file);
    let (job, of_job) = JobSpec::read(job_text, job_file, loader);
    problems.extend(of_job);
    match (schema, job) {
        (Some(schema), Some(job)) => {
            let assumed;
            let datasets = if let Some(datasets) = datasets {
                datasets
            } else {
                let ids = job.dataset_ids().into_iter();
                assumed = ids.map(|id| (id.to_owned(), DatasetInfo::default())).collect();
                &assumed
            };
            let every_role: Vec<String>;
            let code_roles = if let Some(roles) = code_roles {
                roles
            } else {
                every_role = schema.roles.iter().map(|role| role.name.clone()).collect();
                &every_role
            };
            match expand(&schema, &job, datasets, code_roles) {
                Ok(expansion) => Problems::check(problems, expansion),
                Err(more) => {
                    problems.extend(more);
                    Problems::check(problems, Expansion { tasks: Vec::new() })
                }
            }
        }
        (Some(schema), None) => {
            problems.extend(schema.check());
            Err(Problems::sorted(problems))
        }
        (None, _) => Err(Problems::sorted(problems)),
    }
}
