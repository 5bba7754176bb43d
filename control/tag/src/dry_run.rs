//! Both files at once, without a server: what `flamectl create job --dry-run` shows.

use std::collections::BTreeMap;

use crate::expand::{DatasetInfo, Expansion, expand};
use crate::job::JobSpec;
use crate::job_file::Loader;
use crate::problem::Problems;
use crate::schema::Schema;

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
            Err(Problems(problems))
        }
        (None, _) => Err(Problems(problems)),
    }
}
