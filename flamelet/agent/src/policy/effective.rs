//! Where a policy meets a job's request.

use std::sync::Arc;
use std::time::Duration;

use flame_api::TaskGrant;
use flame_sandbox::{Dataset, Egress, Limits};

use super::{Policy, shown_bytes, shown_span};

/// What a task gets.
#[derive(Debug, Clone)]
pub(crate) struct Effective {
    pub(crate) limits: Limits,
    pub(crate) egress: Egress,
    pub(crate) datasets: Vec<Arc<Dataset>>,
}

impl Effective {
    /// As the audit log and `flamelet check` tell it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let Self { limits, egress, datasets } = self;
        let times = |times: &flame_sandbox::Times| {
            serde_json::json!({
                "call": times.call.as_secs_f64(), "round": times.round.as_secs_f64(), "task": times.task.as_secs_f64()
            })
        };
        let allowance = |allowance: &flame_sandbox::Allowance| {
            serde_json::json!({
                "weights": allowance.weights, "metrics": allowance.metrics, "body": allowance.body
            })
        };
        serde_json::json!({
            "limits": {
                "memory": limits.memory,
                "tableElements": limits.table_elements,
                "handles": limits.handles,
                "tensorBytes": limits.tensor_bytes,
                "callBytes": limits.call_bytes,
                "cpu": times(&limits.cpu),
                "wall": times(&limits.wall),
                "stopGrace": limits.stop_grace.as_secs_f64(),
                "logLines": limits.log_lines_per_second,
                "metrics": limits.metrics_per_second,
                "artifactBytes": limits.artifact_bytes,
                "checkpointBytes": limits.checkpoint_bytes,
                "queuedMessages": limits.queued_messages,
            },
            "egress": {
                "channels": egress.channels,
                "kinds": egress.kinds,
                "body": !egress.no_body,
                "logs": !egress.no_logs,
                "perRound": allowance(&egress.per_round),
                "perJob": allowance(&egress.per_job),
                "clip": egress.filters.clip,
                "noise": egress.filters.noise,
                "rounding": egress.filters.rounding.map(|rounding| format!("{rounding:?}").to_lowercase()),
                "minSamples": egress.filters.min_samples,
                "partialSums": egress.filters.partial_sums,
            },
            "data": datasets.iter().map(|set| serde_json::json!({"name": set.name(), "rows": set.rows()})).collect::<Vec<_>>(),
        })
    }
}

/// What a job asks for beyond the policy: every difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job asks for more than this participant's policy grants: {}", .0.join("; "))]
pub(crate) struct Unmet(pub(crate) Vec<String>);

/// The narrower of policy and request, or what the request lacks.
pub(crate) fn effective(policy: &Policy, data: &[Arc<Dataset>], grant: &TaskGrant) -> Result<Effective, Unmet> {
    let (mut limits, mut egress) = (policy.limits.clone(), policy.egress.clone());
    let mut unmet = Vec::new();
    let asked = &grant.resources;
    let mut within = |what: &str, asked: Option<u64>, granted: u64, shown: fn(u64) -> String| match asked {
        Some(asked) if asked > granted => {
            unmet.push(format!("{what}: it asks for {}, granted are {}", shown(asked), shown(granted)));
            granted
        }
        Some(asked) => asked,
        None => granted,
    };
    let seconds = |seconds: u64| shown_span(Duration::from_secs(seconds));
    limits.memory = within("limits.memory", asked.memory, limits.memory, shown_bytes);
    limits.tensor_bytes = within("limits.tensor-bytes", asked.tensor_bytes, limits.tensor_bytes, shown_bytes);
    limits.cpu.task = Duration::from_secs(within("limits.cpu.task", asked.cpu, limits.cpu.task.as_secs(), seconds));
    let wall = within("limits.wall.task", asked.wall_time, limits.wall.task.as_secs(), seconds);
    limits.wall.task = Duration::from_secs(wall);
    let weights = egress.per_round.weights;
    let granted = within("egress.per-round.weights", asked.egress, weights.unwrap_or(u64::MAX), shown_bytes);
    egress.per_round.weights = asked.egress.map(|_| granted).or(weights);

    if let Some(allowed) = &egress.channels {
        let refused = grant.channels.iter().filter(|channel| !allowed.contains(&channel.name));
        unmet.extend(refused.map(|channel| format!("egress.channels: it needs the channel `{}`", channel.name)));
    }
    let is_granted =
        |set: &&Arc<Dataset>| policy.data.as_ref().is_none_or(|names| names.iter().any(|n| n == set.name()));
    let datasets = data.iter().filter(is_granted).cloned().collect();
    if unmet.is_empty() { Ok(Effective { limits, egress, datasets }) } else { Err(Unmet(unmet)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn grant(resources: &serde_json::Value) -> TaskGrant {
        let channel = json!({
            "name": "param", "group": "default", "backend": "mqtt", "funcTags": [], "roster": [],
            "key": flame_api::SecretKey::new([0; 32]), "joinTimeout": 1, "minParticipants": null,
            "broker": {"url": "mqtt://h", "username": null, "password": null, "ca": null},
        });
        let grant = json!({
            "job": "1".repeat(24), "jobName": "", "task": "2".repeat(40), "role": "trainer", "index": 0, "kind": "user",
            "attempt": 1, "seed": 1, "hyperparameters": {}, "channels": [channel],
            "code": {"sha256": "", "size": 0}, "optimizer": null, "evaluationData": null, "resources": resources,
        });
        serde_json::from_value(grant).unwrap()
    }

    fn meet(policy: &str, resources: &serde_json::Value) -> Result<Effective, Unmet> {
        effective(&Policy::parse(policy).unwrap(), &[], &grant(resources))
    }

    #[test]
    fn a_job_gets_the_narrower_of_policy_and_request() {
        let policy = "limits.memory = \"64 MiB\"\negress.per-round.weights = \"10 MB\"\n";
        let terms = meet(policy, &json!({"memory": 1 << 20, "egress": 1000, "cpu": 60})).unwrap();
        assert_eq!((terms.limits.memory, terms.egress.per_round.weights), (1 << 20, Some(1000)));
        assert_eq!(terms.limits.cpu.task, Duration::from_mins(1));
        let terms = meet(policy, &json!({})).unwrap();
        assert_eq!((terms.limits.memory, terms.egress.per_round.weights), (64 << 20, Some(10_000_000)));
    }

    #[test]
    fn a_job_that_asks_for_more_hears_every_difference() {
        let policy = "limits.memory = \"64 MiB\"\n[egress]\nchannels = [\"other\"]\nper-round.weights = \"10 MB\"\n";
        let said =
            meet(policy, &json!({"memory": 1_u64 << 40, "egress": 20_000_000, "wallTime": 5})).unwrap_err().to_string();
        for part in [
            "limits.memory: it asks for 1024 GiB, granted are 64 MiB",
            "egress.per-round.weights",
            "the channel `param`",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("limits.wall.task"), "{said}");
    }
}
