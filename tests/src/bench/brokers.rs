//! The brokers to measure over, each a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flame_api::{BrokerAccess, Secret};
use flame_control::{BrokerChoice, broker};

/// A running broker. Dropping it ends it.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
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
    /// Mosquitto, without a bound on its queues: the bare client has no other way of not losing anything.
    pub(crate) fn mosquitto() -> Option<Self> {
        let program = "/usr/sbin/mosquitto";
        if !std::path::Path::new(program).is_file() {
            eprintln!("no cases over mosquitto: it is not installed");
            return None;
        }
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
    pub(crate) fn embedded() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program).arg("broker").stdout(Stdio::piped()).spawn().expect("the broker");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut url).expect("its address");
        Self { name: "embedded", url: url.trim().to_owned(), child, _folder: None }
    }
}

/// Serves the embedded broker until the process is ended; its URL, login and all, is the first line.
pub(crate) async fn serve() {
    let choice = BrokerChoice::Embedded { listen: (Ipv4Addr::LOCALHOST, 0).into() };
    let access = broker::provide(&choice, &Secret::new("bench")).await.expect("the embedded broker");
    let BrokerAccess { url, username, password, .. } = access;
    let login =
        format!("{}:{}@", username.unwrap_or_default(), password.map_or_else(String::new, |p| p.expose().to_owned()));
    println!("{}", url.replace("://", &format!("://{login}")));
    let _ = std::io::stdout().flush();
    std::future::pending::<()>().await;
}
