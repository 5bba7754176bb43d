//! Whom a client trusts as a server over TLS: decided once, for REST and gRPC alike.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// Names a file with the certificates (PEM) of who vouches for the control plane.
pub const CA_VARIABLE: &str = "FLAME_CA";

/// Whom to trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whom this machine trusts.
    #[default]
    System,
    /// Those of a file alone.
    Certificates(Vec<u8>),
}

/// Why a file names nobody to trust.
#[derive(Debug, thiserror::Error)]
#[error("the CA file {} cannot be used: {reason}; name the server's ca.pem by --ca or {CA_VARIABLE}", .path.display())]
pub struct TrustError {
    path: PathBuf,
    reason: String,
}

impl Trust {
    /// Reads a file of certificates (PEM); without one, the machine's own are trusted.
    pub fn load(path: Option<&Path>) -> Result<Self, TrustError> {
        let Some(path) = path else { return Ok(Self::System) };
        let failed = |reason: String| TrustError { path: path.to_owned(), reason };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("there is no certificate in it".into()));
        }
        Ok(Self::Certificates(pem))
    }

    /// For REST.
    pub(crate) fn apply(&self, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, reqwest::Error> {
        match self {
            Self::System => Ok(builder),
            Self::Certificates(pem) => Ok(builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?)),
        }
    }

    /// Where the notifier is, for a client of the apiserver at `apiserver`: over TLS where that is, too. `notifier` is
    /// `host:port`, or begins with a scheme that decides.
    pub fn endpoint(&self, notifier: &str, apiserver: &str) -> Result<Endpoint, tonic::transport::Error> {
        let url = if notifier.contains("://") {
            notifier.to_owned()
        } else {
            let scheme = if apiserver.starts_with("https://") { "https" } else { "http" };
            format!("{scheme}://{notifier}")
        };
        let endpoint = Endpoint::from_shared(url.clone())?;
        if !url.starts_with("https://") {
            return Ok(endpoint);
        }
        let tls = match self {
            Self::System => ClientTlsConfig::new().with_native_roots(),
            Self::Certificates(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        };
        endpoint.tls_config(tls)
    }
}
