//! What a network can do to a pair's stream, and who may open one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;
#[path = "common/proxy.rs"]
mod proxy;

use std::sync::Arc;
use std::time::Duration;

use common::{LONG, TestResolver, body, config, free_port, id, job, p2p_settings, text};
use flame_channel::p2p::{Directory, LinkSecret, Listen, P2pTransport, Place, no_way};
use flame_channel::{Channel, ChannelConfig, ChannelError, ChannelLimits};
use flame_model::EndId;
use proxy::Proxy;

const SHORT: Duration = Duration::from_millis(100);
/// Longer than any test: what is seen before it is not seen by silence.
const NEVER: Duration = Duration::from_hours(1);

/// How an end of a test is set up.
#[derive(Clone)]
struct End {
    job: String,
    n: u32,
    count: u32,
    attempt: u32,
    places: Arc<Directory>,
    port: Option<u16>,
}

impl End {
    fn new(job: &str, n: u32, count: u32) -> Self {
        Self { job: job.into(), n, count, attempt: 1, places: Arc::default(), port: None }
    }

    fn listening(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// Knows of `n`.
    fn knowing(self, n: u32, place: Place) -> Self {
        self.places.put(&id(n), place);
        self
    }

    async fn transport(&self) -> Arc<P2pTransport> {
        let peers: Vec<EndId> = (0..self.count).map(id).collect();
        let mut settings = p2p_settings(&self.job, &id(self.n), self.attempt, &peers, false);
        settings.listen = self.port.map(|port| Listen { address: format!("127.0.0.1:{port}"), advertise: None });
        let resolver = TestResolver { me: id(self.n), places: Arc::clone(&self.places) };
        Arc::new(P2pTransport::connect(settings, Arc::new(resolver)).await.unwrap())
    }

    fn config(&self) -> ChannelConfig {
        ChannelConfig { incarnation: self.attempt, ..config(&self.job, self.n, self.count) }
    }

    async fn join(&self) -> (Channel, Arc<P2pTransport>) {
        let transport = self.transport().await;
        (Channel::join(self.config(), transport.clone()).await.unwrap(), transport)
    }

    /// An end that never takes silence for death.
    async fn join_patiently(&self) -> (Channel, Arc<P2pTransport>) {
        let transport = self.transport().await;
        let limits = ChannelLimits { dead_after: NEVER, ..ChannelLimits::default() };
        (Channel::join(ChannelConfig { limits, ..self.config() }, transport.clone()).await.unwrap(), transport)
    }
}

fn at(port: u16) -> Place {
    Place::At(format!("127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_in_mid_transfer_loses_and_doubles_nothing() {
    let (job, port) = (job(), free_port());
    let (hub, _hub) = End::new(&job, 0, 2).listening(port).join().await;
    let proxy = Proxy::start(port, 0).await;
    let (trainer, _trainer) = End::new(&job, 1, 2).knowing(0, Place::At(proxy.address.clone())).join().await;
    hub.await_ends(1, LONG).await.unwrap();
    for n in 1..=4 {
        hub.send(&[id(1)], body(&format!("down {n}"), 12 << 20)).await.unwrap();
        trainer.send(&[id(0)], body(&format!("up {n}"), 12 << 20)).await.unwrap();
    }
    for cuts in 0..4 {
        // Somewhere in the middle of it, and each time another connection: one that was cut still passes on what it has read.
        let cut_at = proxy.passed() + (8 << 20);
        while proxy.passed() < cut_at || proxy.connections() <= cuts {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.cut();
    }
    for (end, from, what) in [(&trainer, id(0), "down"), (&hub, id(1), "up")] {
        for n in 1..=4 {
            let got = end.recv(&from, LONG).await.unwrap();
            assert!(got.message == body(&format!("{what} {n}"), 12 << 20), "message {what} {n} differs");
        }
        assert_eq!(end.recv(&from, SHORT).await.unwrap_err(), ChannelError::Timeout);
    }
    // The last cut may have come when all was through: then the stream is dialled again after it.
    let dialled = async {
        while proxy.connections() < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, dialled).await.expect("it is dialled again after each cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_killed_is_closed_long_before_its_silence_would_tell() {
    let (job, port) = (job(), free_port());
    let (hub, _hub) = End::new(&job, 0, 2).listening(port).join_patiently().await;
    let (trainer, transport) = End::new(&job, 1, 2).knowing(0, at(port)).join_patiently().await;
    hub.await_ends(1, LONG).await.unwrap();
    trainer.await_ends(1, LONG).await.unwrap();
    transport.abort();
    assert_eq!(hub.recv(&id(1), LONG).await.unwrap_err(), ChannelError::Closed);
    drop(trainer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_sees_the_death_of_its_listener_too() {
    let (job, port) = (job(), free_port());
    let (hub, transport) = End::new(&job, 0, 2).listening(port).join_patiently().await;
    let (trainer, _trainer) = End::new(&job, 1, 2).knowing(0, at(port)).join_patiently().await;
    trainer.await_ends(1, LONG).await.unwrap();
    transport.abort();
    assert_eq!(trainer.recv(&id(0), LONG).await.unwrap_err(), ChannelError::Closed);
    drop(hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_restarted_at_a_new_address_is_found_and_gets_what_it_had_not_taken() {
    let (job, port, next) = (job(), free_port(), free_port());
    let trainer = End::new(&job, 1, 2).knowing(0, at(port));
    let (trainer, places) = (trainer.join().await.0, trainer.places);
    let hub = End::new(&job, 0, 2).listening(port);
    let (first, transport) = hub.join().await;
    trainer.await_ends(1, LONG).await.unwrap();
    trainer.send(&[id(0)], body("not taken", 3_000_000)).await.unwrap();
    transport.abort();
    drop((first, transport));

    let second = End { attempt: 2, ..hub }.listening(next);
    let (second, _second) = second.join().await;
    places.put(&id(0), at(next));
    assert!(second.recv(&id(1), LONG).await.unwrap().message == body("not taken", 3_000_000));
    second.send(&[id(1)], text("from the second", 1)).await.unwrap();
    assert_eq!(trainer.recv(&id(0), LONG).await.unwrap().message.kind, "from the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stands_still_holds_up_nobody_and_catches_up() {
    let (job, port) = (job(), free_port());
    let (hub, _hub) = End::new(&job, 0, 3).listening(port).join_patiently().await;
    let (quick, _quick) = End::new(&job, 1, 3).knowing(0, at(port)).join_patiently().await;
    let proxy = Proxy::start(port, 0).await;
    let (slow, _slow) = End::new(&job, 2, 3).knowing(0, Place::At(proxy.address.clone())).join_patiently().await;
    hub.await_ends(2, LONG).await.unwrap();
    proxy.hold(true);
    for n in 1..=3 {
        hub.broadcast(body(&format!("m{n}"), 20 << 20)).await.unwrap();
    }
    for n in 1..=3 {
        assert!(quick.recv(&id(0), LONG).await.unwrap().message == body(&format!("m{n}"), 20 << 20));
    }
    proxy.hold(false);
    for n in 1..=3 {
        assert!(slow.recv(&id(0), LONG).await.unwrap().message == body(&format!("m{n}"), 20 << 20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_takes_many_heartbeats_is_not_cut_and_a_silent_peer_is() {
    let (job, port) = (job(), free_port());
    let limits = ChannelLimits {
        heartbeat: Duration::from_millis(500),
        // Long beside what a busy machine may let either end wait.
        dead_after: Duration::from_secs(2),
        leave_wait: SHORT,
        ..ChannelLimits::default()
    };
    let join = async |end: End| {
        let transport = end.transport().await;
        let config = ChannelConfig { limits: limits.clone(), ..end.config() };
        (Channel::join(config, transport.clone()).await.unwrap(), transport)
    };
    let (hub, _hub) = join(End::new(&job, 0, 2).listening(port)).await;
    // 8 MiB take four times what counts as death.
    let proxy = Proxy::start(port, 8 << 17).await;
    let (trainer, _trainer) = join(End::new(&job, 1, 2).knowing(0, Place::At(proxy.address.clone()))).await;
    hub.await_ends(1, LONG).await.unwrap();
    hub.send(&[id(1)], body("long", 8 << 20)).await.unwrap();
    assert!(trainer.recv(&id(0), LONG).await.unwrap().message == body("long", 8 << 20));
    assert_eq!(proxy.connections(), 1);
    proxy.hold(true);
    assert_eq!(hub.recv(&id(1), LONG).await.unwrap_err(), ChannelError::Closed);
    proxy.hold(false);
    // It never died, and it comes back by itself.
    hub.await_ends(1, LONG).await.unwrap();
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channels_of_a_pair_share_one_stream() {
    let (job, port) = (job(), free_port());
    let (hub_end, hub_listens) = (End::new(&job, 0, 2), End::new(&job, 0, 2).listening(port));
    let hub = hub_listens.transport().await;
    let proxy = Proxy::start(port, 0).await;
    let trainer_end = End::new(&job, 1, 2).knowing(0, Place::At(proxy.address.clone()));
    let trainer = trainer_end.transport().await;
    for name in ["one", "two", "three"] {
        let named = |end: &End| ChannelConfig { name: name.into(), ..end.config() };
        let near = Channel::join(named(&hub_end), hub.clone()).await.unwrap();
        let far = Channel::join(named(&trainer_end), trainer.clone()).await.unwrap();
        far.send(&[id(0)], text(name, 1)).await.unwrap();
        assert_eq!(near.recv(&id(1), LONG).await.unwrap().message.kind, name);
        far.leave().await.unwrap();
    }
    assert_eq!(proxy.connections(), 1);
    assert_eq!((hub.linked(), trainer.linked()), (vec![id(1)], vec![id(0)]));
    trainer.shutdown().await;
    hub.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_dialled_by_one_dials_it() {
    let (job, port) = (job(), free_port());
    // Both listen, and the lower end, who would dial, finds nobody at the address that it is told.
    let lower = End::new(&job, 0, 2).listening(port).knowing(1, at(free_port()));
    let higher = End::new(&job, 1, 2).listening(free_port()).knowing(0, at(port));
    let ((lower, _lower), (higher, _higher)) = tokio::join!(lower.join(), higher.join());
    higher.send(&[id(0)], text("through", 1)).await.unwrap();
    assert_eq!(lower.recv(&id(1), LONG).await.unwrap().message.kind, "through");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_of_which_neither_listens_is_named_with_the_fix() {
    let job = job();
    let transport = End::new(&job, 1, 2).knowing(0, Place::Hidden).transport().await;
    let mut unreachable = transport.unreachable();
    let ends = unreachable.wait_for(|ends| !ends.is_empty()).await.unwrap().clone();
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [id(0)]);
    let text = no_way(&id(1), &id(0));
    for part in [id(0).as_str(), id(1).as_str(), "--p2p-listen HOST:PORT"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_without_the_pairs_secret_does_not_take_a_peers_place() {
    let (job, port) = (job(), free_port());
    let (hub, transport) = End::new(&job, 0, 2).listening(port).join().await;
    let (trainer, _trainer) = End::new(&job, 1, 2).knowing(0, at(port)).join().await;
    hub.await_ends(1, LONG).await.unwrap();

    let places = Arc::new(Directory::default());
    places.put(&id(0), at(port));
    let mut settings = p2p_settings(&job, &id(1), 9, &[id(0)], false);
    settings.peers.insert(id(0), LinkSecret::derive(&job, &id(0), &id(1), [&[6; 32]]));
    let resolver = Arc::new(TestResolver { me: id(1), places });
    let stranger = P2pTransport::connect(settings, resolver).await.unwrap();
    assert_eq!(stranger.linked(), []);

    trainer.send(&[id(0)], body("real", 1 << 20)).await.unwrap();
    assert!(hub.recv(&id(1), LONG).await.unwrap().message == body("real", 1 << 20));
    assert_eq!(transport.linked(), [id(1)]);
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_message_that_names_place_and_fix() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut settings = p2p_settings("job", &id(1), 1, &[], true);
    settings.listen = Some(Listen { address: address.clone(), advertise: None });
    let resolver = Arc::new(TestResolver { me: id(1), places: Arc::default() });
    let Err(ChannelError::Unavailable(text)) = P2pTransport::connect(settings, resolver).await else {
        panic!("two cannot listen on one port")
    };
    assert!(text.contains(&address) && text.contains("--p2p-listen"), "{text}");
}
