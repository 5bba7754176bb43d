//! Sealing of frames: nobody without the group's key reads, makes or changes one.
//!
//! A sealed frame is a clear header (`version:u8 incarnation:u32 session:u64 counter:u64 salt:8 bytes`, little-endian)
//! and the XChaCha20-Poly1305 ciphertext with its tag. The nonce is session, counter and salt: the counter never repeats
//! within a session, sessions differ by start time and random salt. Header and topic are the associated data, so a frame
//! cannot be moved to another topic, end, group, channel or job.

use bytes::Bytes;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

use crate::error::ChannelError;

/// Bytes of the clear header.
pub(crate) const HEADER: usize = 1 + 4 + 8 + 8 + 8;
/// Bytes of the authentication tag.
pub(crate) const TAG: usize = 16;
const VERSION: u8 = 1;

/// One life of one end: attempts first, then the start of the session within an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life {
    pub(crate) incarnation: u32,
    pub(crate) session: u64,
}

/// Seals this end's frames and opens those of others.
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    life: Life,
    salt: [u8; 8],
    counter: u64,
}

/// An opened frame.
pub(crate) struct Opened {
    pub(crate) life: Life,
    pub(crate) counter: u64,
    /// The frame is at `HEADER..`.
    bytes: Vec<u8>,
}

impl Opened {
    pub(crate) fn plain(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32], life: Life) -> Result<Self, ChannelError> {
        let mut salt = [0; 8];
        getrandom::fill(&mut salt)
            .map_err(|error| ChannelError::Internal(format!("the system gives no random bytes: {error}")))?;
        Ok(Self { cipher: XChaCha20Poly1305::new(key.into()), life, salt, counter: 0 })
    }

    /// Seals what `write` appends, for `topic`. `room` is a guess of its length.
    pub(crate) fn seal(
        &mut self,
        topic: &str,
        room: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Bytes, ChannelError> {
        self.counter += 1;
        let mut out = Vec::with_capacity(HEADER + room + TAG);
        out.push(VERSION);
        out.extend_from_slice(&self.life.incarnation.to_le_bytes());
        out.extend_from_slice(&self.life.session.to_le_bytes());
        out.extend_from_slice(&self.counter.to_le_bytes());
        out.extend_from_slice(&self.salt);
        write(&mut out);
        let (header, body) = out.split_at_mut(HEADER);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce(header), &associated(header, topic), body.into())
            .map_err(|_| ChannelError::Internal("a frame was too large to seal".into()))?;
        out.extend_from_slice(&tag);
        Ok(out.into())
    }

    /// Opens a packet that came on `topic`; `None` when it is not a frame of this group, sender and topic.
    pub(crate) fn open(&self, topic: &str, packet: &[u8]) -> Option<Opened> {
        if packet.len() < HEADER + TAG || packet.first() != Some(&VERSION) {
            return None;
        }
        let (sealed, tag) = packet.split_at(packet.len() - TAG);
        let tag = Tag::try_from(tag).ok()?;
        let mut bytes = sealed.to_vec();
        let (header, body) = bytes.split_at_mut(HEADER);
        self.cipher.decrypt_inout_detached(&nonce(header), &associated(header, topic), body.into(), &tag).ok()?;
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let incarnation = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
        let life = Life { incarnation, session: word(5)? };
        Some(Opened { life, counter: word(13)?, bytes })
    }
}

fn nonce(header: &[u8]) -> XNonce {
    let mut nonce = XNonce::default();
    for (to, from) in nonce.iter_mut().zip(header.iter().skip(5)) {
        *to = *from;
    }
    nonce
}

fn associated(header: &[u8], topic: &str) -> Vec<u8> {
    [header, topic.as_bytes()].concat()
}

/// Which counters of a session were seen: everything more than the window behind the highest counts as seen.
#[derive(Debug, Clone)]
pub(crate) struct ReplayWindow {
    highest: u64,
    bits: Vec<u64>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { highest: 0, bits: vec![0; Self::WORDS] }
    }
}

impl ReplayWindow {
    const WORDS: usize = 64;
    /// How far behind the highest a counter may lag.
    const SPAN: u64 = 64 * Self::WORDS as u64;

    /// Whether `counter` comes for the first time; remembers it.
    pub(crate) fn admit(&mut self, counter: u64) -> bool {
        if counter > self.highest {
            if counter - self.highest >= Self::SPAN {
                self.bits.fill(0);
            } else {
                for skipped in self.highest + 1..counter {
                    self.set(skipped, false);
                }
            }
            self.highest = counter;
            self.set(counter, true);
            return true;
        }
        if self.highest - counter >= Self::SPAN || self.get(counter) {
            return false;
        }
        self.set(counter, true);
        true
    }

    fn place(counter: u64) -> (usize, u64) {
        let bit = counter % Self::SPAN;
        (usize::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64))
    }

    fn get(&self, counter: u64) -> bool {
        let (word, mask) = Self::place(counter);
        self.bits.get(word).is_some_and(|bits| bits & mask != 0)
    }

    fn set(&mut self, counter: u64, seen: bool) {
        let (word, mask) = Self::place(counter);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits = if seen { *bits | mask } else { *bits & !mask };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&[key; 32], Life { incarnation: 2, session: 77 }).unwrap()
    }

    #[test]
    fn a_frame_opens_on_its_topic_under_its_key_and_nowhere_else() {
        let mut ours = sealer(1);
        let packet = ours.seal("a/b", 5, |out| out.extend_from_slice(b"hello")).unwrap();
        let opened = ours.open("a/b", &packet).unwrap();
        assert_eq!(opened.plain(), b"hello");
        assert_eq!((opened.life, opened.counter), (Life { incarnation: 2, session: 77 }, 1));
        assert!(ours.open("a/c", &packet).is_none());
        assert!(sealer(2).open("a/b", &packet).is_none());
        for at in 0..packet.len() {
            let mut bent = packet.to_vec();
            bent[at] ^= 1;
            assert!(ours.open("a/b", &bent).is_none(), "byte {at}");
            assert!(ours.open("a/b", &packet[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_alike_twice() {
        let mut ours = sealer(1);
        let one = ours.seal("t", 1, |out| out.push(1)).unwrap();
        let two = ours.seal("t", 1, |out| out.push(1)).unwrap();
        assert_ne!(one, two);
        assert_ne!(one[5..HEADER], two[5..HEADER]);
    }

    proptest! {
        #[test]
        fn a_counter_is_admitted_once(counters in prop::collection::vec(1_u64..9000, 0..300)) {
            let mut window = ReplayWindow::default();
            let mut seen = std::collections::HashSet::new();
            let mut highest = 0;
            for counter in counters {
                let lagging = highest >= counter + ReplayWindow::SPAN;
                prop_assert_eq!(window.admit(counter), !lagging && !seen.contains(&counter));
                if !lagging { seen.insert(counter); }
                highest = highest.max(counter);
            }
        }
    }
}
