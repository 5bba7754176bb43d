//! Links that cut, stand still, lose, double and reorder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flame_channel::{ChannelError, Lane, Packet, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::LONG;

/// A TCP relay in front of a broker.
pub struct Relay {
    port: u16,
    control: watch::Sender<Control>,
    carried: watch::Receiver<u64>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct Control {
    /// Connections that began before the last cut are over.
    cuts: u64,
    /// Nothing moves, and nothing is closed either.
    frozen: bool,
}

impl Relay {
    /// Relays to `port` of this machine; `rate` bytes per second and direction at most (0: any number).
    pub async fn start(port: u16, rate: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (control, controlled) = watch::channel(Control::default());
        let (count, carried) = watch::channel(0);
        let count = Arc::new(count);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                // A broker that is down takes no connection: the client sees its own end at once.
                let Ok(broker) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                client.set_nodelay(true).unwrap();
                broker.set_nodelay(true).unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_broker, to_broker) = broker.into_split();
                let one = carry(from_client, to_broker, controlled.clone(), count.clone(), rate);
                let other = carry(from_broker, to_client, controlled.clone(), count.clone(), rate);
                // When one direction ends the connection ends.
                tokio::spawn(async move {
                    tokio::select! {
                        () = one => {}
                        () = other => {}
                    }
                });
            }
        });
        Self { port: own, control, carried, accepting }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Bytes carried so far, both ways and all connections together.
    pub fn carried(&self) -> u64 {
        *self.carried.borrow()
    }

    /// Waits until so many have been carried.
    pub async fn has_carried(&self, bytes: u64) {
        let mut carried = self.carried.clone();
        tokio::time::timeout(LONG, carried.wait_for(|carried| *carried >= bytes)).await.unwrap().unwrap();
    }

    /// Breaks all connections that there are.
    pub fn cut(&self) {
        self.control.send_modify(|control| control.cuts += 1);
    }

    /// Lets nothing pass any more, or again.
    pub fn freeze(&self, frozen: bool) {
        self.control.send_modify(|control| control.frozen = frozen);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut control: watch::Receiver<Control>,
    count: Arc<watch::Sender<u64>>,
    rate: u64,
) {
    let born = control.borrow_and_update().cuts;
    let mut over = control.clone();
    let work = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let Ok(len @ 1..) = from.read(&mut buffer).await else { return };
            if control.wait_for(|control| !control.frozen).await.is_err() {
                return;
            }
            if let Some(nanos) = (len as u64 * 1_000_000_000).checked_div(rate) {
                tokio::time::sleep(Duration::from_nanos(nanos)).await;
            }
            if to.write_all(&buffer[..len]).await.is_err() {
                return;
            }
            count.send_modify(|count| *count += len as u64);
        }
    };
    tokio::select! {
        () = work => {}
        _ = over.wait_for(|control| control.cuts != born) => {}
    }
}

/// A transport whose packets get lost, doubled and out of order on their way out, by seed.
pub struct Unreliable {
    inner: Arc<dyn Transport>,
    fate: Mutex<Fate>,
}

struct Fate {
    dice: u64,
    late: Vec<Packet>,
}

impl Unreliable {
    pub fn new(inner: Arc<dyn Transport>, seed: u64) -> Self {
        Self { inner, fate: Mutex::new(Fate { dice: seed, late: Vec::new() }) }
    }
}

impl Fate {
    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % bound
    }

    /// What leaves in place of `packet`, in order.
    fn decide(&mut self, packet: Packet) -> Vec<Packet> {
        match self.below(100) {
            0..5 => Vec::new(),
            5..10 => vec![packet.clone(), packet],
            10..20 => {
                self.late.push(packet);
                Vec::new()
            }
            // It overtakes those that are late, which come in the wrong order, too.
            20..40 => std::iter::once(packet).chain(self.late.drain(..).rev()).collect(),
            _ => vec![packet],
        }
    }
}

#[async_trait]
impl Transport for Unreliable {
    async fn open(&self, filters: Vec<String>) -> Result<Lane, ChannelError> {
        self.inner.open(filters).await
    }

    async fn close(&self, lane: u64) {
        self.inner.close(lane).await;
    }

    async fn publish(&self, packet: Packet) -> Result<(), ChannelError> {
        let packets = self.fate.lock().unwrap().decide(packet);
        for packet in packets {
            self.inner.publish(packet).await?;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), ChannelError> {
        self.inner.flush().await
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn shares_memory(&self) -> bool {
        self.inner.shares_memory()
    }
}
