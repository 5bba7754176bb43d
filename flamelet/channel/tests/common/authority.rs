//! Certificates and TLS brokers for tests.

use std::path::Path;
use std::process::Command;

use flame_channel::mqtt::TlsIdentity;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::{Mosquitto, free_port};

/// Who vouches for brokers and clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate (PEM).
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a broker's `hosts`, or for a client called `name`.
    pub fn sign(&self, name: &str, hosts: &[&str]) -> TlsIdentity {
        let mut params = CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsIdentity { certificate: certificate.pem().into(), key: key.serialize_pem().into() }
    }

    /// Writes what a broker for `hosts` reads: `ca.crt`, `broker.crt` and `broker.key`.
    pub fn equip(&self, dir: &Path, hosts: &[&str]) {
        let broker = self.sign("broker", hosts);
        std::fs::write(dir.join("ca.crt"), &self.pem).unwrap();
        std::fs::write(dir.join("broker.crt"), broker.certificate).unwrap();
        std::fs::write(dir.join("broker.key"), broker.key).unwrap();
    }
}

/// A mosquitto whose only listener speaks TLS as `localhost`, with more `settings`; `None` where there is none.
pub fn tls_broker(authority: &Authority, settings: &str) -> Option<Mosquitto> {
    let port = free_port();
    Mosquitto::start_with(port, |dir| {
        authority.equip(dir, &["localhost"]);
        tls_conf(port, dir, settings)
    })
}

/// Its configuration; `DIR` in the settings is the broker's folder.
pub fn tls_conf(port: u16, dir: &Path, settings: &str) -> String {
    let dir = dir.display();
    let settings = settings.replace("DIR", &dir.to_string());
    format!(
        "listener {port} 127.0.0.1\ncafile {dir}/ca.crt\ncertfile {dir}/broker.crt\nkeyfile {dir}/broker.key\n\
         {settings}\n"
    )
}

/// Adds a login to mosquitto's `file`.
pub fn add_login(file: &Path, user: &str, password: &str) {
    // It adds to a file that is there.
    std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    let added = Command::new("mosquitto_passwd").arg("-b").arg(file).args([user, password]).output().unwrap();
    assert!(added.status.success(), "{added:?}");
}
