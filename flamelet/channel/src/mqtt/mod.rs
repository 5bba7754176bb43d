//! Packets over any MQTT 5 broker.
//!
//! Two connections per task carry all its channels: one only publishes, the other only receives. On a single one the
//! broker's small acknowledgements wait in this machine's TCP for 40 ms (delayed ACK), and with a broker that does not set
//! `TCP_NODELAY` (mosquitto by default, rumqttd always) every message behind them waits, too. Receiving alone, each packet
//! is answered at once, and nothing waits.
//!
//! One task per connection only polls it; publishing happens elsewhere, on a bounded queue, so that a full queue can never
//! stop the polling that empties it. Whenever a connection has come back, everything is subscribed anew, and the lanes are
//! told once the broker has confirmed it; then the core sends again what was lost.

mod address;
mod connection;
mod tls;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flame_model::EndId;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, LastWillProperties};
use rumqttc::{TlsConfiguration, Transport as Carrier};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::ChannelError;
use crate::frame::commit;
use crate::lanes::Lanes;
use crate::topics;
use crate::transport::{Incoming, Lane, Packet, Transport};
use address::Address;
use connection::{Connection, Link};
pub use tls::{TlsIdentity, TlsSettings};

/// Largest packet that is accepted, and announced to the broker. rumqttc's own default of 10 KiB would make every larger
/// packet a fatal error that repeats for ever.
const MAX_PACKET: u32 = 4 << 20;
/// Packets that wait in a lane for its channel.
const LANE: usize = 8;
/// Publishes without an acknowledgement of the broker; a broker may announce less.
const IN_FLIGHT: u16 = 16;
/// Seconds that the broker keeps subscriptions and packets of a broken connection.
const SESSION_EXPIRY: u32 = 120;
/// Seconds after a break until the will is published: a reconnect within it is not seen as a departure.
const WILL_DELAY: u32 = 2;
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const FIRST_CONNECT: Duration = Duration::from_secs(15);
/// How long to wait for an acknowledgement of the broker.
const ANSWER: Duration = Duration::from_secs(5);

/// Where the broker is and as whom to log in.
#[derive(Clone, Default)]
pub struct MqttSettings {
    /// `mqtt://[user[:password]@]host[:port]`, the port defaulting to 1883, or `mqtts://…` for TLS, defaulting to 8883.
    pub url: String,
    /// One per attempt of a task, such as `<agent id>-<attempt>`: the broker ends a connection when another one comes
    /// with the same id, so a task that shared it with its earlier attempt would fight with it. Attempts are fenced by
    /// the protocol, not by the broker. No `+`, `#`, `$` or `/`. The publishing connection adds `-out`.
    pub client_id: String,
    /// Login; stands over the one in the URL.
    pub username: Option<String>,
    /// Password to the login.
    pub password: Option<String>,
    /// Certificates, for `mqtts://`.
    pub tls: TlsSettings,
}

impl std::fmt::Debug for MqttSettings {
    /// Leaves out what must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttSettings").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A task's connections to a broker. Dropping it breaks them, upon which the broker publishes the will;
/// [`MqttTransport::shutdown`] ends them in order.
pub struct MqttTransport {
    state: Arc<State>,
    commitment: [u8; 32],
    tasks: TaskTracker,
}

struct State {
    receiving: Arc<Connection>,
    publishing: Arc<Connection>,
    lanes: Arc<Lanes>,
    /// One subscription at a time, so that its acknowledgement is known by its turn.
    subscribing: tokio::sync::Mutex<()>,
    stop: CancellationToken,
}

impl MqttTransport {
    /// Connects `me`, a task of `job`, and waits until the broker has accepted it (15 s at most); from then on it
    /// reconnects by itself. A login that is refused, or a certificate that is not trusted, is an error at once.
    pub async fn connect(settings: &MqttSettings, job: &str, me: &EndId) -> Result<Self, ChannelError> {
        let address = Address::parse(&settings.url)?;
        if settings.client_id.is_empty() || settings.client_id.contains(['+', '#', '$', '/']) {
            return Err(ChannelError::InvalidArgument(
                "an MQTT client id must not be empty and must hold no `+`, `#`, `$` or `/`".into(),
            ));
        }
        let carrier = carrier(settings, &address)?;
        let mut token = [0; 32];
        getrandom::fill(&mut token)
            .map_err(|error| ChannelError::Internal(format!("the system gives no random bytes: {error}")))?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let lanes = Arc::new(Lanes::new(LANE));
        let receiving = receiving_options(settings, &address, &carrier, topics::gone(job, me), &token);
        let publishing = basic_options(settings, &address, &carrier, "-out");
        let state = Arc::new(State {
            receiving: Connection::start(receiving, Some(Arc::clone(&lanes)), stop.clone(), &tasks),
            publishing: Connection::start(publishing, None, stop.clone(), &tasks),
            lanes,
            subscribing: tokio::sync::Mutex::default(),
            stop,
        });
        tasks.spawn(announce(Arc::clone(&state)));
        tasks.close();
        let transport = Self { state, commitment: commit(&token), tasks };
        for connection in [&transport.state.receiving, &transport.state.publishing] {
            let mut link = connection.link.clone();
            let settled = |link: &Link| !matches!(link, Link::Down(_));
            // Whatever came of it stands in the link.
            let _ = tokio::time::timeout(FIRST_CONNECT, link.wait_for(settled)).await;
            let Address { host, port, .. } = &address;
            let why = match &*connection.link.borrow() {
                Link::Up { .. } => continue,
                Link::Refused(why) => {
                    return Err(ChannelError::NotPermitted(format!("the MQTT broker at {host}:{port}: {why}")));
                }
                Link::Down(Some(why)) => format!(": {why}"),
                Link::Down(None) => String::new(),
            };
            return Err(ChannelError::Unavailable(format!(
                "no MQTT broker answers at {host}:{port}{why}; check the address, the login and that it speaks MQTT 5"
            )));
        }
        Ok(transport)
    }

    /// Breaks the connections without a word, as a crash would: the broker publishes the will.
    pub fn abort(&self) {
        self.state.stop.cancel();
    }

    /// Says goodbye to the broker, so that it publishes no will, and ends the connections. Leave the channels first.
    pub async fn shutdown(&self) {
        let _ = self.flush().await;
        for connection in [&self.state.publishing, &self.state.receiving] {
            let mut link = connection.link.clone();
            connection.leaving.cancel();
            let goodbye = async {
                // The broker closes the connection when it has read it.
                if connection.client.disconnect().await.is_ok() {
                    let _ = link.wait_for(|link| !matches!(link, Link::Up { .. })).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(500), goodbye).await;
        }
        self.state.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for MqttTransport {
    fn drop(&mut self) {
        self.state.stop.cancel();
    }
}

/// What carries the bytes: TCP, or TLS over it.
fn carrier(settings: &MqttSettings, address: &Address) -> Result<Carrier, ChannelError> {
    if address.tls {
        return Ok(Carrier::tls_with_config(TlsConfiguration::Rustls(settings.tls.client_config()?)));
    }
    if settings.tls.is_set() {
        return Err(ChannelError::InvalidArgument(
            "a CA or client certificate is given for a broker URL without TLS; write mqtts:// or leave them out".into(),
        ));
    }
    Ok(Carrier::tcp())
}

fn basic_options(settings: &MqttSettings, address: &Address, carrier: &Carrier, suffix: &str) -> MqttOptions {
    // rumqttc checks the certificate against what it is given as the host: an IPv6 address without its brackets.
    let host = if address.tls { address.name() } else { &address.host };
    let mut options = MqttOptions::new(format!("{}{suffix}", settings.client_id), host, address.port);
    options.set_transport(carrier.clone());
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(Some(MAX_PACKET));
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    let login = settings.username.clone().map(|user| (user, settings.password.clone().unwrap_or_default()));
    if let Some((user, password)) = login.or_else(|| address.login.clone()) {
        options.set_credentials(user, password);
    }
    options
}

fn receiving_options(
    settings: &MqttSettings,
    address: &Address,
    carrier: &Carrier,
    will: String,
    token: &[u8; 32],
) -> MqttOptions {
    let mut options = basic_options(settings, address, carrier, "");
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(SESSION_EXPIRY));
    let properties = LastWillProperties {
        delay_interval: Some(WILL_DELAY),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    let token = Bytes::copy_from_slice(token);
    options.set_last_will(LastWill::new(will, token, QoS::AtLeastOnce, false, Some(properties)));
    options
}

impl State {
    /// What one packet may carry while both connections stand.
    fn up(&self) -> Option<usize> {
        match (&*self.receiving.link.borrow(), &*self.publishing.link.borrow()) {
            (Link::Up { .. }, Link::Up { max_payload, .. }) => Some(*max_payload),
            _ => None,
        }
    }

    /// Subscribes and waits for the broker's word. A connection that breaks meanwhile is the announcer's business.
    async fn subscribe(&self, filters: BTreeSet<String>) -> Result<(), ChannelError> {
        if filters.is_empty() {
            return Ok(());
        }
        let filters: Vec<Filter> = filters.into_iter().map(|path| Filter::new(path, QoS::AtLeastOnce)).collect();
        let _turn = self.subscribing.lock().await;
        let mut acks = self.receiving.acks.clone();
        let before = *acks.borrow_and_update();
        let mut link = self.receiving.link.clone();
        let began = link.borrow_and_update().clone();
        let answer = async {
            self.receiving.client.subscribe_many(filters).await.map_err(|_| gone())?;
            acks.wait_for(|acks| acks.subscribed > before.subscribed).await.map(|acks| *acks).map_err(|_| gone())
        };
        let answer = tokio::select! {
            answer = tokio::time::timeout(ANSWER, answer) => answer,
            // A connection that has broken since will not answer any more.
            _ = link.wait_for(|link| *link != began) => return Err(gone()),
            () = self.stop.cancelled() => return Err(gone()),
        };
        match answer {
            Ok(Ok(acks)) if acks.refused > before.refused => {
                Err(ChannelError::NotPermitted("the broker refuses the subscription; check its topic ACLs".into()))
            }
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(ChannelError::Unavailable("the broker does not answer a subscription".into())),
        }
    }
}

/// Subscribes whenever the connections have come back, then tells the lanes.
async fn announce(state: Arc<State>) {
    let mut receiving = state.receiving.link.clone();
    let mut publishing = state.publishing.link.clone();
    let work = async {
        loop {
            receiving.mark_unchanged();
            publishing.mark_unchanged();
            match state.up() {
                None => state.lanes.tell(Incoming::LinkDown).await,
                Some(max_payload) => match state.subscribe(state.lanes.filters()).await {
                    Ok(()) => state.lanes.tell(Incoming::LinkUp { max_payload }).await,
                    Err(error) => {
                        tracing::warn!(%error, "channels are not subscribed; trying again");
                        tokio::select! {
                            () = tokio::time::sleep(Duration::from_millis(500)) => {}
                            _ = receiving.changed() => {}
                        }
                        continue;
                    }
                },
            }
            tokio::select! {
                changed = receiving.changed() => if changed.is_err() { return },
                changed = publishing.changed() => if changed.is_err() { return },
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = state.stop.cancelled() => {}
    }
    // Channels that are still there learn that nothing comes any more.
    state.lanes.clear();
}

fn gone() -> ChannelError {
    ChannelError::Unavailable("the connection to the broker has been closed".into())
}

#[async_trait]
impl Transport for MqttTransport {
    async fn open(&self, filters: Vec<String>) -> Result<Lane, ChannelError> {
        if self.state.stop.is_cancelled() {
            return Err(gone());
        }
        let (id, incoming) = self.state.lanes.open(filters.clone());
        // On connections that come up from here on the announcer subscribes for this lane, too.
        let began = self.state.receiving.link.borrow().clone();
        let mut up = self.state.up();
        if up.is_some()
            && let Err(error) = self.state.subscribe(filters.into_iter().collect()).await
        {
            if *self.state.receiving.link.borrow() == began {
                self.close(id).await;
                return Err(error);
            }
            // The connection broke just now; the announcer will tell of the next.
            up = None;
        }
        Ok(Lane { id, up, incoming, will: self.commitment })
    }

    async fn close(&self, lane: u64) {
        for filter in self.state.lanes.close(lane) {
            // Best effort: what still comes for a closed lane is dropped.
            let _ = self.state.receiving.client.try_unsubscribe(filter);
        }
    }

    async fn publish(&self, packet: Packet) -> Result<(), ChannelError> {
        let client = &self.state.publishing.client;
        tokio::select! {
            sent = client.publish_bytes(packet.topic, QoS::AtLeastOnce, false, packet.payload) => {
                sent.map_err(|_| gone())?;
                self.state.publishing.queued.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            () = self.state.stop.cancelled() => Err(gone()),
        }
    }

    async fn flush(&self) -> Result<(), ChannelError> {
        let target = self.state.publishing.queued.load(Ordering::Relaxed);
        let mut acks = self.state.publishing.acks.clone();
        let mut link = self.state.publishing.link.clone();
        let began = link.borrow_and_update().clone();
        let done = async {
            tokio::select! {
                acked = acks.wait_for(|acks| acks.published >= target) => acked.is_ok(),
                // What was queued on a connection that broke is not acknowledged any more.
                _ = link.wait_for(|link| *link != began) => false,
            }
        };
        match tokio::time::timeout(ANSWER, done).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(gone()),
            Err(_) => Err(ChannelError::Timeout),
        }
    }
}
