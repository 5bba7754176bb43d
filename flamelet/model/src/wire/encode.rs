//! From a message to segments: of one whose tensors travel as they are, only the header is new memory.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::compress::{BLOCK, Packer};
use super::encoding::{Encoding, Packing, packings};
use super::layout::Layout;
use super::{MAGIC, PREFIX, VERSION, WireError, header, kernels, wide};
use crate::{Dtype, Message, ModelError, SharedBuffer, SharedBufferMut, Tensor};

/// Zero bytes up to a multiple of 8.
static PADDING: [u8; 8] = [0; 8];

/// A run of an encoded message's bytes, shared with what it came from.
#[derive(Debug, Clone)]
pub enum Segment {
    /// Prefix and header, a body, padding, or what was narrowed or compressed.
    Bytes(Bytes),
    /// A tensor's elements as they are.
    Tensor(Tensor),
}

impl Segment {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Tensor(tensor) => tensor.bytes(),
        }
    }
}

/// An encoded message that shares the tensors' storage. Later writes to the models do not show: they copy first.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Bytes of the whole message.
    pub total_len: u64,
    /// Bytes that it would have with every tensor as it is and nothing compressed.
    pub raw_len: u64,
    /// What it consists of, in order; none is empty.
    pub segments: Vec<Segment>,
    /// Where each segment begins.
    starts: Vec<u64>,
}

impl Encoded {
    fn new() -> Self {
        Self { total_len: 0, raw_len: 0, segments: Vec::new(), starts: Vec::new() }
    }

    fn push(&mut self, segment: Segment) {
        let len = segment.as_bytes().len();
        if len == 0 {
            return;
        }
        let padding = len.next_multiple_of(8) - len;
        self.append(segment, len);
        if let (1.., Some(zeros)) = (padding, PADDING.get(..padding)) {
            self.append(Segment::Bytes(Bytes::from_static(zeros)), padding);
        }
    }

    fn append(&mut self, segment: Segment, len: usize) {
        self.starts.push(self.total_len);
        self.segments.push(segment);
        self.total_len += u64::try_from(len).unwrap_or(u64::MAX);
    }

    /// Copies bytes from `offset` into `out`, to cut chunks without making the whole. Gives the number of bytes copied: less
    /// than `out` holds only at the message's end.
    pub fn copy_range(&self, offset: u64, out: &mut [u8]) -> usize {
        let first = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let mut skip = offset.saturating_sub(self.starts.get(first).copied().unwrap_or(0));
        let mut copied = 0;
        for segment in self.segments.iter().skip(first) {
            let source = usize::try_from(skip).ok().and_then(|skip| segment.as_bytes().get(skip..)).unwrap_or_default();
            skip = 0;
            let target = out.get_mut(copied..).unwrap_or_default();
            let len = source.len().min(target.len());
            if let (Some(target), Some(source)) = (target.get_mut(..len), source.get(..len)) {
                target.copy_from_slice(source);
            }
            copied += len;
            if copied == out.len() {
                break;
            }
        }
        copied
    }

    /// Appends `len` bytes from `offset` on, to cut chunks without making the whole; fewer only at the message's end.
    pub fn append_range(&self, offset: u64, len: usize, out: &mut Vec<u8>) {
        let first = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let mut skip = offset.saturating_sub(self.starts.get(first).copied().unwrap_or(0));
        let mut left = len;
        for segment in self.segments.iter().skip(first) {
            let source = usize::try_from(skip).ok().and_then(|skip| segment.as_bytes().get(skip..)).unwrap_or_default();
            skip = 0;
            let source = source.get(..left).unwrap_or(source);
            out.extend_from_slice(source);
            left -= source.len();
            if left == 0 {
                break;
            }
        }
    }

    /// SHA-256 of the whole message.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for segment in &self.segments {
            hasher.update(segment.as_bytes());
        }
        hasher.finalize().into()
    }

    /// The whole message as one buffer: a copy, for transports that want it so and for tests.
    pub fn to_buffer(&self) -> Result<SharedBuffer, ModelError> {
        let len = usize::try_from(self.total_len)
            .map_err(|_| ModelError::TooLarge { what: "a message", bytes: self.total_len })?;
        let mut buffer = SharedBufferMut::for_overwrite(len)?;
        self.copy_range(0, buffer.as_mut_bytes());
        Ok(buffer.freeze())
    }
}

/// Encodes a message as it is: tensors and body are shared, not copied. [`super::check`] says beforehand whether the
/// receiver will take it.
pub fn encode(message: &Message) -> Encoded {
    let mut encoded = Encoded::new();
    encoded.push(head(message, &[], false));
    encoded.push(Segment::Bytes(message.body.clone()));
    for (_, model) in &message.models {
        for (_, tensor) in model.iter() {
            encoded.push(Segment::Tensor(tensor.clone()));
        }
    }
    encoded.raw_len = encoded.total_len;
    encoded
}

/// Encodes a message as asked for. What travels as it is is shared, not copied; the rest is new memory of the size that
/// travels. A message that zstd makes no smaller goes uncompressed.
pub fn encode_as(message: &Message, encoding: Encoding) -> Result<Encoded, WireError> {
    if !encoding.is_work() {
        return Ok(encode(message));
    }
    let packings = packings(message, encoding.tensors)?;
    let parts = Parts::new(message, &packings)?;
    if let Some(level) = encoding.zstd
        && let Some(compressed) = parts.compressed(level)?
    {
        return Ok(compressed);
    }
    parts.plain()
}

/// The first segment: prefix and header.
fn head(message: &Message, packings: &[Packing], compressed: bool) -> Segment {
    let header = header::write(message, packings, compressed);
    let mut head = Vec::with_capacity(PREFIX + header.len());
    head.extend(MAGIC);
    head.push(VERSION);
    head.extend(wide(header.len()).to_le_bytes());
    head.extend(header);
    Segment::Bytes(head.into())
}

/// A message taken apart: how each tensor travels, and where.
struct Parts<'a> {
    message: &'a Message,
    packings: &'a [Packing],
    layout: Layout,
    /// The body first; one for each part of the layout.
    sources: Vec<Segment>,
}

impl<'a> Parts<'a> {
    fn new(message: &'a Message, packings: &'a [Packing]) -> Result<Self, WireError> {
        let tensors = message.models.iter().flat_map(|(_, model)| model.iter().map(|(_, tensor)| tensor));
        let body = Segment::Bytes(message.body.clone());
        let sources: Vec<Segment> = [body].into_iter().chain(tensors.cloned().map(Segment::Tensor)).collect();
        let mut layout = Layout::default();
        for (source, packing) in sources.iter().zip([&Packing::Raw].into_iter().chain(packings)) {
            let dtype = if let Segment::Tensor(tensor) = source { tensor.dtype() } else { Dtype::Uint8 };
            let pushed = layout.push(*packing, dtype, source.as_bytes().len());
            pushed.ok_or_else(|| WireError::Failed("a message larger than memory can be".into()))?;
        }
        Ok(Self { message, packings, layout, sources })
    }

    fn begin(&self, compressed: bool) -> Encoded {
        let mut encoded = Encoded::new();
        encoded.push(head(self.message, self.packings, compressed));
        encoded.raw_len = encoded.total_len + wide(self.layout.raw_len);
        encoded
    }

    fn plain(&self) -> Result<Encoded, WireError> {
        let mut encoded = self.begin(false);
        for (part, source) in self.layout.parts().iter().zip(&self.sources) {
            if part.packing == Packing::Raw {
                encoded.push(source.clone());
            } else {
                let mut narrow = SharedBufferMut::for_overwrite(part.len).map_err(no_memory)?;
                kernels::narrow(part.packing, part.dtype, source.as_bytes(), narrow.as_mut_bytes())?;
                encoded.push(Segment::Bytes(Bytes::from_owner(narrow.freeze())));
            }
        }
        Ok(encoded)
    }

    /// `None` when that is no smaller.
    fn compressed(&self, level: u8) -> Result<Option<Encoded>, WireError> {
        let mut encoded = self.begin(true);
        let most = encoded.total_len + wide(self.layout.len);
        let largest = BLOCK.min(self.layout.len);
        let mut packer = Packer::new(level, largest)?;
        let mut block = SharedBufferMut::with_len(largest).map_err(no_memory)?;
        for offset in (0..self.layout.len).step_by(BLOCK) {
            let len = BLOCK.min(self.layout.len - offset);
            let block = block.as_mut_bytes().get_mut(..len).unwrap_or_default();
            let source = |part: usize| self.sources.get(part).map_or(&[][..], Segment::as_bytes);
            self.layout.gather(offset, block, source)?;
            let frame = packer.pack(block)?;
            let len = frame.len();
            encoded.append(Segment::Bytes(frame), len);
            if encoded.total_len >= most {
                return Ok(None);
            }
        }
        Ok(Some(encoded))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn no_memory(error: ModelError) -> WireError {
    WireError::Failed(error.to_string())
}
