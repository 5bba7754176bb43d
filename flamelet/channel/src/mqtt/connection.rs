//! One connection: a poller that does nothing but poll, and what others may know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, DisconnectReasonCode, Packet as Mqtt, PubAckReason, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls;
use crate::lanes::Lanes;
use crate::transport::Packet;

/// Publishes that wait for the poller.
const REQUESTS: usize = 4;
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Topic, properties and packet header of a publish, generously.
const PACKET_OVERHEAD: usize = 1024;
/// Largest packet while the broker announces no limit: what the documented broker settings allow.
const UNANNOUNCED: usize = 1 << 20;

/// What the poller knows of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Down(Option<String>),
    /// The broker does not want us, or we do not trust it: trying again would change nothing.
    Refused(String),
    /// `epoch` counts connections.
    Up {
        epoch: u64,
        max_payload: usize,
    },
}

/// Acknowledgements of the broker, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Acks {
    pub(super) published: u64,
    pub(super) subscribed: u64,
    /// Subscriptions that the broker refused.
    pub(super) refused: u64,
}

/// A connection that keeps itself up.
pub(super) struct Connection {
    pub(super) client: AsyncClient,
    pub(super) link: watch::Receiver<Link>,
    pub(super) acks: watch::Receiver<Acks>,
    /// Publishes queued so far; all have left once as many are acknowledged.
    pub(super) queued: Arc<AtomicU64>,
    /// Cancelled when this side says goodbye: the end of the connection is no fault from then on.
    pub(super) leaving: CancellationToken,
}

struct Poller {
    events: EventLoop,
    link: watch::Sender<Link>,
    acks: watch::Sender<Acks>,
    queued: Arc<AtomicU64>,
    lanes: Option<Arc<Lanes>>,
    leaving: CancellationToken,
    stop: CancellationToken,
}

impl Connection {
    /// Begins to connect. Packets that come go to `lanes`; a full one holds the broker back.
    pub(super) fn start(
        options: MqttOptions,
        lanes: Option<Arc<Lanes>>,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        let mut network = NetworkOptions::new();
        // Acknowledgements and small messages must not wait for company.
        network.set_tcp_nodelay(true);
        events.options.set_network_options(network);
        let (link, link_seen) = watch::channel(Link::Down(None));
        let (acks, acks_seen) = watch::channel(Acks::default());
        let queued = Arc::new(AtomicU64::new(0));
        let leaving = CancellationToken::new();
        let poller = Poller { events, link, acks, queued: Arc::clone(&queued), lanes, leaving: leaving.clone(), stop };
        tasks.spawn(poller.run());
        Arc::new(Self { client, link: link_seen, acks: acks_seen, queued, leaving })
    }
}

impl Poller {
    async fn run(mut self) {
        let mut epoch = 0;
        let mut back_off = BACK_OFF.0;
        // One line about refused publishes is enough for a task.
        let mut told = false;
        loop {
            let event = tokio::select! {
                event = self.events.poll() => event,
                () = self.stop.cancelled() => return,
            };
            match event {
                Ok(Event::Incoming(Mqtt::ConnAck(connack))) => {
                    epoch += 1;
                    back_off = BACK_OFF.0;
                    // What an earlier connection did not acknowledge will not be any more.
                    let queued = self.queued.load(Ordering::Relaxed);
                    self.acks.send_modify(|acks| acks.published = queued);
                    self.link.send_replace(Link::Up { epoch, max_payload: max_payload(&connack) });
                }
                Ok(Event::Incoming(Mqtt::Publish(publish))) => {
                    if let Some(lanes) = &self.lanes {
                        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else { continue };
                        let packet = Packet { topic, payload: publish.payload, beside: None };
                        tokio::select! {
                            () = lanes.deliver(packet) => {}
                            () = self.stop.cancelled() => return,
                        }
                    }
                }
                Ok(Event::Incoming(Mqtt::PubAck(ack))) => {
                    if ack.reason == PubAckReason::NotAuthorized && !std::mem::replace(&mut told, true) {
                        tracing::error!("the broker refuses what this task publishes; check its topic ACLs");
                    }
                    self.acks.send_modify(|acks| acks.published += 1);
                }
                Ok(Event::Incoming(Mqtt::SubAck(suback))) => {
                    let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                    let refused = suback.return_codes.iter().filter(|code| !granted(code)).count();
                    self.acks.send_modify(|acks| {
                        acks.subscribed += 1;
                        acks.refused += u64::try_from(refused).unwrap_or_default();
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    if !self.broke(&error, epoch == 0) {
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF.1),
                        () = self.stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Notes that the connection broke; whether to connect again.
    fn broke(&self, error: &ConnectionError, first: bool) -> bool {
        let was_up = matches!(*self.link.borrow(), Link::Up { .. });
        let refused = refusal(error);
        if let Some(why) = refused.as_ref().filter(|_| first) {
            self.link.send_replace(Link::Refused(why.clone()));
            return false;
        }
        self.link.send_replace(Link::Down(Some(error.to_string())));
        match error {
            ConnectionError::RequestsDone => false,
            _ if self.leaving.is_cancelled() => false,
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code: DisconnectReasonCode::SessionTakenOver,
                ..
            }) => {
                // Connecting again would only throw out the other one, which would do the same.
                tracing::error!("another client took over this connection's client id; it stays closed");
                self.stop.cancel();
                false
            }
            _ => {
                match refused {
                    // It took us before: an operator who changes logins or certificates may not be done yet.
                    Some(why) => tracing::warn!("the broker does not take this task back: {why}; trying again"),
                    None if was_up && !self.stop.is_cancelled() => {
                        tracing::warn!(%error, "the connection to the broker broke; connecting again");
                    }
                    None => tracing::debug!(%error, "no connection to the broker"),
                }
                true
            }
        }
    }
}

/// Why the broker will not take us next time either; `None` where it may.
fn refusal(error: &ConnectionError) -> Option<String> {
    use ConnectReturnCode as Code;
    let ConnectionError::ConnectionRefused(code) = error else { return tls::refusal(error) };
    match code {
        // Its own trouble, which passes.
        Code::ServiceUnavailable
        | Code::ServerUnavailable
        | Code::ServerBusy
        | Code::QuotaExceeded
        | Code::ConnectionRateExceeded
        | Code::UnspecifiedError
        | Code::ImplementationSpecificError => None,
        Code::BadUserNamePassword | Code::NotAuthorized | Code::BadAuthenticationMethod | Code::Banned => {
            Some(format!("it refuses the login ({code:?}); check user, password and client certificate"))
        }
        code => Some(format!("it refuses the connection ({code:?}); it has to speak MQTT 5")),
    }
}

fn max_payload(connack: &ConnAck) -> usize {
    let announced = connack.properties.as_ref().and_then(|properties| properties.max_packet_size);
    let packet = announced.and_then(|size| usize::try_from(size).ok()).unwrap_or(UNANNOUNCED);
    packet.saturating_sub(PACKET_OVERHEAD)
}
