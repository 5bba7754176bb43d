//! Mosquitto as an outside broker.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Child, DEADLINE};

/// A mosquitto with its default queues, on a free loopback port.
pub struct Mosquitto {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    /// None, with a printed reason, where mosquitto is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with("allow_anonymous true")
    }

    /// The same with these settings for its listener.
    pub fn start_with(settings: &str) -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/opt/homebrew/sbin/mosquitto"]
            .into_iter()
            .find(|path| std::path::Path::new(path).is_file());
        let Some(program) = program else {
            eprintln!("skipped: mosquitto is not installed");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("mosquitto.conf");
        std::fs::write(&config, format!("listener {port} 127.0.0.1\n{settings}\n")).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&config);
        let child = Child::start(command);
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(1)).is_err() {
            assert!(Instant::now() < end, "mosquitto does not listen");
            std::thread::yield_now();
        }
        Some(Self { child, port, _folder: folder })
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill();
    }
}
