//! The MQTT broker: embedded, or somebody else's.
//!
//! It is not trusted: hosts seal what they send. The login keeps strangers from using up its memory.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flame_api::{BrokerAccess, Secret};
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::crypto;

/// The login's name; its password is random.
const USERNAME: &str = "flame";
/// Port of a broker whose URL names none.
const DEFAULT_PORT: u16 = flame_api::BROKER_PORT;
/// The same over TLS.
const DEFAULT_TLS_PORT: u16 = 8883;
/// Largest file of authorities: it goes out with every grant.
const MAX_CA: usize = 256 << 10;
/// Largest packet: a chunk of 256 KiB with its header and what is added per addressee.
const MAX_PACKET: usize = 1 << 20;
/// Clients at a time.
const MAX_CONNECTIONS: usize = 10_000;
/// Packets in flight per connection.
const IN_FLIGHT: usize = 200;
/// Bytes of a segment of a filter's log; readers further behind than all segments fetch from the sender again.
const SEGMENT_BYTES: usize = 8 << 20;
/// Segments of a filter's log.
const SEGMENTS: usize = 4;
/// Time for the embedded broker to answer once it was started.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Time for somebody else's broker to answer.
const REACH_WITHIN: Duration = Duration::from_secs(10);

/// Which broker.
#[derive(Debug, Clone)]
pub enum BrokerChoice {
    /// One in this process.
    Embedded {
        /// Where it listens; port 0 for any free one.
        listen: SocketAddr,
    },
    /// One that runs elsewhere.
    External {
        /// `mqtt://host[:port]`, or `mqtts://host[:port]` for TLS.
        url: String,
        /// Login, if it wants one.
        username: Option<String>,
        /// Its password.
        password: Option<Secret>,
        /// Certificates (PEM) of who vouches for it, for TLS; without, agents trust whom their machines trust.
        ca: Option<String>,
    },
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Port {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// It does not come up.
    #[error("the embedded broker did not start on {address}: {reason}")]
    Start {
        /// Which address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The URL is none.
    #[error(
        "`{url}` is not the address of an MQTT broker: {reason}; it looks like mqtt://broker.example.org or mqtts://…"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The authorities that are to vouch for it cannot be used.
    #[error("the broker's CA {path} cannot be used: {reason}")]
    Ca {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Nobody answers there.
    #[error(
        "no MQTT broker answers at {address}: {reason}; start it, correct the address, or leave it out to use the embedded broker"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        reason: String,
    },
}

impl BrokerChoice {
    /// A broker elsewhere, by its URL: `mqtt://[user:password@]host[:port]`, or `mqtts://…` for TLS.
    pub fn external(url: &str) -> Result<Self, BrokerError> {
        let bad = |reason| BrokerError::Url { url: without_login(url), reason };
        let (scheme, rest) = url
            .split_once("://")
            .filter(|(scheme, _)| default_port(scheme).is_some())
            .ok_or_else(|| bad("only mqtt:// and mqtts:// are spoken"))?;
        let rest = rest.trim_end_matches('/');
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, rest),
        };
        if host.contains(['/', '?', '#']) {
            return Err(bad("it has a path"));
        }
        let url = format!("{scheme}://{host}");
        host_and_port(&url).ok_or_else(|| bad("it names no host, or no port that there is"))?;
        let (username, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => {
                let password = Some(unescape(password)).filter(|text| !text.is_empty());
                (Some(unescape(user)), password.map(Secret::new))
            }
            None => (None, None),
        };
        Ok(Self::External { url, username, password, ca: None })
    }

    /// Names who vouches for a broker over TLS, by a file of certificates (PEM).
    pub fn vouched_by(self, path: &Path) -> Result<Self, BrokerError> {
        let bad = |reason: &str| BrokerError::Ca { path: path.display().to_string(), reason: reason.to_owned() };
        let Self::External { url, username, password, .. } = self else {
            return Err(bad("the embedded broker has no TLS; name another one by --broker mqtts://HOST"));
        };
        if !url.starts_with("mqtts://") {
            return Err(bad("the broker's URL has no TLS; write mqtts://"));
        }
        let pem = std::fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
        if pem.contains("PRIVATE KEY-----") {
            return Err(bad("it holds a private key, and every agent would get it; give the certificate alone"));
        }
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(bad("it holds no certificate in PEM form"));
        }
        if pem.len() > MAX_CA {
            return Err(bad(
                "it is larger than 256 KiB; give the authority that signed the broker's certificate alone",
            ));
        }
        Ok(Self::External { url, username, password, ca: Some(pem) })
    }
}

/// The URL without what may be a password.
fn without_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

/// Reads a part of a login: `%40` stands for `@`.
fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "mqtt" => Some(DEFAULT_PORT),
        "mqtts" => Some(DEFAULT_TLS_PORT),
        _ => None,
    }
}

/// Out of a URL without a login.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (scheme, text) = url.split_once("://")?;
    let (host, port) = match text.rsplit_once(':') {
        // `[::1]` without a port ends in a bracket.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, default_port(scheme)?),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!bare.is_empty() && port != 0).then_some((bare, port))
}

/// Makes sure that there is a broker, and says how agents reach it.
pub async fn provide(choice: &BrokerChoice, password: &Secret) -> Result<BrokerAccess, BrokerError> {
    match choice {
        BrokerChoice::Embedded { listen } => {
            let address = embed(*listen, password).await?;
            // Where it listens everywhere, agents use the host under which they know the apiserver.
            let shown = match address.ip() {
                ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()),
                _ => address,
            };
            Ok(BrokerAccess {
                url: format!("mqtt://{shown}"),
                username: Some(USERNAME.to_owned()),
                password: Some(password.clone()),
                ca: None,
            })
        }
        BrokerChoice::External { url, username, password, ca } => {
            reach(url).await?;
            Ok(BrokerAccess {
                url: url.clone(),
                username: username.clone(),
                password: password.clone(),
                ca: ca.clone(),
            })
        }
    }
}

async fn reach(url: &str) -> Result<(), BrokerError> {
    let (host, port) = host_and_port(url)
        .ok_or_else(|| BrokerError::Url { url: without_login(url), reason: "it is no mqtt://host:port" })?;
    let reason = match timeout(REACH_WITHIN, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("nothing within {} s", REACH_WITHIN.as_secs()),
    };
    Err(BrokerError::Unreachable { address: format!("{host}:{port}"), reason })
}

/// Brokers of this process by address, with the password that holds: rumqttd cannot be stopped, so that a server that
/// is started again in the same process takes over the one that runs.
static RUNNING: Mutex<Option<HashMap<SocketAddr, Arc<Mutex<Secret>>>>> = Mutex::new(None);

async fn embed(listen: SocketAddr, password: &Secret) -> Result<SocketAddr, BrokerError> {
    if take_over(listen, password) {
        return Ok(listen);
    }
    // rumqttd only logs that a port is busy, and does not tell which free one it took.
    let probe = TcpListener::bind(listen).and_then(|listener| listener.local_addr());
    let address = probe.map_err(|error| BrokerError::Port { address: listen, error })?;
    let holds = Arc::new(Mutex::new(password.clone()));
    start(address, Arc::clone(&holds))?;
    wait_until_it_answers(address).await?;
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.get_or_insert_default().insert(address, holds);
    Ok(address)
}

fn take_over(listen: SocketAddr, password: &Secret) -> bool {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(holds) = running.as_ref().and_then(|running| running.get(&listen)) else { return false };
    *holds.lock().unwrap_or_else(PoisonError::into_inner) = password.clone();
    true
}

fn start(address: SocketAddr, holds: Arc<Mutex<Secret>>) -> Result<(), BrokerError> {
    let mut settings = rumqttd::ServerSettings {
        name: "flame".to_owned(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 0,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: MAX_PACKET,
            max_inflight_count: IN_FLIGHT,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    settings.set_auth_handler(move |_client: String, username: String, password: String| {
        let expected = holds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let right = crypto::same(&username, USERNAME) & crypto::same(&password, expected.expose());
        std::future::ready(right)
    });
    let config = rumqttd::Config {
        id: 0,
        router: rumqttd::RouterConfig {
            max_connections: MAX_CONNECTIONS,
            max_outgoing_packet_count: IN_FLIGHT as u64,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..rumqttd::RouterConfig::default()
        },
        v5: Some(HashMap::from([("flame".to_owned(), settings)])),
        ..rumqttd::Config::default()
    };
    let failed = |reason: String| BrokerError::Start { address, reason };
    let run = move || {
        let mut broker = rumqttd::Broker::new(config);
        // Returns only when it failed.
        if let Err(error) = broker.start() {
            tracing::error!("the embedded broker failed: {error}");
        }
    };
    std::thread::Builder::new().name("broker".into()).spawn(run).map_err(|error| failed(error.to_string()))?;
    Ok(())
}

async fn wait_until_it_answers(address: SocketAddr) -> Result<(), BrokerError> {
    let target = match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    };
    let deadline = Instant::now() + START_WITHIN;
    loop {
        match timeout(Duration::from_secs(1), TcpStream::connect(target)).await {
            Ok(Ok(_)) => return Ok(()),
            _ if Instant::now() >= deadline => {
                let reason = format!("it does not answer within {} s", START_WITHIN.as_secs());
                return Err(BrokerError::Start { address, reason });
            }
            // Nothing tells when it listens; a refused connection costs next to nothing.
            _ => sleep(Duration::from_millis(5)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_url_is_taken_apart() {
        let Ok(BrokerChoice::External { url, username, password, ca: None }) =
            BrokerChoice::external("mqtt://m%40e:sec%3aret@broker.example.org")
        else {
            panic!("it is a URL");
        };
        assert_eq!((url.as_str(), username.as_deref()), ("mqtt://broker.example.org", Some("m@e")));
        assert_eq!(password.unwrap().expose(), "sec:ret");
        for bad in ["broker:1883", "http://broker", "mqtt://", "mqtt://b:port", "mqtt://b/path", "mqtt://b:0"] {
            assert!(BrokerChoice::external(bad).is_err(), "{bad}");
        }
        let error = BrokerChoice::external("amqp://me:secret@host").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(host_and_port("mqtt://[::1]"), Some(("::1", 1883)));
        assert_eq!(host_and_port("mqtts://[::1]"), Some(("::1", 8883)));
        assert_eq!(host_and_port("mqtts://[::1]:99"), Some(("::1", 99)));
    }

    #[test]
    fn a_ca_goes_to_agents_and_a_key_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let vouched = |url: &str, text: &str| {
            std::fs::write(&path, text).unwrap();
            BrokerChoice::external(url).unwrap().vouched_by(&path)
        };
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let Ok(BrokerChoice::External { ca: Some(ca), .. }) = vouched("mqtts://broker", pem) else {
            panic!("it is a CA");
        };
        assert_eq!(ca, pem);
        let key = format!("{pem}-----BEGIN EC PRIVATE KEY-----\nAA==\n");
        for (url, text, says) in [
            ("mqtts://broker", key.as_str(), "private key"),
            ("mqtts://broker", "nothing", "no certificate"),
            ("mqtt://broker", pem, "write mqtts://"),
        ] {
            let error = vouched(url, text).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("ca.crt"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_embedded_broker_answers_and_a_busy_port_is_named() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let access = provide(&BrokerChoice::Embedded { listen: any }, &Secret::new("p")).await.unwrap();
        reach(&access.url).await.unwrap();
        let taken = TcpListener::bind(any).unwrap();
        let listen = taken.local_addr().unwrap();
        let error = provide(&BrokerChoice::Embedded { listen }, &Secret::new("p")).await.unwrap_err();
        assert!(matches!(error, BrokerError::Port { .. }), "{error}");
    }

    /// The answer to an MQTT 5 CONNECT with that password: the reason code, or nothing where the broker hangs up.
    async fn log_in(access: &BrokerAccess, password: &str) -> Option<u8> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut body = b"\0\x04MQTT\x05\xc2\0\x3c\0".to_vec();
        for text in ["0123abcd", USERNAME, password] {
            body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        let mut stream = TcpStream::connect(access.url.strip_prefix("mqtt://").unwrap()).await.unwrap();
        stream.write_all(&packet).await.unwrap();
        let mut answer = [0; 4];
        let read = timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await.unwrap();
        read.ok().map(|_| answer[3])
    }

    #[tokio::test]
    async fn strangers_do_not_get_into_the_embedded_broker_and_a_restarted_server_takes_it_over() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let access = provide(&BrokerChoice::Embedded { listen }, &Secret::new("right")).await.unwrap();
        assert_eq!(log_in(&access, "right").await, Some(0));
        assert_ne!(log_in(&access, "wrong").await, Some(0));

        let listen = access.url.strip_prefix("mqtt://").unwrap().parse().unwrap();
        let again = provide(&BrokerChoice::Embedded { listen }, &Secret::new("new")).await.unwrap();
        assert_eq!(again.url, access.url);
        assert_ne!(log_in(&access, "right").await, Some(0));
        assert_eq!(log_in(&again, "new").await, Some(0));
    }

    #[tokio::test]
    async fn a_broker_that_is_away_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let choice = BrokerChoice::external(&format!("mqtt://{free}")).unwrap();
        let error = provide(&choice, &Secret::new("")).await.unwrap_err().to_string();
        assert!(error.contains(&format!("no MQTT broker answers at {free}")), "{error}");
    }
}
