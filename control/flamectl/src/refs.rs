//! Things as a user names them: by their id, or by a beginning of it that is unique.

use std::str::FromStr;

use flame_api::{AgentId, Client, DatasetId, JobId, Task};

use crate::{Failure, text};

/// Fewest digits of a prefix: fewer would be unique by accident, and another thing's the next day.
const MIN_PREFIX: usize = 4;
/// Most candidates that are listed where a prefix has several.
const CANDIDATES: usize = 10;

macro_rules! reference {
    ($(#[$doc:meta])* $name:ident, $what:literal, $digits:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let id = text.trim().to_ascii_lowercase();
                if (MIN_PREFIX..=$digits).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit()) {
                    Ok(Self(id))
                } else {
                    Err(format!(
                        concat!("a ", $what, " id has ", $digits, " hex digits, of which the first {} or more may do"),
                        MIN_PREFIX
                    ))
                }
            }
        }
    };
}

reference!(
    /// A job's id or a beginning of it.
    JobRef,
    "job",
    24
);
reference!(
    /// A data set's id or a beginning of it.
    DatasetRef,
    "dataset",
    24
);
reference!(
    /// The agent id of a task or a beginning of it.
    TaskRef,
    "task",
    40
);

impl From<JobId> for JobRef {
    fn from(id: JobId) -> Self {
        Self(id.into())
    }
}

impl JobRef {
    /// The job meant. A prefix costs one more request.
    pub(crate) async fn resolve(&self, client: &Client) -> Result<JobId, Failure> {
        if let Ok(id) = self.0.parse() {
            return Ok(id);
        }
        let jobs = client.jobs().await?;
        let said = jobs.into_iter().map(|job| {
            let about = format!("{}, {}, created {}", job.state, job.design, text::time(job.created_at));
            (job.id, about)
        });
        only("job", "`flamectl get jobs` lists them", &self.0, said)
    }
}

impl DatasetRef {
    /// The data set meant. A prefix costs one more request.
    pub(crate) async fn resolve(&self, client: &Client) -> Result<DatasetId, Failure> {
        if let Ok(id) = self.0.parse() {
            return Ok(id);
        }
        let datasets = client.datasets().await?;
        let said = datasets.into_iter().map(|dataset| (dataset.id, format!("{}, {}", dataset.name, dataset.url)));
        only("dataset", "`flamectl get datasets` lists them", &self.0, said)
    }
}

impl TaskRef {
    /// The task of a job that is meant.
    pub(crate) async fn resolve(&self, job: &JobId, client: &Client) -> Result<Task, Failure> {
        let tasks = client.tasks(job).await?;
        let id = self.pick(job, &tasks)?;
        let list = format!("`flamectl get tasks {job}` lists them");
        let found = tasks.into_iter().find(|task| task.agent == id);
        found.ok_or_else(|| Failure::outcome(format!("job {job} has no task {id}"), list))
    }

    fn pick(&self, job: &JobId, tasks: &[Task]) -> Result<AgentId, Failure> {
        let said =
            tasks.iter().map(|task| (task.agent.clone(), format!("{} {}, {}", task.role, task.index, task.state)));
        only("task", &format!("`flamectl get tasks {job}` lists them"), &self.0, said)
    }

    /// Whether an agent may be the one that is meant.
    pub(crate) fn may_be(&self, agent: &AgentId) -> bool {
        agent.as_str().starts_with(&self.0)
    }
}

/// The one thing whose id begins with `prefix`. Each comes with what tells it from others.
fn only<I: ToString + Clone>(
    what: &str,
    list: &str,
    prefix: &str,
    all: impl Iterator<Item = (I, String)>,
) -> Result<I, Failure> {
    let found: Vec<(I, String)> = all.filter(|(id, _)| id.to_string().starts_with(prefix)).collect();
    match found.as_slice() {
        [] => Err(Failure::outcome(format!("no {what} has an id that begins with `{prefix}`"), list)),
        [(id, _)] => Ok(id.clone()),
        several => {
            let mut lines: Vec<String> = several
                .iter()
                .take(CANDIDATES)
                .map(|(id, about)| format!("\n  - {} ({})", id.to_string(), text::safe(about)))
                .collect();
            if several.len() > CANDIDATES {
                lines.push(format!("\n  - and {} more", several.len() - CANDIDATES));
            }
            Err(Failure::outcome(
                format!("several {what}s have an id that begins with `{prefix}`:{}", lines.concat()),
                "give more digits",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_four_hex_digits_or_more() {
        for good in ["6248", "624888fda8001d773e34de43", "ABCD"] {
            assert!(good.parse::<JobRef>().is_ok(), "{good}");
        }
        for bad in ["", "624", "xyzw", "624888fda8001d773e34de430"] {
            assert!(bad.parse::<JobRef>().is_err(), "{bad}");
        }
        assert!("624888fda8001d773e34de430".parse::<TaskRef>().is_ok());
    }

    #[test]
    fn many_candidates_are_cut() {
        let all = (0..30).map(|i| (format!("abcd{i:020}"), "ready".to_owned()));
        let said = only("job", "", "abcd", all).unwrap_err().to_string();
        assert_eq!(said.lines().count(), CANDIDATES + 2);
        assert!(said.ends_with("- and 20 more"), "{said}");
    }
}
