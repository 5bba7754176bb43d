//! Frames: what is in the sealed head of a packet. Layouts are in `docs/protocol.md`; all numbers are little-endian.
//!
//! Reading never trusts a count: it stops at the end of the bytes.

use sha2::{Digest as _, Sha256};

/// Proves a will: the hash of a secret that only the end and its broker know until the will is published.
pub(crate) type Commitment = [u8; 32];

/// The commitment to a will's token.
pub(crate) fn commit(token: &[u8]) -> Commitment {
    Sha256::digest(token).into()
}

/// For whom a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addressee {
    /// First eight bytes of the end's id.
    pub(crate) tag: u64,
    /// The session of the end that it is meant for.
    pub(crate) session: u64,
    /// The message that this end must have delivered before; 0: none.
    pub(crate) after: u64,
}

/// The head of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    /// Message id.
    pub(crate) id: u64,
    /// Length of the whole message.
    pub(crate) total: u64,
    /// Where the bytes belong.
    pub(crate) offset: u64,
    /// Whole, cancelled or handed over in memory.
    pub(crate) content: Content,
    /// Who shall take it.
    pub(crate) addressees: Vec<Addressee>,
}

/// What a chunk carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes of the message.
    Bytes,
    /// Nothing: the message is cancelled and its place in the order is free.
    Cancelled,
    /// Nothing: the message travels beside the packet, in shared memory.
    Beside,
}

/// Progress of one unfinished message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Message id.
    pub(crate) id: u64,
    /// One past the highest offset that this report speaks about.
    pub(crate) upto: u64,
    /// What is missing below it, as `(start, end)`.
    pub(crate) missing: Vec<(u64, u64)>,
}

/// What a receiver has of one sender.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ack {
    /// The sender's session that it speaks about.
    pub(crate) session: u64,
    /// All messages for this end up to this one have been received.
    pub(crate) delivered: u64,
    /// All messages for this end up to this one have been taken by the guest.
    pub(crate) taken: u64,
    /// Bytes that may be on their way.
    pub(crate) window: u64,
    /// There is room again for what was turned away: send it again now.
    pub(crate) resume: bool,
    /// Messages over this end's limit.
    pub(crate) refused: Vec<u64>,
    /// Unfinished messages.
    pub(crate) progress: Vec<Progress>,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// I am here: on joining, on every reconnect and as the heartbeat.
    Hello { commitment: Commitment },
    /// The answer to a `Hello` of a session that was unknown: proves that the answering end lives now.
    Here { session: u64, reply: bool, commitment: Commitment },
    /// Goodbye.
    Gone,
    /// Part of a message; its bytes are the packet's body.
    Chunk(ChunkHead),
    /// Acknowledgements and credit.
    Ack(Ack),
}

const HELLO: u8 = 1;
const HERE: u8 = 2;
const GONE: u8 = 3;
const CHUNK: u8 = 4;
const ACK: u8 = 5;

/// Most entries of each list in an `Ack`.
pub(crate) const ACK_LIST: usize = 32;

/// Bytes of an addressee in a chunk's head.
pub(crate) const ADDRESSEE: usize = 24;

impl ChunkHead {
    /// Bytes that a head of `addressees` ends takes in a frame, kind included.
    pub(crate) const fn size(addressees: usize) -> usize {
        1 + 8 + 8 + 8 + 1 + 2 + addressees * ADDRESSEE
    }

    /// Appends kind and head.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(CHUNK);
        put(out, self.id);
        put(out, self.total);
        put(out, self.offset);
        out.push(match self.content {
            Content::Bytes => 0,
            Content::Cancelled => 1,
            Content::Beside => 2,
        });
        out.extend_from_slice(&u16::try_from(self.addressees.len()).unwrap_or(u16::MAX).to_le_bytes());
        for to in self.addressees.iter().take(usize::from(u16::MAX)) {
            put(out, to.tag);
            put(out, to.session);
            put(out, to.after);
        }
    }
}

impl Frame {
    /// Appends the frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { commitment } => {
                out.push(HELLO);
                out.extend_from_slice(commitment);
            }
            Self::Here { session, reply, commitment } => {
                out.push(HERE);
                put(out, *session);
                out.push(u8::from(*reply));
                out.extend_from_slice(commitment);
            }
            Self::Gone => out.push(GONE),
            Self::Chunk(head) => head.write(out),
            Self::Ack(ack) => write_ack(ack, out),
        }
    }

    /// Reads a frame; `None` when it is not one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        let frame = match r.byte()? {
            HELLO => Self::Hello { commitment: r.array()? },
            HERE => Self::Here { session: r.word()?, reply: r.flag()?, commitment: r.array()? },
            GONE => Self::Gone,
            CHUNK => Self::Chunk(read_chunk(&mut r)?),
            ACK => Self::Ack(read_ack(&mut r)?),
            _ => return None,
        };
        r.0.is_empty().then_some(frame)
    }
}

fn read_chunk(r: &mut Reader<'_>) -> Option<ChunkHead> {
    let (id, total, offset) = (r.word()?, r.word()?, r.word()?);
    let content = match r.byte()? {
        0 => Content::Bytes,
        1 => Content::Cancelled,
        2 => Content::Beside,
        _ => return None,
    };
    let count = u16::from_le_bytes(r.array()?);
    let mut addressees = Vec::new();
    for _ in 0..count {
        addressees.push(Addressee { tag: r.word()?, session: r.word()?, after: r.word()? });
    }
    Some(ChunkHead { id, total, offset, content, addressees })
}

fn write_ack(ack: &Ack, out: &mut Vec<u8>) {
    let count = |len: usize| u8::try_from(len.min(ACK_LIST)).unwrap_or_default();
    out.push(ACK);
    put(out, ack.session);
    put(out, ack.delivered);
    put(out, ack.taken);
    put(out, ack.window);
    out.push(u8::from(ack.resume));
    out.push(count(ack.refused.len()));
    for id in ack.refused.iter().take(ACK_LIST) {
        put(out, *id);
    }
    out.push(count(ack.progress.len()));
    for progress in ack.progress.iter().take(ACK_LIST) {
        put(out, progress.id);
        put(out, progress.upto);
        out.push(count(progress.missing.len()));
        for &(start, end) in progress.missing.iter().take(ACK_LIST) {
            put(out, start);
            put(out, end);
        }
    }
}

fn read_ack(r: &mut Reader<'_>) -> Option<Ack> {
    let mut ack = Ack {
        session: r.word()?,
        delivered: r.word()?,
        taken: r.word()?,
        window: r.word()?,
        resume: r.flag()?,
        ..Ack::default()
    };
    for _ in 0..r.byte()? {
        ack.refused.push(r.word()?);
    }
    for _ in 0..r.byte()? {
        let mut progress = Progress { id: r.word()?, upto: r.word()?, missing: Vec::new() };
        for _ in 0..r.byte()? {
            progress.missing.push((r.word()?, r.word()?));
        }
        ack.progress.push(progress);
    }
    Some(ack)
}

fn put(out: &mut Vec<u8>, word: u64) {
    out.extend_from_slice(&word.to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn word(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk() -> impl Strategy<Value = ChunkHead> {
        let addressee = any::<(u64, u64, u64)>().prop_map(|(tag, session, after)| Addressee { tag, session, after });
        (any::<[u64; 3]>(), prop::collection::vec(addressee, 0..5)).prop_map(|([id, total, offset], addressees)| {
            ChunkHead { id, total, offset, content: Content::Bytes, addressees }
        })
    }

    fn ack() -> impl Strategy<Value = Ack> {
        let pairs = prop::collection::vec(any::<(u64, u64)>(), 0..ACK_LIST);
        let progress =
            (any::<u64>(), any::<u64>(), pairs).prop_map(|(id, upto, missing)| Progress { id, upto, missing });
        let lists = (prop::collection::vec(any::<u64>(), 0..9), prop::collection::vec(progress, 0..4));
        (any::<[u64; 4]>(), any::<bool>(), lists).prop_map(
            |([session, delivered, taken, window], resume, (refused, progress))| Ack {
                session,
                delivered,
                taken,
                window,
                resume,
                refused,
                progress,
            },
        )
    }

    fn round_trips(frame: &Frame) {
        let mut out = Vec::new();
        frame.write(&mut out);
        assert_eq!(Frame::read(&out).as_ref(), Some(frame));
    }

    proptest! {
        #[test]
        fn frames_survive_the_way(head in chunk(), ack in ack(), session: u64, commitment: [u8; 32]) {
            let mut out = Vec::new();
            head.write(&mut out);
            prop_assert_eq!(out.len(), ChunkHead::size(head.addressees.len()));
            round_trips(&Frame::Chunk(head));
            round_trips(&Frame::Ack(ack));
            round_trips(&Frame::Hello { commitment });
            round_trips(&Frame::Here { session, reply: true, commitment });
            round_trips(&Frame::Gone);
        }

        #[test]
        fn any_bytes_are_a_frame_or_none_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..7) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = kind; }
            let _ = Frame::read(&bytes);
        }
    }
}
