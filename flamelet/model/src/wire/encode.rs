//! From a message to segments: only the header is new memory.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{MAGIC, PREFIX};
use crate::{Message, ModelError, SharedBuffer, SharedBufferMut, Tensor};

/// Zero bytes up to a multiple of 8.
static PADDING: [u8; 8] = [0; 8];

/// A run of an encoded message's bytes, shared with what it came from.
#[derive(Debug, Clone)]
pub enum Segment {
    /// Prefix and header, a body, or padding.
    Bytes(Bytes),
    /// A tensor's elements.
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
    /// What it consists of, in order; none is empty.
    pub segments: Vec<Segment>,
    /// Where each segment begins.
    starts: Vec<u64>,
}

impl Encoded {
    fn new() -> Self {
        Self { total_len: 0, segments: Vec::new(), starts: Vec::new() }
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
        let mut buffer = SharedBufferMut::with_len(len)?;
        self.copy_range(0, buffer.as_mut_bytes());
        Ok(buffer.freeze())
    }
}

/// Encodes a message. Tensors and body are shared, not copied. [`super::check`] says beforehand whether the receiver will
/// take it.
pub fn encode(message: &Message) -> Encoded {
    let header = header(message);
    let mut head = Vec::with_capacity(PREFIX + header.len());
    head.extend(MAGIC);
    head.extend(u64::try_from(header.len()).unwrap_or(u64::MAX).to_le_bytes());
    head.extend(header);
    let mut encoded = Encoded::new();
    encoded.push(Segment::Bytes(head.into()));
    encoded.push(Segment::Bytes(message.body.clone()));
    for (_, model) in &message.models {
        for (_, tensor) in model.iter() {
            encoded.push(Segment::Tensor(tensor.clone()));
        }
    }
    encoded
}

/// The header's bytes without prefix and padding.
pub(super) fn header(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, &message.kind);
    out.extend(message.round.to_le_bytes());
    out.push(message.form.code());
    match &message.base {
        None => out.push(0),
        Some(base) => {
            out.push(1);
            text(&mut out, base.sender.as_str());
            out.extend(base.message.to_le_bytes());
            out.extend(base.round.to_le_bytes());
        }
    }
    out.extend(message.samples.to_le_bytes());
    count(&mut out, message.metrics.len());
    for metric in &message.metrics {
        text(&mut out, &metric.name);
        out.extend(metric.value.to_le_bytes());
    }
    count(&mut out, message.models.len());
    for (name, model) in &message.models {
        text(&mut out, name);
        count(&mut out, model.len());
        for (name, tensor) in model.iter() {
            text(&mut out, name);
            out.push(tensor.dtype().code());
            count(&mut out, tensor.shape().len());
            for extent in tensor.shape() {
                out.extend(extent.to_le_bytes());
            }
        }
    }
    out.extend(u64::try_from(message.body.len()).unwrap_or(u64::MAX).to_le_bytes());
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// A length as `u32`. One above 4 GiB saturates and is refused by the receiver; [`super::check`] refuses it before.
fn count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}
