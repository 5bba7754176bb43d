//! `flamelet check`: what a task would get here, and whether it would run, without running it.

use std::io::Write;
use std::sync::Arc;

use flame_api::{Client, Secret, TaskGrant};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::peers::Peers;
use crate::policy::{effective, shown_bytes};
use crate::report::AgentClient;
use crate::session::{Identity, Session};
use crate::{AgentConfig, AgentError, code};

/// What was found.
#[derive(Debug)]
struct Found {
    offer: TaskGrant,
    /// The effective grant, where policy and request meet.
    terms: Option<Value>,
    inspection: Option<flame_bundle::Inspection>,
    /// Every reason for which the task would be refused.
    refusals: Vec<String>,
}

/// Asks the control plane what the task is, meets it with the policy, and checks its code as far as that goes without
/// compiling it. Prints the answer; whether the task would run.
pub async fn check(config: &AgentConfig, as_json: bool, out: &mut impl Write) -> Result<bool, AgentError> {
    let found = find(config).await?;
    let text = if as_json { format!("{:#}\n", to_json(&found)) } else { to_text(&found) };
    // Nobody reads any more where this fails.
    let _ = out.write_all(text.as_bytes());
    Ok(found.refusals.is_empty())
}

async fn find(config: &AgentConfig) -> Result<Found, AgentError> {
    let (token_in, mut token) = watch::channel::<Option<Secret>>(None);
    let (notices_in, mut notices) = mpsc::channel(8);
    let (_reports, reports_out) = mpsc::channel(1);
    let identity = Identity::of(config).await?;
    let peers = Arc::new(Peers::new(&config.notifier));
    let session = Session::new(identity, notices_in, reports_out, token_in, peers);
    let mut session = AbortOnDropHandle::new(tokio::spawn(session.run()));
    let client = AgentClient::new(Client::trusting(&config.apiserver, None, &config.trust)?, token.clone());
    let asked = async {
        // Without a sender the session has ended, and says why.
        let _ = token.wait_for(Option::is_some).await;
        let offer = client.retry(|client| async move { client.offer().await }).await?;
        let component = client.retry(|client| async move { client.task_code().await }).await?;
        Ok::<_, AgentError>((offer, component))
    };
    tokio::pin!(asked);
    let (offer, component) = loop {
        tokio::select! {
            answer = &mut asked => break answer?,
            ended = &mut session => return Err(match ended {
                Ok(Err(error)) => error.into(),
                _ => AgentError::Refused("the session ended".into()),
            }),
            // An event is for the flamelet that will serve the task; it is not acknowledged here.
            _ = notices.recv() => {}
        }
    };
    let mut refusals = Vec::new();
    let terms = effective(&config.policy, &config.datasets, &offer);
    let terms = terms.map(|terms| terms.to_json()).map_err(|unmet| refusals.extend(unmet.0)).ok();
    if let Err(error) = code::check(&component, &offer.code, &config.policy.signers) {
        refusals.push(error.to_string());
    }
    let inspection = flame_bundle::inspect(&component).map_err(|error| refusals.push(error.to_string())).ok();
    if let Some(inspection) = &inspection {
        refusals.extend(inspection.refusals.iter().cloned());
        if !inspection.roles.contains(&offer.role) {
            refusals.push(format!("the code does not serve the role `{}`", offer.role));
        }
    }
    Ok(Found { offer, terms, inspection, refusals })
}

fn to_json(found: &Found) -> Value {
    let Found { offer, terms, inspection, refusals } = found;
    json!({
        "job": offer.job,
        "jobName": offer.job_name,
        "task": offer.task,
        "role": offer.role,
        "deterministic": offer.deterministic,
        "code": {
            "sha256": offer.code.sha256,
            "size": offer.code.size,
            "signers": offer.code.signatures.iter().map(|signature| &signature.signer).collect::<Vec<_>>(),
            "imports": inspection.as_ref().map(|inspection| &inspection.imports),
        },
        "channels": offer.channels.iter().map(|channel| json!({
            "name": channel.name, "group": channel.group, "backend": channel.backend, "ends": channel.roster.len(),
        })).collect::<Vec<_>>(),
        "asked": offer.resources,
        "grant": terms,
        "runs": refusals.is_empty(),
        "refusals": refusals,
    })
}

fn to_text(found: &Found) -> String {
    let Found { offer, terms, refusals, .. } = found;
    let mut lines = vec![
        format!("task      {} ({} of job {} {})", offer.task, offer.role, offer.job, offer.job_name),
        format!("code      sha256 {}, {}", offer.code.sha256, shown_bytes(offer.code.size)),
    ];
    lines.extend(offer.code.signatures.iter().map(|signature| format!("          signed by {}", signature.signer)));
    for channel in &offer.channels {
        let (name, group, ends) = (&channel.name, &channel.group, channel.roster.len());
        lines.push(format!("channel   {name} ({group}), {ends} ends"));
    }
    if let Some(terms) = terms {
        lines.push("grant".to_owned());
        flatten("", terms, &mut lines);
    }
    if refusals.is_empty() {
        lines.push("the task would run".to_owned());
    } else {
        lines.push("the task would be refused:".to_owned());
        lines.extend(refusals.iter().map(|reason| format!("  - {reason}")));
    }
    let shown = lines.iter().map(|line| flame_sandbox::printable(line));
    shown.collect::<Vec<_>>().join("\n") + "\n"
}

/// One line a setting; what has no bound is left out.
fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, field, lines);
            }
        }
        Value::Null => {}
        value => lines.push(format!("  {path} = {value}")),
    }
}
