//! TLS of both ports: with the operator's certificate, or with one that the server makes for itself.
//!
//! A made one is vouched for by a CA of this server alone, `HOME/tls/ca.pem`, which clients name by `--ca`. The CA is kept
//! for years; the certificate is made anew when its names change or its end is near.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flame_api::Timestamp;
use jiff::ToSpan;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::server::write_private;

/// Days that a CA of ours holds.
const CA_DAYS: i64 = 3_650;
/// Days that a certificate of ours holds.
const DAYS: i64 = 397;
/// A certificate is made anew when it has fewer days left.
const RENEW_DAYS: i64 = 60;

/// Whether and how the ports speak TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    /// They do not.
    #[default]
    Off,
    /// With a certificate that this server makes, for these names and addresses and for this machine.
    Made {
        /// Names and addresses under which clients know the server.
        names: Vec<String>,
    },
    /// With the operator's own.
    Files {
        /// The certificate, and those between it and its CA (PEM).
        certificate: PathBuf,
        /// Its key (PEM).
        key: PathBuf,
    },
}

/// TLS that is ready.
pub(crate) struct Ready {
    pub(crate) acceptor: TlsAcceptor,
    /// Who vouches for it, where it is a CA of ours.
    pub(crate) ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be had: {what}: {reason}; {fix}")]
pub struct TlsError {
    what: String,
    reason: String,
    fix: &'static str,
}

const NAME_FILES: &str = "name PEM files by --tls-cert and --tls-key, or leave both out to have a certificate made";
const MOVE_AWAY: &str = "move the folder `tls` of the home folder away to have new ones made";

fn failed(what: impl Into<String>, reason: &dyn std::fmt::Display, fix: &'static str) -> TlsError {
    TlsError { what: what.into(), reason: reason.to_string(), fix }
}

impl Tls {
    /// Reads or makes what it takes. `listen`: the address of the ports. Blocks.
    pub(crate) fn prepare(&self, home: &Path, listen: IpAddr) -> Result<Option<Ready>, TlsError> {
        let (certificate, key, ca) = match self {
            Self::Off => return Ok(None),
            Self::Files { certificate, key } => (certificate.clone(), key.clone(), None),
            Self::Made { names } => {
                let made = Made::at(home);
                made.provide(&all_names(names, listen))?;
                (made.certificate, made.key, Some(made.ca))
            }
        };
        let config = server_config(&certificate, &key)?;
        Ok(Some(Ready { acceptor: TlsAcceptor::from(Arc::new(config)), ca }))
    }
}

fn server_config(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let shown = |path: &Path| path.display().to_string();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| failed(shown(certificate), &error, NAME_FILES))?;
    if chain.is_empty() {
        return Err(failed(shown(certificate), &"there is no certificate in it", NAME_FILES));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(shown(key), &error, NAME_FILES))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| failed("this program", &error, NAME_FILES))?;
    let mut config = config
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| failed(shown(certificate), &error, NAME_FILES))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What is asked for, and what this machine is called anyway. Sorted, so that two starts with the same names agree.
fn all_names(asked: &[String], listen: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    names.extend(asked.iter().cloned());
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hostname = hostname.trim();
    if !hostname.is_empty() {
        names.push(hostname.to_owned());
    }
    names.sort();
    names.dedup();
    names
}

/// The files of a certificate that was made.
struct Made {
    folder: PathBuf,
    ca: PathBuf,
    ca_key: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    about: PathBuf,
}

/// What a made certificate is for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    names: Vec<String>,
    until: Timestamp,
}

impl Made {
    fn at(home: &Path) -> Self {
        let folder = home.join("tls");
        let file = |name: &str| folder.join(name);
        Self {
            ca: file("ca.pem"),
            ca_key: file("ca.key"),
            certificate: file("server.pem"),
            key: file("server.key"),
            about: file("server.json"),
            folder,
        }
    }

    /// Makes what is missing, has other names or is near its end.
    fn provide(&self, names: &[String]) -> Result<(), TlsError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| failed(self.folder.display().to_string(), &error, "name another home folder by --home"))?;
        if !self.ca.is_file() || !self.ca_key.is_file() {
            self.make_ca()?;
        } else if self.is_good(names) {
            return Ok(());
        }
        self.make_certificate(names)
    }

    fn is_good(&self, names: &[String]) -> bool {
        let about = std::fs::read(&self.about).ok().and_then(|text| serde_json::from_slice::<About>(&text).ok());
        let soon = Timestamp::now() + (RENEW_DAYS * 24).hours();
        about.is_some_and(|about| about.names == names && about.until > soon)
            && self.certificate.is_file()
            && self.key.is_file()
    }

    fn make_ca(&self) -> Result<(), TlsError> {
        let broken = |error: rcgen::Error| failed("a CA", &error, MOVE_AWAY);
        let key = KeyPair::generate().map_err(broken)?;
        let mut params = ca_params(&key);
        hold(&mut params, CA_DAYS);
        let ca = params.self_signed(&key).map_err(broken)?;
        // The key first: a CA without its key is made anew.
        Self::write(&self.ca_key, &key.serialize_pem())?;
        Self::write(&self.ca, &ca.pem())
    }

    fn make_certificate(&self, names: &[String]) -> Result<(), TlsError> {
        let ca_key = std::fs::read_to_string(&self.ca_key)
            .map_err(|error| failed(self.ca_key.display().to_string(), &error, MOVE_AWAY))?;
        let ca_key = KeyPair::from_pem(&ca_key).map_err(|error| failed("the CA's key", &error, MOVE_AWAY))?;
        let issuer = Issuer::new(ca_params(&ca_key), ca_key);
        let wrong = |error: rcgen::Error| failed("its names", &error, "name hosts and addresses alone by --tls-name");
        let mut params = CertificateParams::new(names.to_vec()).map_err(wrong)?;
        params.distinguished_name.push(DnType::CommonName, "Flame control plane");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let until = hold(&mut params, DAYS);
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
        Self::write(&self.key, &key.serialize_pem())?;
        Self::write(&self.certificate, &certificate.pem())?;
        let about = About { names: names.to_vec(), until };
        // Last: it says that the others are whole.
        let about = serde_json::to_string(&about).map_err(|error| failed("its names", &error, MOVE_AWAY))?;
        Self::write(&self.about, &about)
    }

    fn write(path: &Path, text: &str) -> Result<(), TlsError> {
        let written: io::Result<()> = write_private(path, text);
        written.map_err(|error| failed(path.display().to_string(), &error, "name another home folder by --home"))
    }
}

/// What a CA with that key says of itself: its name comes from the key, so that the CAs of two servers are told apart.
fn ca_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let digest = crate::crypto::sha256_hex(key.public_key_raw());
    let name = format!("Flame control plane {}", digest.get(..8).unwrap_or_default());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Valid from yesterday, for clocks that are behind, and for so many days; the end.
fn hold(params: &mut CertificateParams, days: i64) -> Timestamp {
    let now = Timestamp::now();
    let until = now + (days * 24).hours();
    // A time begins as 2026-11-28T.
    let date = |at: Timestamp| {
        let text = at.to_string();
        let mut parts = text.get(..10).unwrap_or_default().split('-').map(|part| part.parse::<i32>().unwrap_or(1));
        let (year, month, day) = (parts.next(), parts.next(), parts.next());
        let small = |part: Option<i32>| part.and_then(|part| u8::try_from(part).ok()).unwrap_or(1);
        rcgen::date_time_ymd(year.unwrap_or(2000), small(month), small(day))
    };
    params.not_before = date(now - 24.hours());
    params.not_after = date(until);
    until
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(home: &Path, names: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let tls = Tls::Made { names: names.iter().map(ToString::to_string).collect() };
        let ready = tls.prepare(home, IpAddr::from([10, 0, 0, 1])).unwrap().unwrap();
        (std::fs::read(ready.ca.unwrap()).unwrap(), std::fs::read(home.join("tls/server.pem")).unwrap())
    }

    #[test]
    fn a_made_certificate_is_kept_until_its_names_change_and_its_ca_stays() {
        let home = tempfile::tempdir().unwrap();
        let first = made(home.path(), &["flame.example"]);
        assert_eq!(made(home.path(), &["flame.example"]), first);
        let other = made(home.path(), &["other.example"]);
        assert_eq!(other.0, first.0);
        assert_ne!(other.1, first.1);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(home.path().join("tls/ca.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_are_none_are_named_with_the_flags() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("cert.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let tls = Tls::Files { certificate: file.clone(), key: file };
        let error = tls.prepare(home.path(), IpAddr::from([127, 0, 0, 1])).err().unwrap().to_string();
        assert!(error.contains("cert.pem") && error.contains("--tls-cert"), "{error}");
    }
}
