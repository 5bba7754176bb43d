//! From a buffer to a message whose tensors are views of it. Everything here is foreign and checked.

use bytes::Bytes;

use super::{MAGIC, MAX_HEADER_BYTES, MAX_METRICS, MAX_MODELS, MAX_TENSORS, PREFIX, WireError, limit};
use crate::tensor::{MAX_DIMENSIONS, byte_len};
use crate::{BaseRef, Dtype, EndId, Form, Message, Metric, Model, ModelError, SharedBuffer, Tensor};

/// Decodes a whole message. The tensors and the body are views of `buffer` (which they keep alive): nothing is copied.
#[expect(clippy::needless_pass_by_value, reason = "the message takes the buffer over: its tensors are views of it")]
pub fn decode(buffer: SharedBuffer) -> Result<Message, WireError> {
    let bytes = buffer.as_bytes();
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(WireError::Truncated { what: "the prefix", needed: wide(PREFIX), left: wide(bytes.len()) });
    };
    let mut prefix = Reader::new(prefix);
    let magic = prefix.array::<8>("the magic")?;
    if magic != MAGIC {
        return Err(WireError::BadMagic(magic.to_vec()));
    }
    let header_len = u64::from_le_bytes(prefix.array("the header's length")?);
    let header_len = usize::try_from(header_len).unwrap_or(usize::MAX);
    limit("header bytes", header_len, MAX_HEADER_BYTES)?;

    let mut cursor = Cursor { buffer: &buffer, at: PREFIX };
    let header = cursor.take(header_len, "the header")?;
    let mut reader = Reader::new(header.as_bytes());
    let head = Head::read(&mut reader)?;
    reader.end()?;

    let body_len = usize::try_from(head.body_len).unwrap_or(usize::MAX);
    let body = cursor.take(body_len, "the body")?;
    let body = if body.is_empty() { Bytes::new() } else { Bytes::from_owner(body) };
    let mut models = Vec::with_capacity(head.models.len());
    for (name, tensors) in head.models {
        let mut model = Model::new();
        for Spec { name, dtype, shape } in tensors {
            let len = byte_len(&shape, dtype).map_err(|error| malformed(&name, &error))?;
            let data = cursor.take(len, "a tensor")?;
            let tensor = Tensor::from_buffer(&shape, dtype, data).map_err(|error| malformed(&name, &error))?;
            if let Some(name) = (!model.insert_new(name.clone(), tensor)).then_some(name) {
                return Err(WireError::Malformed(format!("two tensors of a model are named {name:?}")));
            }
        }
        models.push((name, model));
    }
    if cursor.at != buffer.len() {
        let extra = buffer.len() - cursor.at;
        return Err(WireError::Malformed(format!("{extra} bytes follow the last tensor")));
    }
    let message = Message { models, body, ..head.message };
    super::check(&message)?;
    Ok(message)
}

/// What the header says, before any tensor is made.
struct Head {
    message: Message,
    models: Vec<(String, Vec<Spec>)>,
    body_len: u64,
}

/// One tensor as the header announces it.
struct Spec {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
}

impl Head {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let kind = reader.text("the kind")?;
        let round = reader.u64("the round")?;
        let form = reader.u8("the form")?;
        let form = Form::from_code(form).ok_or_else(|| WireError::Malformed(format!("unknown form {form}")))?;
        let base = match reader.u8("the base")? {
            0 => None,
            1 => Some(BaseRef {
                sender: EndId::new(&reader.text("the base's sender")?)
                    .map_err(|error| WireError::Malformed(error.to_string()))?,
                message: reader.u64("the base's message")?,
                round: reader.u64("the base's round")?,
            }),
            other => return Err(WireError::Malformed(format!("{other} says neither that there is a base nor none"))),
        };
        let samples = reader.u64("the samples")?;

        let mut metrics = Vec::new();
        for _ in 0..reader.count("metrics", MAX_METRICS, 12)? {
            let name = reader.text("a metric's name")?;
            metrics.push(Metric { name, value: f64::from_bits(reader.u64("a metric's value")?) });
        }
        let mut models = Vec::new();
        let mut total = 0_usize;
        for _ in 0..reader.count("models", MAX_MODELS, 8)? {
            let name = reader.text("a model's name")?;
            let count = reader.count("tensors", MAX_TENSORS, 9)?;
            total = total.saturating_add(count);
            limit("tensors", total, MAX_TENSORS)?;
            let mut tensors = Vec::new();
            for _ in 0..count {
                tensors.push(Spec::read(reader)?);
            }
            models.push((name, tensors));
        }
        let body_len = reader.u64("the body's length")?;
        let message = Message { kind, round, form, base, samples, metrics, ..Message::default() };
        Ok(Self { message, models, body_len })
    }
}

impl Spec {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let name = reader.text("a tensor's name")?;
        let code = reader.u8("a tensor's dtype")?;
        let dtype = Dtype::from_code(code)
            .ok_or_else(|| WireError::Malformed(format!("tensor {name:?} has the unknown dtype {code}")))?;
        let mut shape = Vec::new();
        for _ in 0..reader.count("dimensions", MAX_DIMENSIONS, 8)? {
            shape.push(reader.u64("a tensor's shape")?);
        }
        Ok(Self { name, dtype, shape })
    }
}

/// Reads the header from front to back.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(WireError::Truncated { what, needed: wide(len), left: wide(self.rest.len()) });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(WireError::Truncated { what, needed: wide(N), left: wide(self.rest.len()) });
        };
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn text(&mut self, what: &'static str) -> Result<String, WireError> {
        let len = usize::try_from(self.u32(what)?).unwrap_or(usize::MAX);
        let bytes = self.take(len, what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError::Malformed(format!("{what} is not UTF-8"))),
        }
    }

    /// A number of things of at least `least` bytes each: never more than fit into what is left.
    fn count(&mut self, what: &'static str, most: usize, least: usize) -> Result<usize, WireError> {
        let count = usize::try_from(self.u32(what)?).unwrap_or(usize::MAX);
        limit(what, count, most)?;
        let needed = count.saturating_mul(least);
        if needed > self.rest.len() {
            return Err(WireError::Truncated { what, needed: wide(needed), left: wide(self.rest.len()) });
        }
        Ok(count)
    }

    fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(WireError::Malformed(format!("{} bytes of the header say nothing", self.rest.len())))
    }
}

/// Cuts views off the buffer, each with its padding.
struct Cursor<'a> {
    buffer: &'a SharedBuffer,
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<SharedBuffer, WireError> {
        let left = self.buffer.len().saturating_sub(self.at);
        let truncated = || WireError::Truncated { what, needed: wide(len), left: wide(left) };
        let padded = len.checked_next_multiple_of(8).filter(|padded| *padded <= left).ok_or_else(truncated)?;
        let taken = self.buffer.slice(self.at, len).ok_or_else(truncated)?;
        let padding = self.buffer.slice(self.at + len, padded - len).ok_or_else(truncated)?;
        if padding.as_bytes().iter().any(|byte| *byte != 0) {
            return Err(WireError::Malformed(format!("the padding after {what} is not zero")));
        }
        self.at += padded;
        Ok(taken)
    }
}

fn malformed(tensor: &str, error: &ModelError) -> WireError {
    WireError::Malformed(format!("tensor {tensor:?}: {error}"))
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
