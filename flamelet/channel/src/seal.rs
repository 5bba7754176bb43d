//! Sealing of frames: nobody outside the group reads one, and nobody but its sender makes or changes one.
//!
//! A packet is a clear header, a sealed head (the frame) and, behind chunks, a sealed body that is opened straight into
//! the message's buffer. Both parts are AES-256-GCM with the packet's counter as the nonce and header and topic as associated data, so
//! nothing can be moved to another topic, end, group, channel or job. What goes to one end is sealed under the key
//! of the pair. A broadcast is sealed under the group's key, which does not tell who of the group made it; so it carries
//! a proof for each receiver: a MAC under the key of the pair over a BLAKE3 digest of all of it. The tag of the seal would
//! not do: whoever has the group's key can make another body with the same one.
//!
//! To a few receivers the digest is not over the body but over a tag of it (AES-256-GMAC) under a key of the pair. That takes
//! the sender a pass for each of them, and all receivers together a fifth of the time; a hash of the body takes the
//! sender one, however many there are.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use blake3::Hash;
use bytes::Bytes;
use flame_model::EndId;
use subtle::ConstantTimeEq as _;

use crate::error::ChannelError;
use crate::keys::{Key, life_key, proof, proof_key, tag_key};

/// Bytes of the clear header: version, life, counter, salt, length of the head.
pub(crate) const HEADER: usize = 1 + 4 + 8 + 8 + 8 + 4;
/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;
/// Bytes that each receiver's proof takes in a broadcast.
pub(crate) const PROOF: usize = 8 + 16;
/// Bytes around the frame and the body of a broadcast with `proofs`, or of a packet to one end.
pub(crate) const fn overhead(proofs: usize) -> usize {
    HEADER + 2 + proofs * PROOF + TAG + TAG
}
const VERSION: u8 = 3;
/// Receivers up to whom bodies are tagged for each of them.
const FEW: usize = 16;
const HEAD_LEN: usize = HEADER - 4;

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
    sending: LessSafeKey,
    pairs: Vec<Pair>,
}

struct Pair {
    end: EndId,
    short: u64,
    key: Key,
    sending: LessSafeKey,
    /// Tags our bodies for it.
    tagging: LessSafeKey,
    /// Proves our broadcasts to it.
    ours: Key,
    /// Proves its broadcasts to us.
    theirs: Key,
    /// What it last sealed under the pair's key, and under the group's.
    receiving: [Option<Receiving>; 2],
}

struct Receiving {
    life: Life,
    salt: [u8; 8],
    key: Arc<LessSafeKey>,
    /// Tags its bodies for us; of broadcasts only.
    tagging: Option<Arc<LessSafeKey>>,
}

/// What a packet turns out to be.
pub(crate) enum Opening<'a> {
    /// Not of this group, sender and topic, or damaged.
    Forged,
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
    key: Arc<LessSafeKey>,
    counter: u64,
    associated: Vec<u8>,
    sealed: Cow<'a, [u8]>,
}

#[cfg(test)]
impl SealedBody<'static> {
    /// A body that opens to `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let life = Life { incarnation: 1, session: 1 };
        let key = Arc::new(life_key(&[0; 32], &EndId::new(&"0".repeat(40)).unwrap(), life, [0; 8]).unwrap());
        let mut sealed = bytes.to_vec();
        if !bytes.is_empty() {
            key.seal_in_place_append_tag(nonce(1, Part::Body), Aad::from(Vec::new()), &mut sealed).unwrap();
        }
        Self { key, counter: 1, associated: Vec::new(), sealed: sealed.into() }
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
        if text.len() != out.len() {
            return false;
        }
        let nonce = nonce(self.counter, Part::Body);
        self.key.open_separate_gather(nonce, Aad::from(&self.associated), text, tag, out).is_ok()
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
        let sending = |key: &Key| {
            life_key(key, me, life, salt).ok_or_else(|| ChannelError::Internal("AES-256-GCM refuses a key".into()))
        };
        let tagging = |key: &Key| {
            tag_key(key, me, life, salt).ok_or_else(|| ChannelError::Internal("AES-256-GCM refuses a key".into()))
        };
        let pair = |(end, key): (EndId, Key)| {
            Ok(Pair {
                short: short(&end),
                sending: sending(&key)?,
                tagging: tagging(&key)?,
                ours: proof_key(&key, me),
                theirs: proof_key(&key, &end),
                receiving: [None, None],
                end,
                key,
            })
        };
        let pairs = others.into_iter().map(pair).collect::<Result<_, ChannelError>>()?;
        Ok(Self { me: short(me), life, salt, counter: 0, sending: sending(&group)?, group, pairs })
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
        let mut draft = Draft::new(out, topic, self.counter)?;
        draft.body(&pair.sending, len, body)?;
        draft.finish(&pair.sending)
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
        let mut draft = Draft::new(out, topic, self.counter)?;
        draft.body(&self.sending, len, body)?;
        let pairs = to.iter().filter_map(|&to| self.pairs.get(to));
        let mut written = u16::try_from(to.len()).map_err(|_| too_large())?.to_le_bytes().to_vec();
        let whole = (!is_tagged(to.len(), len)).then(|| draft.digest(HEADER + table, None));
        for pair in pairs {
            let digest = whole.unwrap_or_else(|| draft.digest(HEADER + table, Some(&pair.tagging)));
            written.extend_from_slice(&pair.short.to_le_bytes());
            written.extend_from_slice(&proof(&pair.ours, &digest));
        }
        draft.put(HEADER, &written);
        draft.finish(&self.sending)
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
        self.try_open(topic, from, to_all, packet).unwrap_or(Opening::Forged)
    }

    fn try_open<'a>(&mut self, topic: &str, from: usize, to_all: bool, packet: &'a [u8]) -> Option<Opening<'a>> {
        let (header, rest) = packet.split_first_chunk::<HEADER>()?;
        let Header { life, counter, salt, head_len } = Header::read(header)?;
        let head_end = usize::try_from(head_len).ok()?.checked_add(TAG)?;
        let (sealed, body) = rest.split_at_checked(head_end)?;
        if !body.is_empty() && body.len() <= TAG {
            return None;
        }
        let pair = self.pairs.get_mut(from)?;
        let base = if to_all { &self.group } else { &pair.key };
        let slot = pair.receiving.get_mut(usize::from(to_all))?;
        let known = slot.as_ref().filter(|known| known.life == life && known.salt == salt);
        let (key, tagging, fresh) = if let Some(known) = known {
            (Arc::clone(&known.key), known.tagging.clone(), false)
        } else {
            let tagging = if to_all { Some(Arc::new(tag_key(&pair.key, &pair.end, life, salt)?)) } else { None };
            (Arc::new(life_key(base, &pair.end, life, salt)?), tagging, true)
        };
        let associated = associated(header, topic);
        let mut head = sealed.to_vec();
        key.open_in_place(nonce(counter, Part::Head), Aad::from(&associated), &mut head).ok()?;
        head.truncate(head.len() - TAG);
        if fresh {
            // Only what opens may take the place of the key in use.
            *slot = Some(Receiving { life, salt, key: Arc::clone(&key), tagging: tagging.clone() });
        }
        let mut start = 0;
        if to_all {
            let count = usize::from(u16::from_le_bytes(*head.first_chunk()?));
            start = 2 + count * PROOF;
            let table = head.get(2..start)?;
            let mine = |entry: &&[u8]| entry.starts_with(&self.me.to_le_bytes());
            let Some(mine) = table.chunks_exact(PROOF).find(mine) else { return Some(Opening::ForOthers) };
            let tagging = tagging.as_deref().filter(|_| is_tagged(count, body.len()));
            let digest = digest(&associated, head.get(start..)?, body, tagging, counter);
            if !bool::from(proof(&pair.theirs, &digest).as_slice().ct_eq(mine.get(8..)?)) {
                return None;
            }
        }
        let body = SealedBody { key, counter, associated, sealed: Cow::Borrowed(body) };
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
    /// `out` holds the header and the head in clear.
    fn new(mut out: Vec<u8>, topic: &str, counter: u64) -> Result<Self, ChannelError> {
        let head_end = out.len();
        let len = u32::try_from(head_end - HEADER).map_err(|_| too_large())?;
        if let Some(field) = out.get_mut(HEAD_LEN..HEADER) {
            field.copy_from_slice(&len.to_le_bytes());
        }
        let associated = associated(out.get(..HEADER).unwrap_or_default(), topic);
        out.resize(head_end + TAG, 0);
        Ok(Self { out, head_end, counter, associated })
    }

    fn body(&mut self, key: &LessSafeKey, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), ChannelError> {
        if len == 0 {
            return Ok(());
        }
        let start = self.out.len();
        write(&mut self.out);
        let body = self.out.get_mut(start..).unwrap_or_default();
        let tag = key.seal_in_place_separate_tag(nonce(self.counter, Part::Body), Aad::from(&self.associated), body);
        self.out.extend_from_slice(tag.map_err(|_| too_large())?.as_ref());
        Ok(())
    }

    /// The digest of all that a receiver gets: header, topic, frame (which begins at `frame`) and sealed body.
    fn digest(&self, frame: usize, tagging: Option<&LessSafeKey>) -> Hash {
        let part = |range| self.out.get(range).unwrap_or_default();
        let (frame, body) = (part(frame..self.head_end), part(self.head_end + TAG..self.out.len()));
        digest(&self.associated, frame, body, tagging, self.counter)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn finish(mut self, key: &LessSafeKey) -> Result<Bytes, ChannelError> {
        let head = self.out.get_mut(HEADER..self.head_end).unwrap_or_default();
        let tag = key.seal_in_place_separate_tag(nonce(self.counter, Part::Head), Aad::from(&self.associated), head);
        let tag = tag.map_err(|_| too_large())?;
        self.put(self.head_end, tag.as_ref());
        Ok(self.out.into())
    }
}

struct Header {
    life: Life,
    counter: u64,
    salt: [u8; 8],
    head_len: u32,
}

impl Header {
    fn read(header: &[u8; HEADER]) -> Option<Self> {
        let (version, rest) = header.split_first()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let life = Life { incarnation: u32::from_le_bytes(*incarnation), session: u64::from_le_bytes(*session) };
        let head_len = u32::from_le_bytes(*rest.first_chunk()?);
        let header = Self { life, counter: u64::from_le_bytes(*counter), salt: *salt, head_len };
        (*version == VERSION).then_some(header)
    }
}

/// Both parts of a packet share its counter and differ by this.
#[derive(Clone, Copy)]
enum Part {
    Head,
    Body,
    Tag,
}

/// Unique under a key: a key belongs to one sender and life, and the counter grows with every packet of it.
fn nonce(counter: u64, part: Part) -> Nonce {
    let mut nonce = [0; 12];
    for (to, from) in nonce.iter_mut().zip(counter.to_le_bytes()) {
        *to = from;
    }
    nonce[11] = part as u8;
    Nonce::assume_unique_for_key(nonce)
}

fn associated(header: &[u8], topic: &str) -> Vec<u8> {
    [header, topic.as_bytes()].concat()
}

/// Whether the bodies of a broadcast to so many ends are tagged for each of them.
const fn is_tagged(ends: usize, body: usize) -> bool {
    ends <= FEW && body > 0
}

/// What stands for a broadcast in its proofs; `tagging` is of the receiver's pair.
fn digest(associated: &[u8], frame: &[u8], body: &[u8], tagging: Option<&LessSafeKey>, counter: u64) -> Hash {
    let mut hasher = blake3::Hasher::new();
    let tag = tagging
        .and_then(|key| key.seal_in_place_separate_tag(nonce(counter, Part::Tag), Aad::from(body), &mut []).ok());
    hasher.update(&[u8::from(tag.is_some())]);
    for part in [associated, frame, tag.as_ref().map_or(body, |tag| tag.as_ref())] {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
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
        for at in 0..packet.len() {
            let mut bent = packet.to_vec();
            bent[at] ^= 1;
            assert!(opened(b.open("a/b", 0, false, &bent)).is_none(), "byte {at}");
            assert!(
                opened(b.open("a/b", 0, false, &packet[..at])).is_none_or(|(_, body)| body.is_empty()),
                "cut at {at}"
            );
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
