//! Sealing of frames: nobody outside the group reads one, and nobody but its sender makes or changes one.
//!
//! A packet is a clear header, a sealed head (the frame) and, behind chunks, a sealed body that is opened straight into
//! the message's buffer. Both parts are AEGIS-256X2 with the packet's counter as the nonce and header and topic as associated data, so
//! nothing can be moved to another topic, end, group, channel or job, and the header tells whether there is a body, so that it cannot
//! be cut off. What goes to one end is sealed under the key of the pair. A broadcast is sealed under the group's key, which does not tell who of the group made it; so it carries
//! a proof for each receiver: a MAC over all of it under the key of the pair. The tag of the seal would
//! not do: whoever has the group's key can make another body with the same one.
//!
//! The proofs take the sender a pass over the body for each receiver: a sixth of what it takes a broker to send it there.

use std::borrow::Cow;

use bytes::Bytes;
use flame_model::EndId;

use crate::cipher::{Nonce, Part, TAG, is_mac, mac, open, seal};
use crate::error::ChannelError;
use crate::keys::{Key, life_key, proof_key};

/// Bytes of the clear header: version, life, counter, salt, length of the head.
pub(crate) const HEADER: usize = 1 + 4 + 8 + 8 + 8 + 4;
/// Bytes that each receiver's proof takes in a broadcast.
pub(crate) const PROOF: usize = 8 + TAG;
/// Bytes around the frame and the body of a broadcast with `proofs`, or of a packet to one end.
pub(crate) const fn overhead(proofs: usize) -> usize {
    HEADER + 2 + proofs * PROOF + TAG + TAG
}
/// Of packets.
pub(crate) const VERSION: u8 = 4;
const HEAD_LEN: usize = HEADER - 4;
/// In the length of the head: a body follows.
const HAS_BODY: u32 = 1 << 31;

/// One life of one end: attempts first, then the start of the session within an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life {
    pub(crate) incarnation: u32,
    pub(crate) session: u64,
}

/// First eight bytes of an id; names an end within a roster.
pub(crate) fn short(id: &EndId) -> u64 {
    id.as_str().get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// Seals this end's frames and opens those of others. Others go by their position.
pub(crate) struct Sealer {
    me: u64,
    life: Life,
    salt: [u8; 8],
    counter: u64,
    group: Key,
    sending: Key,
    pairs: Vec<Pair>,
}

struct Pair {
    end: EndId,
    short: u64,
    key: Key,
    sending: Key,
    /// Proves our broadcasts to it.
    proving: Key,
    /// What it last sealed under the pair's key, and under the group's.
    receiving: [Option<Receiving>; 2],
}

#[derive(Clone, Copy)]
struct Receiving {
    life: Life,
    salt: [u8; 8],
    key: Key,
    /// Proves its broadcasts to us; they alone have proofs.
    proving: Option<Key>,
}

/// What a packet turns out to be.
pub(crate) enum Opening<'a> {
    /// Not of this group, sender and topic, or damaged.
    Forged,
    /// It says that it is of this other version of the packets, which nothing proves.
    OtherVersion(u8),
    /// A broadcast that holds no proof for this end.
    ForOthers,
    Opened(Opened<'a>),
}

/// An opened frame of a proven sender.
pub(crate) struct Opened<'a> {
    pub(crate) life: Life,
    pub(crate) counter: u64,
    head: Vec<u8>,
    start: usize,
    pub(crate) body: SealedBody<'a>,
}

impl Opened<'_> {
    /// The frame.
    pub(crate) fn frame(&self) -> &[u8] {
        self.head.get(self.start..).unwrap_or_default()
    }
}

/// The bytes of a chunk, still sealed.
pub(crate) struct SealedBody<'a> {
    key: Key,
    counter: u64,
    associated: Vec<u8>,
    sealed: Cow<'a, [u8]>,
}

#[cfg(test)]
impl SealedBody<'static> {
    /// A body that opens to `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let (key, counter) = ([0; 32], 1);
        let mut sealed = bytes.to_vec();
        if !bytes.is_empty() {
            let tag = seal(&key, Nonce::new(counter, Part::Body), &[], &mut sealed);
            sealed.extend_from_slice(&tag);
        }
        Self { key, counter, associated: Vec::new(), sealed: sealed.into() }
    }
}

impl SealedBody<'_> {
    /// Bytes that it opens to.
    pub(crate) fn len(&self) -> usize {
        self.sealed.len().saturating_sub(TAG)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens it into `out`, which has its length. What `out` holds after a failure is worth nothing.
    pub(crate) fn open_into(&self, out: &mut [u8]) -> bool {
        let Some((text, tag)) = self.sealed.split_last_chunk::<TAG>() else { return out.is_empty() };
        open(&self.key, Nonce::new(self.counter, Part::Body), &self.associated, text, tag, out)
    }
}

impl Sealer {
    /// `others` are the ends that this one talks to, with the keys of the pairs, by position.
    pub(crate) fn new(
        me: &EndId,
        life: Life,
        group: Key,
        others: impl IntoIterator<Item = (EndId, Key)>,
    ) -> Result<Self, ChannelError> {
        let mut salt = [0; 8];
        getrandom::fill(&mut salt)
            .map_err(|error| ChannelError::Internal(format!("the system gives no random bytes: {error}")))?;
        let pair = |(end, key): (EndId, Key)| Pair {
            short: short(&end),
            sending: life_key(&key, me, life, salt),
            proving: proof_key(&key, me, life, salt),
            receiving: [None, None],
            end,
            key,
        };
        let pairs = others.into_iter().map(pair).collect();
        let sending = life_key(&group, me, life, salt);
        Ok(Self { me: short(me), life, salt, counter: 0, group, sending, pairs })
    }

    /// Seals a frame and a body of `len` bytes, which `body` appends, for the end at `to` alone.
    pub(crate) fn seal_to(
        &mut self,
        topic: &str,
        to: usize,
        frame: impl FnOnce(&mut Vec<u8>),
        len: usize,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Bytes, ChannelError> {
        let mut out = self.begin(len + 256);
        frame(&mut out);
        let pair = self.pairs.get(to).ok_or_else(|| ChannelError::Internal("no key for an end".into()))?;
        let mut draft = Draft::new(out, topic, self.counter, len)?;
        draft.body(&pair.sending, len, body);
        Ok(draft.finish(&pair.sending))
    }

    /// Seals a frame and a body of `len` bytes, which `body` appends, for the group, proven to the ends at `to`.
    pub(crate) fn seal_all(
        &mut self,
        topic: &str,
        to: &[usize],
        frame: impl FnOnce(&mut Vec<u8>),
        len: usize,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Bytes, ChannelError> {
        let table = 2 + to.len() * PROOF;
        let mut out = self.begin(len + table + 256);
        out.resize(HEADER + table, 0);
        frame(&mut out);
        let mut draft = Draft::new(out, topic, self.counter, len)?;
        draft.body(&self.sending, len, body);
        let proven = draft.proven(HEADER + table);
        let mut written = u16::try_from(to.len()).map_err(|_| too_large())?.to_le_bytes().to_vec();
        for pair in to.iter().filter_map(|&to| self.pairs.get(to)) {
            written.extend_from_slice(&pair.short.to_le_bytes());
            written.extend_from_slice(&mac(&pair.proving, Nonce::new(self.counter, Part::Proof), &proven));
        }
        draft.put(HEADER, &written);
        Ok(draft.finish(&self.sending))
    }

    /// A header for the next packet; the head's length is filled in later.
    fn begin(&mut self, room: usize) -> Vec<u8> {
        self.counter += 1;
        let mut out = Vec::with_capacity(HEADER + room + TAG + TAG);
        out.push(VERSION);
        out.extend_from_slice(&self.life.incarnation.to_le_bytes());
        out.extend_from_slice(&self.life.session.to_le_bytes());
        out.extend_from_slice(&self.counter.to_le_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&[0; 4]);
        out
    }

    /// Opens what came from the end at `from` on `topic`.
    pub(crate) fn open<'a>(&mut self, topic: &str, from: usize, to_all: bool, packet: &'a [u8]) -> Opening<'a> {
        match packet.first() {
            Some(&version) if version != VERSION => Opening::OtherVersion(version),
            _ => self.try_open(topic, from, to_all, packet).unwrap_or(Opening::Forged),
        }
    }

    fn try_open<'a>(&mut self, topic: &str, from: usize, to_all: bool, packet: &'a [u8]) -> Option<Opening<'a>> {
        let (header, rest) = packet.split_first_chunk::<HEADER>()?;
        let Header { life, counter, salt, head_len, has_body } = Header::read(header)?;
        let head_end = usize::try_from(head_len).ok()?.checked_add(TAG)?;
        let (sealed, body) = rest.split_at_checked(head_end)?;
        let is_whole = if has_body { body.len() > TAG } else { body.is_empty() };
        if !is_whole {
            return None;
        }
        let pair = self.pairs.get_mut(from)?;
        let base = if to_all { &self.group } else { &pair.key };
        let slot = pair.receiving.get_mut(usize::from(to_all))?;
        let known = slot.filter(|known| known.life == life && known.salt == salt);
        let receiving = known.unwrap_or_else(|| Receiving {
            life,
            salt,
            key: life_key(base, &pair.end, life, salt),
            proving: to_all.then(|| proof_key(&pair.key, &pair.end, life, salt)),
        });
        let associated = associated(header, topic);
        let (text, tag) = sealed.split_last_chunk()?;
        let mut head = vec![0; text.len()];
        if !open(&receiving.key, Nonce::new(counter, Part::Head), &associated, text, tag, &mut head) {
            return None;
        }
        let mut start = 0;
        if let Some(proving) = &receiving.proving {
            let count = usize::from(u16::from_le_bytes(*head.first_chunk()?));
            start = 2 + count * PROOF;
            let table = head.get(2..start)?;
            let mine = |entry: &&[u8]| entry.starts_with(&self.me.to_le_bytes());
            let Some(mine) = table.chunks_exact(PROOF).find(mine) else { return Some(Opening::ForOthers) };
            let proven = [&associated, head.get(start..)?, body];
            if !is_mac(proving, Nonce::new(counter, Part::Proof), &proven, mine.last_chunk()?) {
                return None;
            }
        }
        // Only what its sender made may take the place of the keys in use.
        *slot = Some(receiving);
        let body = SealedBody { key: receiving.key, counter, associated, sealed: Cow::Borrowed(body) };
        Some(Opening::Opened(Opened { life, counter, head, start, body }))
    }
}

/// A packet that is being made.
struct Draft {
    out: Vec<u8>,
    head_end: usize,
    counter: u64,
    associated: Vec<u8>,
}

impl Draft {
    /// `out` holds the header and the head in clear; a body of `body` bytes follows.
    fn new(mut out: Vec<u8>, topic: &str, counter: u64, body: usize) -> Result<Self, ChannelError> {
        let head_end = out.len();
        let len = u32::try_from(head_end - HEADER).ok().filter(|len| len & HAS_BODY == 0).ok_or_else(too_large)?;
        let len = if body == 0 { len } else { len | HAS_BODY };
        if let Some(field) = out.get_mut(HEAD_LEN..HEADER) {
            field.copy_from_slice(&len.to_le_bytes());
        }
        let associated = associated(out.get(..HEADER).unwrap_or_default(), topic);
        out.resize(head_end + TAG, 0);
        Ok(Self { out, head_end, counter, associated })
    }

    fn body(&mut self, key: &Key, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if len == 0 {
            return;
        }
        let start = self.out.len();
        write(&mut self.out);
        let body = self.out.get_mut(start..).unwrap_or_default();
        let tag = seal(key, Nonce::new(self.counter, Part::Body), &self.associated, body);
        self.out.extend_from_slice(&tag);
    }

    /// What the proofs of a broadcast are over; the frame begins at `frame`.
    fn proven(&self, frame: usize) -> [&[u8]; 3] {
        let part = |range| self.out.get(range).unwrap_or_default();
        [&self.associated, part(frame..self.head_end), part(self.head_end + TAG..self.out.len())]
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn finish(mut self, key: &Key) -> Bytes {
        let head = self.out.get_mut(HEADER..self.head_end).unwrap_or_default();
        let tag = seal(key, Nonce::new(self.counter, Part::Head), &self.associated, head);
        self.put(self.head_end, &tag);
        self.out.into()
    }
}

struct Header {
    life: Life,
    counter: u64,
    salt: [u8; 8],
    head_len: u32,
    has_body: bool,
}

impl Header {
    fn read(header: &[u8; HEADER]) -> Option<Self> {
        let (_, rest) = header.split_first()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let life = Life { incarnation: u32::from_le_bytes(*incarnation), session: u64::from_le_bytes(*session) };
        let len = u32::from_le_bytes(*rest.first_chunk()?);
        let (head_len, has_body) = (len & !HAS_BODY, len & HAS_BODY != 0);
        Some(Self { life, counter: u64::from_le_bytes(*counter), salt: *salt, head_len, has_body })
    }
}

fn associated(header: &[u8], topic: &str) -> Vec<u8> {
    [header, topic.as_bytes()].concat()
}

fn too_large() -> ChannelError {
    ChannelError::Internal("a frame was too large to seal".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EndId {
        EndId::new(&format!("{n:02x}{:038x}", 0)).unwrap()
    }

    /// An end that holds the group's key and one key for each of `others`.
    fn sealer(me: u8, others: &[(u8, u8)]) -> Sealer {
        let others = others.iter().map(|&(other, key)| (id(other), [key; 32]));
        Sealer::new(&id(me), Life { incarnation: 2, session: 77 }, [9; 32], others).unwrap()
    }

    fn opened(opening: Opening<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
        let Opening::Opened(opened) = opening else { return None };
        assert_eq!(opened.life, Life { incarnation: 2, session: 77 });
        let mut body = vec![0; opened.body.len()];
        opened.body.open_into(&mut body).then(|| (opened.frame().to_vec(), body))
    }

    #[test]
    fn a_packet_opens_at_its_addressee_on_its_topic_and_nowhere_else() {
        let mut a = sealer(1, &[(2, 12), (3, 13)]);
        let mut b = sealer(2, &[(1, 12), (3, 23)]);
        let mut c = sealer(3, &[(1, 13), (2, 23)]);
        let hello = |out: &mut Vec<u8>| out.extend_from_slice(b"hello");
        let packet = a.seal_to("a/b", 0, hello, 4, |out| out.extend_from_slice(b"body")).unwrap();
        assert_eq!(opened(b.open("a/b", 0, false, &packet)), Some((b"hello".to_vec(), b"body".to_vec())));
        assert!(opened(b.open("a/c", 0, false, &packet)).is_none(), "another topic");
        assert!(opened(b.open("a/b", 1, false, &packet)).is_none(), "another sender");
        assert!(opened(b.open("a/b", 0, true, &packet)).is_none(), "as a broadcast");
        assert!(opened(c.open("a/b", 0, false, &packet)).is_none(), "another end");
        let longer = [&packet[..], &[0; TAG + 1]].concat();
        assert!(opened(b.open("a/b", 0, false, &longer)).is_none(), "something behind it");
        let older = [&[VERSION - 1], &packet[1..]].concat();
        assert!(matches!(b.open("a/b", 0, false, &older), Opening::OtherVersion(version) if version == VERSION - 1));
        for at in 0..packet.len() {
            let mut bent = packet.to_vec();
            bent[at] ^= 1;
            assert!(opened(b.open("a/b", 0, false, &bent)).is_none(), "byte {at}");
            assert!(opened(b.open("a/b", 0, false, &packet[..at])).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_broadcast_opens_at_all_that_it_is_proven_to_and_no_member_can_make_it_for_another() {
        let mut a = sealer(1, &[(2, 12), (3, 13), (4, 14)]);
        let mut b = sealer(2, &[(1, 12), (3, 23)]);
        let mut c = sealer(3, &[(1, 13), (2, 23)]);
        let mut d = sealer(4, &[(1, 14)]);
        let packet = a.seal_all("all/a", &[0, 1], |out| out.push(7), 3, |out| out.extend_from_slice(&[5; 3])).unwrap();
        for other in [&mut b, &mut c] {
            assert_eq!(opened(other.open("all/a", 0, true, &packet)), Some((vec![7], vec![5; 3])));
        }
        assert!(matches!(d.open("all/a", 0, true, &packet), Opening::ForOthers));
        // b knows the group's key and speaks as a: without the key of a and c there is no proof for c.
        let mut other_member = sealer(1, &[(3, 12)]);
        let forged =
            other_member.seal_all("all/a", &[0], |out| out.push(7), 3, |out| out.extend_from_slice(&[6; 3])).unwrap();
        assert!(matches!(c.open("all/a", 0, true, &forged), Opening::Forged));
        for at in 0..packet.len() {
            let mut bent = packet.to_vec();
            bent[at] ^= 1;
            assert!(opened(b.open("all/a", 0, true, &bent)).is_none(), "byte {at}");
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_alike_twice() {
        let mut ours = sealer(1, &[(2, 12)]);
        let one = ours.seal_to("t", 0, |out| out.push(1), 0, |_| {}).unwrap();
        let two = ours.seal_to("t", 0, |out| out.push(1), 0, |_| {}).unwrap();
        assert_ne!(one[HEADER..], two[HEADER..]);
        let mut again = sealer(1, &[(2, 12)]);
        assert_ne!(again.seal_to("t", 0, |out| out.push(1), 0, |_| {}).unwrap()[HEADER..], one[HEADER..]);
    }
}
