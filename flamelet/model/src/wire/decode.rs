//! From a buffer to a message. Everything here is foreign and checked.

use bytes::Bytes;

use super::compress::{BLOCK, Unpacker};
use super::header::{Head, Reader, Spec};
use super::{MAGIC, MAX_HEADER_BYTES, PREFIX, VERSION, WireError, header, limit, wide};
use crate::{Message, Model, ModelError, SharedBuffer, SharedBufferMut, Tensor};

/// A message whose header has been read and found good, and which otherwise stands as it came.
///
/// What the unpacked message takes is known and was held against a limit; until [`Packed::unpack`] nothing of it is
/// allocated, not even what the header lists. A queue of these takes what came over the wire and no more.
#[derive(Debug)]
pub struct Packed {
    buffer: SharedBuffer,
    raw_bytes: u64,
}

/// Reads the header of a whole message. `most` bytes may the message have when it is unpacked.
pub fn open(buffer: SharedBuffer, most: u64) -> Result<Packed, WireError> {
    // Tensors are cast in place: a buffer that begins anywhere else is moved once.
    let buffer =
        if buffer.is_aligned() { buffer } else { SharedBuffer::copy_of(buffer.as_bytes()).map_err(no_memory)? };
    let (head, mut cursor) = read(buffer.as_bytes())?;
    let needed = wide(cursor.at).saturating_add(wide(head.layout.raw_len));
    if needed > most {
        return Err(WireError::OverLimit { needed, limit: most });
    }
    if !head.compressed {
        let mut parts = head.layout.parts().iter();
        if let Some(body) = parts.next() {
            cursor.take(body.len, "the body")?;
        }
        for tensor in parts {
            cursor.take(tensor.len, "a tensor")?;
        }
        if cursor.at != buffer.len() {
            let extra = buffer.len() - cursor.at;
            return Err(WireError::Malformed(format!("{extra} bytes follow the last tensor")));
        }
    }
    Ok(Packed { buffer, raw_bytes: needed })
}

/// Prefix and header; the cursor then stands at the payload.
fn read(bytes: &[u8]) -> Result<(Head, Cursor<'_>), WireError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let mut prefix = Reader::new(cursor.take(PREFIX, "the prefix")?);
    let magic = prefix.array::<{ MAGIC.len() }>("the magic")?;
    if magic != MAGIC {
        return Err(WireError::BadMagic(magic.to_vec()));
    }
    let [version] = prefix.array("the version")?;
    if version != VERSION {
        return Err(WireError::UnknownVersion { found: version });
    }
    let header_len = u64::from_le_bytes(prefix.array("the header's length")?);
    let header_len = usize::try_from(header_len).unwrap_or(usize::MAX);
    limit("header bytes", header_len, MAX_HEADER_BYTES)?;
    let head = Head::read(cursor.take(header_len, "the header")?)?;
    Ok((head, cursor))
}

/// [`open`] and [`Packed::unpack`] at once.
pub fn decode(buffer: SharedBuffer, most: u64) -> Result<Message, WireError> {
    open(buffer, most)?.unpack()
}

impl Packed {
    /// The message's kind.
    pub fn kind(&self) -> &str {
        header::kind(self.buffer.as_bytes().get(PREFIX..).unwrap_or_default())
    }

    /// Bytes as they came.
    pub fn wire_bytes(&self) -> u64 {
        wide(self.buffer.len())
    }

    /// Bytes of the message with every tensor raw and nothing compressed; what it takes in memory.
    pub const fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// The message. Where every tensor travelled as it is and nothing was compressed, tensors and body are views of the
    /// buffer (which they keep alive) and nothing is copied. Otherwise all of them are views of one new buffer, and the
    /// old one is let go.
    pub fn unpack(self) -> Result<Message, WireError> {
        let Self { buffer, .. } = self;
        let (head, cursor) = read(buffer.as_bytes())?;
        let payload_at = cursor.at;
        if !head.compressed && head.layout.is_raw() {
            return assemble(head, &buffer, payload_at);
        }
        let mut out = SharedBufferMut::for_overwrite(head.layout.raw_len).map_err(no_memory)?;
        let payload = buffer.as_bytes().get(payload_at..).unwrap_or_default();
        if head.compressed {
            decompress(&head, payload, out.as_mut_bytes())?;
        } else {
            head.layout.scatter(0, payload, out.as_mut_bytes())?;
        }
        assemble(head, &out.freeze(), 0)
    }
}

/// Block by block, so that the payload is never there twice.
fn decompress(head: &Head, payload: &[u8], out: &mut [u8]) -> Result<(), WireError> {
    let mut frames = Unpacker::new(payload)?;
    if head.layout.is_raw() {
        for block in out.chunks_mut(BLOCK) {
            frames.unpack(block)?;
        }
        return frames.end();
    }
    let mut room = SharedBufferMut::with_len(BLOCK.min(head.layout.len)).map_err(no_memory)?;
    for offset in (0..head.layout.len).step_by(BLOCK) {
        let len = BLOCK.min(head.layout.len - offset);
        let block = room.as_mut_bytes().get_mut(..len).unwrap_or_default();
        frames.unpack(block)?;
        head.layout.scatter(offset, block, out)?;
    }
    frames.end()
}

/// Makes the message of views of an unpacked payload that begins at `at` of `buffer`.
fn assemble(head: Head, buffer: &SharedBuffer, at: usize) -> Result<Message, WireError> {
    let Head { message, models: specs, layout, .. } = head;
    let mut cursor = Cursor { bytes: buffer.as_bytes(), at };
    let mut parts = layout.parts().iter();
    let mut next = |what: &'static str| {
        let len = parts.next().map_or(0, |part| part.raw_len);
        let start = cursor.at;
        cursor.take(len, what)?;
        buffer.slice(start, len).ok_or_else(|| WireError::Failed("a part lies outside its buffer".into()))
    };
    let body = next("the body")?;
    let body = if body.is_empty() { Bytes::new() } else { Bytes::from_owner(body) };
    let mut models = Vec::with_capacity(specs.len());
    for (name, tensors) in specs {
        let mut model = Model::new();
        for Spec { name, dtype, shape, .. } in tensors {
            let data = next("a tensor")?;
            let tensor = Tensor::from_buffer(&shape, dtype, data)
                .map_err(|error| WireError::Malformed(format!("tensor {name:?}: {error}")))?;
            model.insert(name, tensor);
        }
        models.push((name, model));
    }
    Ok(Message { models, body, ..message })
}

/// Walks over a buffer; each step has zero bytes up to a multiple of 8 behind it.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let left = self.bytes.len().saturating_sub(self.at);
        let truncated = || WireError::Truncated { what, needed: wide(len), left: wide(left) };
        let padded = len.checked_next_multiple_of(8).filter(|padded| *padded <= left).ok_or_else(truncated)?;
        let step = self.bytes.get(self.at..self.at + padded).ok_or_else(truncated)?;
        let (taken, padding) = step.split_at_checked(len).ok_or_else(truncated)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(WireError::Malformed(format!("the padding after {what} is not zero")));
        }
        self.at += padded;
        Ok(taken)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn no_memory(error: ModelError) -> WireError {
    WireError::Failed(error.to_string())
}
