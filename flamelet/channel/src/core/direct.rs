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
        let topic = self.topics.to(end, &self.me);
        self.push_control(topic, &Frame::Hello { commitment: self.commitment });
    }

    /// The connection to an end broke and did not come back.
    pub(crate) fn on_lost(&mut self, end: &EndId) {
        if let Some(&index) = self.by_id.get(end) {
            self.depart(index);
        }
    }
}
