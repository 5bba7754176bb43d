//! The participant's word on what a stranger's code may do here: read from a file, and met with what a job asks for.
//!
//! The effective grant is the policy and the job's request together, the narrower of both everywhere. A request that the policy
//! does not meet refuses the task, with the difference.

mod effective;
mod file;
mod units;

use std::path::{Path, PathBuf};

use flame_bundle::PublicKey;
use flame_sandbox::{Allowance, Egress, Filters, Limits, Rounding, Times};

pub(crate) use effective::{Effective, effective};
use file::{AllowanceFile, EgressFile, LimitsFile, PolicyFile, RoundingFile, TimesFile};
pub(crate) use units::{shown_bytes, shown_span};

/// Largest policy file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What a participant grants. The default grants what no honest trainer notices, and lets everything leave.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Of whom one must have signed the code; empty: nobody has to.
    pub signers: Vec<PublicKey>,
    /// Data sets that may be opened, of those that are there; none: all.
    pub data: Option<Vec<String>>,
    /// What a task may use.
    pub limits: Limits,
    /// What may leave.
    pub egress: Egress,
}

/// Why a policy is not taken. No task runs under a policy that is half understood.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("policy {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is no policy; with line and column where the file has them.
    #[error("policy {path}:\n{reason}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
}

impl Policy {
    /// Reads a policy file in TOML.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |reason: String| PolicyError::Unreadable { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > MAX_BYTES {
            return Err(unreadable(format!("it has {size} bytes; a policy has at most {MAX_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text).map_err(|reason| PolicyError::Wrong { path: path.to_owned(), reason })
    }

    /// Reads a policy's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: PolicyFile = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let signers =
            file.signers.iter().map(|key| key.parse::<PublicKey>().map_err(|error| format!("signers: {error}")));
        let policy = Self {
            signers: signers.collect::<Result<_, String>>()?,
            data: file.data,
            limits: limits(&file.limits),
            egress: egress(file.egress),
        };
        policy.check()?;
        Ok(policy)
    }

    /// The JSON schema of policy files.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(PolicyFile).to_value()
    }

    fn check(&self) -> Result<(), String> {
        self.egress.filters.check()?;
        if self.limits.memory == 0 || self.limits.tensor_bytes == 0 {
            return Err("limits.memory and limits.tensor-bytes must be above 0".into());
        }
        Ok(())
    }
}

fn limits(file: &LimitsFile) -> Limits {
    let own = Limits::default();
    let bytes = |asked: Option<units::Bytes>, own: u64| asked.map_or(own, |bytes| bytes.0);
    Limits {
        memory: bytes(file.memory, own.memory),
        table_elements: file.table_elements.unwrap_or(own.table_elements),
        handles: file.handles.unwrap_or(own.handles),
        tensor_bytes: bytes(file.tensor_bytes, own.tensor_bytes),
        call_bytes: file.call_bytes.map_or(own.call_bytes, |asked| usize::try_from(asked.0).unwrap_or(usize::MAX)),
        cpu: times(&file.cpu, own.cpu),
        wall: times(&file.wall, own.wall),
        stop_grace: file.stop_grace.map_or(own.stop_grace, |span| span.0),
        log_lines_per_second: file.log_lines.unwrap_or(own.log_lines_per_second),
        metrics_per_second: file.metrics.unwrap_or(own.metrics_per_second),
        artifact_bytes: bytes(file.artifact_bytes, own.artifact_bytes),
        checkpoint_bytes: bytes(file.checkpoint_bytes, own.checkpoint_bytes),
        queued_messages: file.queued_messages.unwrap_or(own.queued_messages),
    }
}

fn times(file: &TimesFile, own: Times) -> Times {
    Times {
        call: file.call.map_or(own.call, |span| span.0),
        round: file.round.map_or(own.round, |span| span.0),
        task: file.task.map_or(own.task, |span| span.0),
    }
}

fn egress(file: EgressFile) -> Egress {
    Egress {
        channels: file.channels,
        kinds: file.kinds,
        no_body: file.body == Some(false),
        no_logs: file.logs == Some(false),
        per_round: allowance(&file.per_round),
        per_job: allowance(&file.per_job),
        filters: Filters {
            clip: file.clip,
            noise: file.noise,
            rounding: file.rounding.map(|rounding| match rounding {
                RoundingFile::F16 => Rounding::F16,
                RoundingFile::Int8 => Rounding::Int8,
            }),
            min_samples: file.min_samples,
            partial_sums: file.partial_sums,
        },
    }
}

fn allowance(file: &AllowanceFile) -> Allowance {
    Allowance {
        weights: file.weights.map(|bytes| bytes.0),
        metrics: file.metrics.map(|bytes| bytes.0),
        body: file.body.map(|bytes| bytes.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_policy_says_what_it_says_and_leaves_the_rest_alone() {
        let policy = Policy::parse(
            "data = [\"mnist\"]\n[limits]\nmemory = \"64 MiB\"\ncpu.round = \"5m\"\n[egress]\nclip = 1.0\nlogs = false\n\
             rounding = \"int8\"\nper-round = { weights = \"10 MB\" }\n",
        )
        .unwrap();
        assert_eq!(policy.limits.memory, 64 << 20);
        assert_eq!(policy.limits.cpu, Times { round: Duration::from_mins(5), ..Limits::default().cpu });
        assert_eq!(policy.egress.filters.clip, Some(1.0));
        assert_eq!(policy.egress.filters.rounding, Some(Rounding::Int8));
        assert_eq!(policy.egress.per_round.weights, Some(10_000_000));
        assert!(policy.egress.no_logs && !policy.egress.no_body);
        assert_eq!(policy.data.as_deref(), Some(&["mnist".to_owned()][..]));
        let empty = Policy::parse("").unwrap();
        assert_eq!((empty.limits, empty.egress), (Limits::default(), Egress::default()));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        for (text, said) in [
            ("[limits]\nmemroy = 5", "memroy"),
            ("[egress]\nclip = -1.0", "egress.clip"),
            ("[egress]\nclip = nan", "egress.clip"),
            ("[limits]\nmemory = \"64 XB\"", "64 XB"),
            ("[limits]\nwall.task = \"soon\"", "soon"),
            ("signers = [\"me\"]", "signers"),
            ("[limits]\nmemory = 0", "limits.memory"),
            ("[egress]\nrounding = \"f8\"", "f8"),
            ("[limits", "line 1"),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn the_published_schema_is_the_one_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.schema.json");
        let now = format!("{}\n", serde_json::to_string_pretty(&Policy::json_schema()).unwrap());
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(published, now, "write it anew: flamelet policy schema > docs/policy.schema.json");
    }
}
