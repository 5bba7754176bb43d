//! A network between two ends that can be cut, held up and made thin.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Forwards connections to a port on loopback.
pub struct Proxy {
    /// `host:port`.
    pub address: String,
    network: Arc<Network>,
    _accepting: AbortOnDropHandle<()>,
}

struct Network {
    /// Counts the cuts: a connection of an earlier count is dead.
    cuts: watch::Sender<u64>,
    /// Nothing passes, and nobody is told.
    held: watch::Sender<bool>,
    /// Bytes per second each way; 0: as quick as it goes.
    rate: usize,
    passed: AtomicUsize,
    connections: AtomicUsize,
}

impl Proxy {
    /// A proxy before `port` that passes `rate` bytes per second; 0: all.
    pub async fn start(port: u16, rate: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let network = Arc::new(Network {
            cuts: watch::Sender::new(0),
            held: watch::Sender::new(false),
            rate,
            passed: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn({
            let network = Arc::clone(&network);
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                    network.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(forward(near, far, Arc::clone(&network)));
                }
            }
        });
        Self { address, network, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        self.network.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets nothing pass, or everything again; the connections stay.
    pub fn hold(&self, held: bool) {
        self.network.held.send_replace(held);
    }

    /// Bytes that have passed.
    pub fn passed(&self) -> usize {
        self.network.passed.load(Ordering::Relaxed)
    }

    /// Connections that were made.
    pub fn connections(&self) -> usize {
        self.network.connections.load(Ordering::Relaxed)
    }
}

async fn forward(near: TcpStream, far: TcpStream, network: Arc<Network>) {
    let mut cuts = network.cuts.subscribe();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pump(near_in, far_out, &network) => {}
        () = pump(far_in, near_out, &network) => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, network: &Network) {
    let mut buffer = vec![0; 64 << 10];
    let mut held = network.held.subscribe();
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        held.wait_for(|held| !held).await.unwrap();
        if network.rate > 0 {
            // A thin line: this many bytes take this long.
            tokio::time::sleep(
                Duration::from_secs(1) * u32::try_from(read).unwrap() / u32::try_from(network.rate).unwrap(),
            )
            .await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        network.passed.fetch_add(read, Ordering::Relaxed);
    }
}
