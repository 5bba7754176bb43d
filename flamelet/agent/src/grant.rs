//! From the control plane's grant to what the sandbox takes: the one place where the two meet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flame_api::{BrokerAccess, ChannelGrant, MessageForm, OptimizerChoice, TaskGrant};
use flame_channel::mqtt::{MqttSettings, TlsSettings};
use flame_channel::{ChannelConfig, ChannelEncoding, ChannelKeys, ChannelLimits, Peer};
use flame_model::wire::TensorEncoding;
use flame_model::{EndId, Form};
use flame_sandbox::OptionValue;
use flame_sandbox::{Auditor, ChannelSpec, OptimizerSpec, TaskSink, TaskSpec};
use tokio_util::sync::CancellationToken;

use crate::policy::Effective;
use crate::transports::Transports;

/// A grant that this agent cannot run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct GrantError(String);

/// The task as the sandbox runs it.
pub(crate) fn task_spec(
    grant: TaskGrant,
    terms: Effective,
    transports: &Transports,
    sink: Arc<dyn TaskSink>,
    audit: Option<Arc<dyn Auditor>>,
    state_dir: Option<PathBuf>,
    stop: CancellationToken,
) -> Result<TaskSpec, GrantError> {
    let channels = grant
        .channels
        .iter()
        .map(|channel| channel_spec(channel, &grant, transports))
        .collect::<Result<_, GrantError>>()?;
    Ok(TaskSpec {
        task: end(grant.task.as_str())?,
        role: grant.role,
        attempt: grant.attempt,
        seed: grant.seed,
        hyperparameters: grant.hyperparameters.iter().map(|(key, value)| (key.clone(), value.to_string())).collect(),
        channels,
        datasets: terms.datasets,
        evaluation_data: grant.evaluation_data,
        optimizer: grant.optimizer.map(optimizer).transpose()?.unwrap_or_default(),
        selector: grant.selector.as_ref().map(selector),
        limits: terms.limits,
        egress: terms.egress,
        auditor: audit,
        state_dir,
        deterministic: grant.deterministic,
        sink,
        stop,
    })
}

/// What the broker's login needs. A broker without a host of its own is on the apiserver's; whom the participant trusts
/// stands over whom the grant names.
pub(crate) fn mqtt_settings(
    broker: &BrokerAccess,
    apiserver: &str,
    client_id: String,
    own: &TlsSettings,
) -> MqttSettings {
    let host = apiserver.split_once("://").map_or(apiserver, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    MqttSettings {
        url: broker.url.replace("://0.0.0.0", &format!("://{host}")),
        client_id,
        username: broker.username.clone(),
        password: broker.password.as_ref().map(|password| password.expose().to_owned()),
        tls: TlsSettings {
            ca: own.ca.clone().or_else(|| broker.ca.clone().map(String::into_bytes)),
            identity: own.identity.clone(),
        },
    }
}

pub(crate) fn end(text: &str) -> Result<EndId, GrantError> {
    EndId::new(text).map_err(|error| GrantError(format!("the grant names an end that is none: {error}")))
}

fn channel_spec(channel: &ChannelGrant, grant: &TaskGrant, transports: &Transports) -> Result<ChannelSpec, GrantError> {
    let transport = transports.of(channel.backend);
    let transport = transport.ok_or_else(|| GrantError(format!("channel {}: nothing carries it", channel.name)))?;
    let roster = channel
        .roster
        .iter()
        .map(|entry| Ok(Peer { id: end(entry.end.as_str())?, role: entry.role.clone(), index: entry.index }))
        .collect::<Result<_, GrantError>>()?;
    Ok(ChannelSpec {
        config: ChannelConfig {
            job: grant.job.to_string(),
            name: channel.name.clone(),
            group: channel.group.clone(),
            me: end(grant.task.as_str())?,
            incarnation: grant.attempt,
            roster,
            keys: ChannelKeys {
                group: *channel.key.expose(),
                pairs: channel.roster.iter().map(|entry| *entry.key.expose()).collect(),
            },
            encoding: encoding(&channel.encoding),
            limits: ChannelLimits::default(),
        },
        func_tags: channel.func_tags.clone(),
        min_participants: channel.min_participants,
        join_timeout: Duration::from_secs(channel.join_timeout),
        transport,
    })
}

fn encoding(granted: &flame_api::ChannelEncoding) -> ChannelEncoding {
    let form = |form: &MessageForm| match form {
        MessageForm::State => Form::State,
        MessageForm::Full => Form::Full,
        MessageForm::Delta => Form::Delta,
        MessageForm::PartialSum => Form::PartialSum,
    };
    ChannelEncoding {
        tensors: match granted.tensors {
            flame_api::TensorEncoding::Raw => TensorEncoding::Raw,
            flame_api::TensorEncoding::F16 => TensorEncoding::F16,
            flame_api::TensorEncoding::Bf16 => TensorEncoding::Bf16,
            flame_api::TensorEncoding::Int8 => TensorEncoding::Int8,
        },
        forms: granted.forms.iter().map(form).collect(),
        zstd: granted.zstd,
    }
}

fn optimizer(choice: OptimizerChoice) -> Result<OptimizerSpec, GrantError> {
    let option = |(name, value): (String, serde_json::Value)| {
        let value = match value {
            serde_json::Value::Number(number) => number.as_f64().map(OptionValue::Number),
            serde_json::Value::String(text) => Some(OptionValue::Text(text)),
            serde_json::Value::Bool(flag) => Some(OptionValue::Flag(flag)),
            _ => None,
        };
        // Job files of Python habit write beta_1 where the catalogue writes beta-1.
        value.map(|value| (name.replace('_', "-"), value)).ok_or_else(|| {
            GrantError(format!("option `{name}` of the job's optimizer is neither a number, a text nor a flag"))
        })
    };
    Ok(OptimizerSpec { rule: choice.sort, options: choice.kwargs.into_iter().map(option).collect::<Result<_, _>>()? })
}

/// As the guest reads it.
fn selector(choice: &OptimizerChoice) -> String {
    serde_json::json!({"sort": choice.sort, "kwargs": choice.kwargs}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_without_a_host_is_on_the_apiservers() {
        let broker = BrokerAccess { url: "mqtt://0.0.0.0:1883".into(), username: None, password: None, ca: None };
        let own = TlsSettings::default();
        let url = |apiserver: &str| mqtt_settings(&broker, apiserver, "x".into(), &own).url;
        assert_eq!(url("http://10.1.2.3:10100"), "mqtt://10.1.2.3:1883");
        assert_eq!(url("http://flame.example/"), "mqtt://flame.example:1883");
        let fixed = BrokerAccess { url: "mqtt://broker:1884".into(), ..broker.clone() };
        assert_eq!(mqtt_settings(&fixed, "http://10.1.2.3:10100", "x".into(), &own).url, "mqtt://broker:1884");
    }

    #[test]
    fn whom_the_participant_trusts_stands_over_whom_the_grant_names() {
        let broker =
            BrokerAccess { url: "mqtts://b".into(), username: None, password: None, ca: Some("granted".into()) };
        let ca = |own: &TlsSettings| mqtt_settings(&broker, "http://a", "x".into(), own).tls.ca.unwrap();
        assert_eq!(ca(&TlsSettings::default()), b"granted");
        assert_eq!(ca(&TlsSettings { ca: Some(b"own".to_vec()), identity: None }), b"own");
    }

    #[test]
    fn a_channel_encodes_as_the_grant_says() {
        let granted = flame_api::ChannelEncoding {
            tensors: flame_api::TensorEncoding::Int8,
            forms: vec![MessageForm::Delta],
            zstd: Some(5),
        };
        let expected = ChannelEncoding { tensors: TensorEncoding::Int8, forms: vec![Form::Delta], zstd: Some(5) };
        assert_eq!(encoding(&granted), expected);
        assert!(encoding(&flame_api::ChannelEncoding::default()).is_plain());
    }
}
