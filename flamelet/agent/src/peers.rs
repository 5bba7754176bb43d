//! Finding peers through the notifier.
//!
//! What the control plane said last stays known while the session is away: streams that stand do not need it, and those
//! that break find their peer where it was.

use std::time::Duration;

use async_trait::async_trait;
use flame_api::notifier;
use flame_channel::ChannelError;
use flame_channel::p2p::{Directory, Place, Resolver};
use flame_model::EndId;
use tokio::sync::watch;

/// How long to wait for the control plane to say where peers are; they are found later, too.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The peers of one task, between its session and its transport.
#[derive(Debug)]
pub(crate) struct Peers {
    directory: Directory,
    /// What the session tells the control plane, once there is something; empty: this agent does not listen.
    announcement: watch::Sender<Option<String>>,
    /// Counts what was heard.
    heard: watch::Sender<u64>,
    /// The control plane's host, as this agent knows it.
    host: String,
}

impl Peers {
    /// `notifier`: `host:port`.
    pub(crate) fn new(notifier: &str) -> Self {
        Self {
            directory: Directory::default(),
            announcement: watch::Sender::new(None),
            heard: watch::Sender::new(0),
            host: host(notifier).to_owned(),
        }
    }

    /// What to announce, now and when it changes.
    pub(crate) fn announcement(&self) -> watch::Receiver<Option<String>> {
        self.announcement.subscribe()
    }

    /// The control plane says where peers are.
    pub(crate) fn hear(&self, message: &notifier::Peers) {
        let named: Vec<(EndId, Place)> = message.peers.iter().filter_map(|peer| self.read(peer)).collect();
        if message.all {
            self.directory.forget(|end| named.iter().any(|(here, _)| here == end));
        }
        for (end, place) in named {
            self.directory.put(&end, place);
        }
        self.heard.send_modify(|count| *count += 1);
    }

    fn read(&self, peer: &notifier::Peer) -> Option<(EndId, Place)> {
        let end = EndId::new(&peer.end).ok()?;
        let place = match peer.address.as_str() {
            _ if !peer.here => Place::Unknown,
            "" => Place::Hidden,
            address => Place::At(self.seen_from_here(address)),
        };
        Some((end, place))
    }

    /// An address without a host is on the control plane's machine.
    fn seen_from_here(&self, address: &str) -> String {
        match address.rsplit_once(':') {
            Some(("0.0.0.0" | "[::]", port)) => format!("{}:{port}", self.host),
            _ => address.to_owned(),
        }
    }
}

/// The host of `host:port`.
pub(crate) fn host(address: &str) -> &str {
    match address.rsplit_once(':') {
        // An IPv6 address in brackets holds colons of its own.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => address,
    }
}

#[async_trait]
impl Resolver for Peers {
    async fn announce(&self, address: Option<&str>) -> Result<(), ChannelError> {
        let mut heard = self.heard.subscribe();
        heard.mark_unchanged();
        self.announcement.send_replace(Some(address.unwrap_or_default().to_owned()));
        // Without an answer the task starts all the same: the session may be away for a moment.
        if tokio::time::timeout(ANSWER_WITHIN, heard.changed()).await.is_err() {
            tracing::warn!("the control plane has not said yet where peers are");
        }
        Ok(())
    }

    fn watch(&self, end: &EndId) -> watch::Receiver<Place> {
        self.directory.watch(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(n: u8) -> EndId {
        EndId::new(&format!("{n:040x}")).unwrap()
    }

    fn peer(n: u8, here: bool, address: &str) -> notifier::Peer {
        notifier::Peer { end: end(n).to_string(), here, address: address.into() }
    }

    #[tokio::test]
    async fn places_follow_what_the_control_plane_says() {
        let peers = Peers::new("flame.example:10101");
        let place = |n: u8| peers.watch(&end(n)).borrow().clone();
        let first = vec![peer(1, true, "10.0.0.7:7000"), peer(2, true, ""), peer(3, true, "0.0.0.0:7300")];
        peers.hear(&notifier::Peers { all: true, peers: first });
        let at = |address: &str| Place::At(address.into());
        assert_eq!((place(1), place(2)), (at("10.0.0.7:7000"), Place::Hidden));
        assert_eq!(place(3), at("flame.example:7300"), "on the control plane's machine");
        peers.hear(&notifier::Peers { all: false, peers: vec![peer(1, false, "")] });
        assert_eq!((place(1), place(2)), (Place::Unknown, Place::Hidden));
        peers.hear(&notifier::Peers { all: true, peers: vec![peer(1, true, "10.0.0.8:7000")] });
        assert_eq!((place(1), place(2)), (at("10.0.0.8:7000"), Place::Unknown));
    }

    #[test]
    fn hosts_are_told_from_ports() {
        assert_eq!((host("127.0.0.1:10101"), host("[::1]:10101"), host("[::1]")), ("127.0.0.1", "[::1]", "[::1]"));
    }
}
