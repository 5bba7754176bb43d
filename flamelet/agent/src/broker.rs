//! What a participant says about the broker: whom to trust, and who it is there. The grant names the broker itself.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use flame_channel::mqtt::{TlsIdentity, TlsSettings};

/// Files for a broker over TLS.
#[derive(Debug, Default, Args)]
pub struct BrokerArgs {
    /// Trusts these certificates (PEM) to vouch for the broker, and no others; a broker without TLS is then refused.
    #[arg(long, value_name = "FILE", env = "FLAME_BROKER_CA")]
    pub broker_ca: Option<PathBuf>,
    /// Shows this certificate (PEM) to a broker that asks for one.
    #[arg(long, value_name = "FILE", env = "FLAME_BROKER_CERT", requires = "broker_key")]
    pub broker_cert: Option<PathBuf>,
    /// The certificate's private key (PEM, not encrypted).
    #[arg(long, value_name = "FILE", env = "FLAME_BROKER_KEY", requires = "broker_cert")]
    pub broker_key: Option<PathBuf>,
}

impl BrokerArgs {
    /// Reads the files; what is in them is checked when the broker is known.
    pub fn load(&self) -> anyhow::Result<TlsSettings> {
        let ca = self.broker_ca.as_deref().map(|path| read("--broker-ca", path)).transpose()?;
        let identity = match (&self.broker_cert, &self.broker_key) {
            (Some(certificate), Some(key)) => {
                Some(TlsIdentity { certificate: read("--broker-cert", certificate)?, key: read("--broker-key", key)? })
            }
            // The command line has refused one without the other.
            _ => None,
        };
        Ok(TlsSettings { ca, identity })
    }
}

fn read(flag: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{flag}: cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        broker: BrokerArgs,
    }

    #[test]
    fn a_certificate_needs_its_key_and_files_have_to_be_there() {
        assert!(Line::try_parse_from(["x", "--broker-cert", "c"]).is_err());
        assert!(Line::try_parse_from(["x", "--broker-key", "k"]).is_err());
        let line = Line::try_parse_from(["x", "--broker-ca", "/no/such/ca.crt"]).unwrap();
        let error = format!("{:#}", line.broker.load().unwrap_err());
        assert!(error.contains("--broker-ca") && error.contains("/no/such/ca.crt"), "{error}");
    }
}
