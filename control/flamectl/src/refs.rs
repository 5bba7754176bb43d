//! A job as a user names it: by its id, or by a beginning of it that is unique.

use std::str::FromStr;

use flame_api::{Client, JobId};

use crate::Failure;

/// Fewest digits of a prefix: fewer would be unique by accident, and another job the next day.
const MIN_PREFIX: usize = 4;

/// A whole job id or a prefix of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRef(String);

impl FromStr for JobRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.trim().to_ascii_lowercase();
        if (MIN_PREFIX..=24).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(id))
        } else {
            Err(format!("a job id has 24 hex digits, of which the first {MIN_PREFIX} or more may do"))
        }
    }
}

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
        let mut found = jobs.into_iter().map(|job| job.id).filter(|id| id.as_str().starts_with(&self.0));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(Failure::outcome(
                format!("no job has an id that begins with `{}`", self.0),
                "`flamectl get jobs` lists them",
            )),
            (Some(one), Some(other)) => Err(Failure::outcome(
                format!("several jobs have an id that begins with `{}`, {one} and {other} among them", self.0),
                "give more digits",
            )),
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
    }
}
