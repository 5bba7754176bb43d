//! Where peers are reached: what an agent says of itself, and what is told to the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use flame_api::AgentId;
use flame_api::notifier::{Peer, Peers};
use tonic::Status;

use super::sessions::Reach;

/// Longest `host:port`: a DNS name has 253 characters.
const MAX_ADDRESS: usize = 260;
/// Peers that one message names: well below what a message may hold.
const BATCH: usize = 1000;

/// What an agent's address means. `from`: where its session comes from.
pub(super) fn reach(address: &str, from: Option<IpAddr>) -> Result<Reach, Status> {
    if address.is_empty() {
        return Ok(Reach::Hidden);
    }
    if let Ok(socket) = address.parse::<SocketAddr>()
        && socket.ip().is_unspecified()
    {
        // Whoever is on this machine is where we are: only the readers know under what name.
        let ip = from.map(|ip| ip.to_canonical()).filter(|ip| !ip.is_loopback()).unwrap_or(socket.ip());
        return checked(&SocketAddr::new(ip, socket.port()).to_string());
    }
    checked(address)
}

/// A host and a port, and nothing that could be more than that.
fn checked(address: &str) -> Result<Reach, Status> {
    let host_and_port = address.rsplit_once(':').filter(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).map_or(*host, |ip| ip);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if address.len() > MAX_ADDRESS || host_and_port.is_none() {
        let shown: String = address.chars().take(MAX_ADDRESS).collect();
        return Err(Status::invalid_argument(format!(
            "`{}` is no address for peers; set --p2p-advertise HOST:PORT",
            shown.escape_debug()
        )));
    }
    Ok(Reach::At(address.to_owned()))
}

/// What an agent was told of its peers.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Its peers, once it has asked for them.
    pub(super) of: Option<Arc<[AgentId]>>,
    known: Option<BTreeMap<AgentId, Reach>>,
}

impl Told {
    /// What to tell it, now that its peers are where `now` says: all at first, and changes from then on.
    pub(super) fn news(&mut self, now: BTreeMap<AgentId, Reach>) -> Vec<Peers> {
        let first = self.known.is_none();
        let before = self.known.take().unwrap_or_default();
        let gone = before.keys().filter(|agent| !now.contains_key(*agent));
        let gone = gone.map(|agent| Peer { end: agent.to_string(), here: false, address: String::new() });
        let here = now.iter().filter(|(agent, reach)| before.get(*agent) != Some(*reach));
        let here = here.map(|(agent, reach)| Peer {
            end: agent.to_string(),
            here: true,
            address: match reach {
                Reach::Hidden => String::new(),
                Reach::At(address) => address.clone(),
            },
        });
        let changed: Vec<Peer> = gone.chain(here).collect();
        let mut messages: Vec<Peers> =
            changed.chunks(BATCH).map(|batch| Peers { all: false, peers: batch.to_vec() }).collect();
        if first {
            // Also where there is nobody: it is an answer.
            match messages.first_mut() {
                Some(message) => message.all = true,
                None => messages.push(Peers { all: true, peers: Vec::new() }),
            }
        }
        self.known = Some(now);
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(n: u8) -> AgentId {
        format!("{n:040x}").parse().unwrap()
    }

    fn at(address: &str) -> Reach {
        Reach::At(address.into())
    }

    #[test]
    fn an_agent_without_a_host_is_where_its_session_comes_from() {
        let from = |ip: &str| Some(ip.parse().unwrap());
        assert_eq!(reach("0.0.0.0:7000", from("10.1.2.3")).unwrap(), at("10.1.2.3:7000"));
        assert_eq!(reach("0.0.0.0:7000", from("::ffff:10.1.2.3")).unwrap(), at("10.1.2.3:7000"));
        assert_eq!(reach("[::]:7000", from("fd00::1")).unwrap(), at("[fd00::1]:7000"));
        assert_eq!(reach("0.0.0.0:7000", from("127.0.0.1")).unwrap(), at("0.0.0.0:7000"), "on this machine");
        assert_eq!(reach("node-1.example:7000", from("10.1.2.3")).unwrap(), at("node-1.example:7000"));
        assert_eq!(reach("", from("10.1.2.3")).unwrap(), Reach::Hidden);
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_flag() {
        for wrong in ["host", "host:0", ":7000", "host:70000", "http://host:7000", "user@host:1", "h\nost:1", "a b:1"] {
            let refused = reach(wrong, None).unwrap_err();
            assert!(refused.message().contains("--p2p-advertise HOST:PORT"), "{wrong}");
            assert!(!refused.message().contains('\n'));
        }
        assert!(reach(&format!("{}:1", "h".repeat(300)), None).is_err());
    }

    #[test]
    fn all_is_told_once_and_changes_from_then_on() {
        let mut told = Told::default();
        assert_eq!(told.news(BTreeMap::new()), [Peers { all: true, peers: Vec::new() }]);
        let peer = |n: u8, here, address: &str| Peer { end: agent(n).to_string(), here, address: address.into() };
        let both = BTreeMap::from([(agent(1), at("a:1")), (agent(2), Reach::Hidden)]);
        let expected = Peers { all: false, peers: vec![peer(1, true, "a:1"), peer(2, true, "")] };
        assert_eq!(told.news(both.clone()), [expected]);
        assert_eq!(told.news(both), []);
        let moved = BTreeMap::from([(agent(2), at("b:2"))]);
        let expected = Peers { all: false, peers: vec![peer(1, false, ""), peer(2, true, "b:2")] };
        assert_eq!(told.news(moved), [expected]);
    }

    #[test]
    fn many_peers_are_told_in_several_messages_of_which_the_first_says_all() {
        let many = (0..1750).map(|n| (format!("{n:040x}").parse().unwrap(), Reach::Hidden));
        let news = Told::default().news(many.collect());
        let shape: Vec<_> = news.iter().map(|message| (message.all, message.peers.len())).collect();
        assert_eq!(shape, [(true, 1000), (false, 750)]);
    }
}
