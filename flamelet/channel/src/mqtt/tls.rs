//! TLS to a broker: whom to trust, who we are, and what a failed handshake means.
//!
//! rustls checks certificates here, with ring's ciphers; rumqttc only carries the finished configuration
//! (`docs/decisions/0003-mqtt-tls.md`).

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rumqttc::v5::StateError;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::error::ChannelError;

/// Whom to trust as a broker, and as whom to appear. Only for `mqtts://`.
#[derive(Clone, Default)]
pub struct TlsSettings {
    /// Certificates (PEM) of those who may vouch for the broker. Without: whom this machine trusts.
    pub ca: Option<Vec<u8>>,
    /// Our certificate, for a broker that asks for one.
    pub identity: Option<TlsIdentity>,
}

/// A client certificate and its key.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The certificate and those that lead to its authority (PEM).
    pub certificate: Vec<u8>,
    /// Its private key (PEM: PKCS#8, PKCS#1 or SEC1, not encrypted).
    pub key: Vec<u8>,
}

impl std::fmt::Debug for TlsSettings {
    /// Says what is there, not what it is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSettings")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl std::fmt::Debug for TlsIdentity {
    /// Leaves out what must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// Whether anything is set: then a connection without TLS is not what was meant.
    pub(super) fn is_set(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }

    /// Reads the certificates and the key.
    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>, ChannelError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| bad(&format!("the CA cannot be used: {error}")))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ChannelError::Internal(format!("TLS cannot be set up: {error}")))?
            .with_webpki_verifier(verifier);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates(&identity.certificate, "the client certificate")?;
                // What is wrong with a key says nothing of the key.
                let key = PrivateKeyDer::from_pem_slice(&identity.key)
                    .map_err(|_| bad("the client key is no unencrypted private key in PEM form"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| bad(&format!("client certificate and key cannot be used together: {error}")))?
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, ChannelError> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.ca {
            for certificate in certificates(ca, "the CA")? {
                roots
                    .add(certificate)
                    .map_err(|error| bad(&format!("the CA holds what is no certificate: {error}")))?;
            }
        } else {
            // Some of a machine's certificates may be unreadable; what counts is whether any is left.
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(bad("this machine has no list of trusted authorities; name the broker's CA"));
            }
        }
        Ok(roots)
    }
}

fn bad(text: &str) -> ChannelError {
    ChannelError::InvalidArgument(format!("TLS to the broker: {text}"))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, ChannelError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| bad(&format!("{what} cannot be read as PEM: {error}")))?;
    if found.is_empty() {
        return Err(bad(&format!("{what} holds no certificate (`-----BEGIN CERTIFICATE-----`)")));
    }
    Ok(found)
}

/// What a TLS failure below `error` means to whoever set the connection up; `None` where trying again may help.
pub(super) fn refusal(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error does not name what it wraps as its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = wrapped.and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>()) {
            return explain(tls);
        }
        next = match error.downcast_ref::<StateError>() {
            // Nor does this one.
            Some(StateError::Deserialization(wrapped)) => Some(wrapped),
            _ => error.source(),
        };
    }
    None
}

fn explain(error: &rustls::Error) -> Option<String> {
    use AlertDescription as Alert;
    use CertificateError as Certificate;
    Some(match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            "its certificate is not vouched for by the CA that was given (without one, by those that this machine \
             trusts); give the CA that signed it"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(
            wrong @ (Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }),
        ) => format!("its certificate is for another host ({wrong}); use the name that the certificate carries"),
        rustls::Error::InvalidCertificate(wrong) => format!("its certificate is not accepted: {wrong}"),
        // Without a certificate TLS 1.3 says the first, some brokers over TLS 1.2 the second.
        rustls::Error::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            "it ended the TLS handshake; it seems to want a client certificate: give one that it accepts".to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::AccessDenied
            | Alert::DecryptError),
        ) => format!("it does not accept the client certificate ({alert:?}); give one that its CA signed"),
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; check the port (8883 is usual), or write mqtt:// if it is meant to be without"
                .to_owned()
        }
        _ => return None,
    })
}
