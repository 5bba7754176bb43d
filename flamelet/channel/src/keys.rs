//! Keys of one end on one channel and group.
//!
//! The group's key hides broadcasts from everybody outside; a pair's key, known to two ends and to the control plane
//! alone, seals what goes to one end and proves the sender of a broadcast to each of its receivers. So no member of a group can speak
//! for another one. What is used on the wire is derived from them for each direction and life.

use aws_lc_rs::hmac;
use flame_model::EndId;

use crate::config::Peer;
use crate::seal::Life;

/// A 256-bit secret.
pub type Key = [u8; 32];

/// What an end holds: the group's key and one key for each entry of the roster, in its order. The one for the end itself
/// tells it of its own newer attempts.
#[derive(Clone)]
pub struct ChannelKeys {
    /// Known to all of the group.
    pub group: Key,
    /// Known to this end and the other one.
    pub pairs: Vec<Key>,
}

impl std::fmt::Debug for ChannelKeys {
    /// Leaves the keys out: they must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelKeys").field("pairs", &self.pairs.len()).finish_non_exhaustive()
    }
}

impl ChannelKeys {
    /// The keys that `me` has where all ends trust each other with one secret, as within one process.
    pub fn of_secret(secret: &Key, me: &EndId, roster: &[Peer]) -> Self {
        let pair = |other: &EndId| {
            let (low, high) = if me <= other { (me, other) } else { (other, me) };
            mac(secret, &[b"flame pair", low.as_str().as_bytes(), high.as_str().as_bytes()])
        };
        Self { group: mac(secret, &[b"flame group"]), pairs: roster.iter().map(|peer| pair(&peer.id)).collect() }
    }
}

/// The key of what `from` seals under `base` in one life. The salt makes it fresh even where a clock was set back.
pub(crate) fn life_key(base: &Key, from: &EndId, life: Life, salt: [u8; 8]) -> Key {
    derived(b"flame-channel 4 seal", base, from, life, salt)
}

/// The key by which `from` proves its broadcasts to the other end of a pair, in one life.
pub(crate) fn proof_key(pair: &Key, from: &EndId, life: Life, salt: [u8; 8]) -> Key {
    derived(b"flame-channel 4 proof", pair, from, life, salt)
}

fn derived(purpose: &[u8], base: &Key, from: &EndId, life: Life, salt: [u8; 8]) -> Key {
    let from = from.as_str().as_bytes();
    mac(base, &[purpose, from, &life.incarnation.to_le_bytes(), &life.session.to_le_bytes(), &salt])
}

/// HMAC-SHA256 over the parts, each behind its length so that no two lists of parts read alike.
fn mac(key: &Key, parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    out
}
