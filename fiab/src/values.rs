//! `values.yaml`: which broker the box uses.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// What a values file may say. Unknown keys are refused.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Values {
    /// The broker that tasks meet at.
    #[serde(default)]
    pub(crate) broker: Option<Broker>,
}

/// `broker: {sort: mqtt, host: broker.example.org}`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broker {
    sort: String,
    /// Absent or empty: the broker of this process.
    #[serde(default)]
    host: String,
    #[serde(default)]
    port: Option<u16>,
}

impl Values {
    /// Reads a values file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the values file {}", path.display()))?;
        let values: Self = serde_saphyr::from_str(&text).map_err(|error| {
            anyhow::anyhow!("{}: {error}\nA values file says `broker: {{sort: mqtt, host: HOST}}`.", path.display())
        })?;
        if let Some(broker) = &values.broker {
            broker.check().with_context(|| path.display().to_string())?;
        }
        Ok(values)
    }

    /// URL of the broker that the file names, or none for the embedded one.
    pub(crate) fn broker_url(&self) -> Option<String> {
        let broker = self.broker.as_ref().filter(|broker| !broker.host.is_empty())?;
        let has_port = broker.host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(match broker.port {
            Some(port) => format!("mqtt://{}:{port}", broker.host),
            None if has_port => format!("mqtt://{}", broker.host),
            None => format!("mqtt://{}:{}", broker.host, flame_api::BROKER_PORT),
        })
    }
}

impl Broker {
    fn check(&self) -> anyhow::Result<()> {
        if self.sort != "mqtt" {
            anyhow::bail!("broker.sort is `{}`; the one that there is is `mqtt`", self.sort);
        }
        if self.host.contains("://") || self.host.contains(char::is_whitespace) {
            anyhow::bail!("broker.host is `{}`; it is a host name, such as broker.example.org", self.host);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Values> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Values::read(file.path())
    }

    #[test]
    fn the_walk_throughs_values_name_a_broker() {
        let values = read("broker:\n  sort: mqtt\n  host: broker.hivemq.com\n").unwrap();
        assert_eq!(values.broker_url().unwrap(), "mqtt://broker.hivemq.com:1883");
        assert_eq!(
            read("broker: {sort: mqtt, host: \"127.0.0.1:1999\"}").unwrap().broker_url().unwrap(),
            "mqtt://127.0.0.1:1999"
        );
        assert_eq!(read("broker: {sort: mqtt}").unwrap().broker_url(), None);
    }

    #[test]
    fn mistakes_are_named() {
        let error = format!("{:#}", read("broker: {sort: kafka, host: x}").unwrap_err());
        assert!(error.contains("kafka") && error.contains("mqtt"), "{error}");
        let error = format!("{:#}", read("brokers: {sort: mqtt, host: x}").unwrap_err());
        assert!(error.contains("brokers"), "{error}");
        assert!(read("broker: {sort: mqtt, host: \"mqtt://x\"}").is_err());
    }
}
