//! What a transport that has a connection to each end says of one of them.
//!
//! It is this end's own transport that says it, of a stream whose other side has shown who it is; so no secret has to be
//! disclosed, as a broker's will must. Neither is a new life: an end that is lost comes back with its first frame.

use flame_model::EndId;

use super::{Core, Now};
use crate::frame::Frame;

impl Core {
    /// The connection to an end stands: what was on its way to it goes again, at once instead of when it is overdue, and
    /// the end hears that this one is here.
    pub(crate) fn on_reached(&mut self, now: Now, end: &EndId) {
        let Some(&index) = self.by_id.get(end) else { return };
        if self.left || self.fenced {
            return;
        }
        self.unsend(index);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.last_progress = now;
            peer.resend_after = self.limits.resend_after;
            // It may be asked at once: an earlier question went nowhere.
            peer.last_asked = None;
        }
        self.say_to(index, &Frame::Hello { commitment: self.commitment });
    }

    /// The connection to an end broke and did not come back.
    pub(crate) fn on_lost(&mut self, end: &EndId) {
        if let Some(&index) = self.by_id.get(end) {
            self.depart(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use flame_model::Message;
    use flame_model::wire::Encoding;

    use super::*;
    use crate::config::{ChannelConfig, ChannelLimits, Peer};
    use crate::core::Outbound;

    const NOW: Now = Now::from_millis(1);

    fn id(n: u8) -> EndId {
        EndId::new(&format!("{n:02x}{:038x}", 0)).unwrap()
    }

    fn core(me: u8) -> Core {
        let role = |n: u8| if n == 1 { "aggregator" } else { "trainer" }.to_owned();
        let roster: Vec<Peer> = [1, 2].map(|n| Peer { id: id(n), role: role(n), index: 0 }).into();
        let config = ChannelConfig {
            job: "job".into(),
            name: "param".into(),
            group: "default".into(),
            me: id(me),
            incarnation: 1,
            keys: crate::ChannelKeys::of_secret(&[3; 32], &id(me), &roster),
            roster,
            encoding: crate::ChannelEncoding::default(),
            limits: ChannelLimits::default(),
        };
        let mut core = Core::new(&config, u64::from(me), [me; 32], false).unwrap();
        core.on_link_up(NOW, 1 << 20);
        core
    }

    /// Carries what each has to say to the other, until neither has; how much that was.
    fn talk(a: &mut Core, b: &mut Core) -> usize {
        let mut packets = 0;
        loop {
            let before = packets;
            while let Some(packet) = a.poll_transmit(NOW) {
                b.on_packet(NOW, &packet.topic, &packet.payload, None);
                packets += 1;
            }
            while let Some(packet) = b.poll_transmit(NOW) {
                a.on_packet(NOW, &packet.topic, &packet.payload, None);
                packets += 1;
            }
            if packets == before {
                return packets;
            }
        }
    }

    #[test]
    fn what_was_on_its_way_when_a_connection_broke_goes_again_as_soon_as_it_stands() {
        let (mut a, mut b) = (core(1), core(2));
        talk(&mut a, &mut b);
        let message = Outbound::new(&Message::default(), Encoding::default(), false).unwrap();
        a.queue(NOW, &[0], &message, false).unwrap();
        assert!(a.poll_transmit(NOW).is_some(), "it is lost");
        assert!(a.poll_transmit(NOW).is_none());
        a.on_reached(NOW, &id(2));
        assert!(talk(&mut a, &mut b) > 0);
        assert!(b.take(NOW, &[]).is_some());
    }

    #[test]
    fn a_lost_end_is_gone_at_once_and_comes_back_when_it_is_reached() {
        let (mut a, mut b) = (core(1), core(2));
        talk(&mut a, &mut b);
        assert_eq!(a.ends(), [id(2)]);
        a.on_lost(&id(2));
        assert!(a.ends().is_empty() && a.is_gone(0));
        a.on_lost(&id(9));
        // The other side did not notice; its greeting is answered all the same.
        a.on_reached(NOW, &id(2));
        b.on_reached(NOW, &id(1));
        talk(&mut a, &mut b);
        assert_eq!((a.ends(), b.ends()), (vec![id(2)], vec![id(1)]));
    }
}
