//! The brokers to measure over, each a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flame_api::{BrokerAccess, Secret};
use flame_control::{BrokerChoice, broker};

use super::peer::end_with_parent;

/// A running broker. Dropping it ends it.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    /// With the login that it wants.
    pub(crate) url: String,
    child: Child,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Broker {
    /// One after the other, those of the names that are wanted and of the brokers that are here.
    pub(crate) fn both(wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Self> {
        ["mosquitto", "embedded"].into_iter().filter(move |name| wanted(name)).filter_map(Self::start)
    }

    pub(crate) fn start(name: &'static str) -> Option<Self> {
        if name == "embedded" { Some(Self::embedded()) } else { Self::mosquitto() }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Mosquitto with its defaults, but without a bound on its queues: the bare client has no other way of not losing anything.
    fn mosquitto() -> Option<Self> {
        let places =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
        let Some(program) = places.into_iter().find(|place| std::path::Path::new(place).is_file()) else {
            eprintln!("no cases over mosquitto: it is not installed (apt-get install mosquitto)");
            return None;
        };
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port();
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        std::fs::write(&config, text).expect("the broker's configuration");
        let child = Command::new(program).arg("-c").arg(&config).stderr(Stdio::null()).spawn().expect("mosquitto");
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < end, "mosquitto does not listen");
            std::thread::yield_now();
        }
        Some(Self { name: "mosquitto", url: format!("mqtt://127.0.0.1:{port}"), child, _folder: Some(folder) })
    }

    /// The one that flame-control embeds.
    fn embedded() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        let mut child = command.arg("broker").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the broker");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut url).expect("its address");
        assert!(!url.is_empty(), "the embedded broker did not start");
        Self { name: "embedded", url: url.trim().to_owned(), child, _folder: None }
    }
}

/// Serves the embedded broker until the parent ends; its URL, login and all, is the first line.
pub(crate) async fn serve() {
    let choice = BrokerChoice::Embedded { listen: (Ipv4Addr::LOCALHOST, 0).into() };
    let access = broker::provide(&choice, &Secret::new("bench")).await.expect("the embedded broker");
    let BrokerAccess { url, username, password, .. } = access;
    let login =
        format!("{}:{}@", username.unwrap_or_default(), password.map_or_else(String::new, |p| p.expose().to_owned()));
    println!("{}", url.replace("://", &format!("://{login}")));
    let _ = std::io::stdout().flush();
    end_with_parent();
    std::future::pending::<()>().await;
}
