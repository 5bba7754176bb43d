//! The typed header: written here and read here. What is read is foreign and checked.

use super::encoding::Packing;
use super::layout::Layout;
use super::{MAX_METRICS, MAX_MODELS, MAX_TENSORS, WireError, first_twice, kernels, limit, wide};
use crate::tensor::{MAX_DIMENSIONS, byte_len};
use crate::{BaseRef, Dtype, EndId, Form, Message, Metric, Tensor};

/// How the payload stands behind the header; codes settled for ever.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// The header's bytes without prefix and padding. `packings` are those of all tensors, in order.
pub(super) fn write(message: &Message, packings: &[Packing], compressed: bool) -> Vec<u8> {
    let mut out = Vec::new();
    out.push(if compressed { ZSTD } else { PLAIN });
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
    let mut packings = packings.iter();
    count(&mut out, message.models.len());
    for (name, model) in &message.models {
        text(&mut out, name);
        count(&mut out, model.len());
        for (name, tensor) in model.iter() {
            write_tensor(&mut out, name, tensor, packings.next().copied().unwrap_or(Packing::Raw));
        }
    }
    out.extend(wide(message.body.len()).to_le_bytes());
    out
}

fn write_tensor(out: &mut Vec<u8>, name: &str, tensor: &Tensor, packing: Packing) {
    text(out, name);
    out.push(tensor.dtype().code());
    out.push(packing.code());
    if let Packing::Int8 { scale } = packing {
        out.extend(scale.to_le_bytes());
    }
    count(out, tensor.shape().len());
    for extent in tensor.shape() {
        out.extend(extent.to_le_bytes());
    }
}

/// Bytes of the header where every packing is the one that takes most.
pub(super) fn largest_len(message: &Message) -> usize {
    let tensors: usize = message.models.iter().map(|(_, model)| model.len()).sum();
    write(message, &[], false).len().saturating_add(tensors.saturating_mul(8))
}

fn text(out: &mut Vec<u8>, text: &str) {
    count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// A length as `u32`. One above 4 GiB saturates and is refused by the receiver; [`super::check`] refuses it before.
fn count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// What the header says, before any tensor is made.
#[derive(Debug)]
pub(super) struct Head {
    /// The message without models and body.
    pub(super) message: Message,
    pub(super) models: Vec<(String, Vec<Spec>)>,
    pub(super) layout: Layout,
    pub(super) compressed: bool,
}

/// One tensor as the header announces it.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) packing: Packing,
    pub(super) shape: Vec<u64>,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = &mut Reader::new(bytes);
        let compressed = match reader.u8("the compression")? {
            PLAIN => false,
            ZSTD => true,
            other => return Err(WireError::Malformed(format!("unknown compression {other}"))),
        };
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
            let count = reader.count("tensors", MAX_TENSORS, 10)?;
            total = total.saturating_add(count);
            limit("tensors", total, MAX_TENSORS)?;
            let mut tensors = Vec::new();
            for _ in 0..count {
                tensors.push(Spec::read(reader)?);
            }
            models.push((name, tensors));
        }
        let body_len = reader.u64("the body's length")?;
        reader.end()?;
        let layout = layout(body_len, &models)?;
        if let Some(twice) = first_twice(models.iter().map(|(name, _)| name.as_str())) {
            return Err(WireError::Malformed(format!("two models are named {twice:?}")));
        }
        let message = Message { kind, round, form, base, samples, metrics, ..Message::default() };
        Ok(Self { message, models, layout, compressed })
    }
}

/// Where everything stands, from shapes and lengths that nobody has checked yet.
fn layout(body_len: u64, models: &[(String, Vec<Spec>)]) -> Result<Layout, WireError> {
    let too_large = |what: &str| WireError::Malformed(format!("{what} is larger than memory can be"));
    let mut layout = Layout::default();
    let body_len = usize::try_from(body_len).unwrap_or(usize::MAX);
    layout.push(Packing::Raw, Dtype::Uint8, body_len).ok_or_else(|| too_large("the body"))?;
    for (_, tensors) in models {
        for Spec { name, dtype, packing, shape } in tensors {
            let len =
                byte_len(shape, *dtype).map_err(|error| WireError::Malformed(format!("tensor {name:?}: {error}")))?;
            layout.push(*packing, *dtype, len).ok_or_else(|| too_large("the message"))?;
        }
        if let Some(twice) = first_twice(tensors.iter().map(|spec| spec.name.as_str())) {
            return Err(WireError::Malformed(format!("two tensors of a model are named {twice:?}")));
        }
    }
    Ok(layout)
}

/// The kind that a header names, which [`Head::read`] has found good.
pub(super) fn kind(header: &[u8]) -> &str {
    let mut reader = Reader::new(header);
    let found = reader.u8("the compression").and_then(|_| reader.bytes("the kind"));
    found.ok().and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

impl Spec {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let name = reader.text("a tensor's name")?;
        let code = reader.u8("a tensor's dtype")?;
        let dtype = Dtype::from_code(code)
            .ok_or_else(|| WireError::Malformed(format!("tensor {name:?} has the unknown dtype {code}")))?;
        let packing = match reader.u8("a tensor's packing")? {
            0 => Packing::Raw,
            1 => Packing::F16,
            2 => Packing::Bf16,
            3 => Packing::Int8 { scale: f64::from_bits(reader.u64("a tensor's scale")?) },
            other => return Err(WireError::Malformed(format!("tensor {name:?} has the unknown packing {other}"))),
        };
        if !packing.fits(dtype) {
            return Err(WireError::Malformed(format!("tensor {name:?}: {dtype} elements are not packed")));
        }
        if let Packing::Int8 { scale } = packing
            && !kernels::scale_fits(scale, dtype)
        {
            return Err(WireError::Malformed(format!("tensor {name:?}: {scale:e} is no scale for {dtype}")));
        }
        let mut shape = Vec::new();
        for _ in 0..reader.count("dimensions", MAX_DIMENSIONS, 8)? {
            shape.push(reader.u64("a tensor's shape")?);
        }
        Ok(Self { name, dtype, packing, shape })
    }
}

/// Reads the header from front to back.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(WireError::Truncated { what, needed: wide(len), left: wide(self.rest.len()) });
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
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

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.u32(what)?).unwrap_or(usize::MAX);
        self.take(len, what)
    }

    fn text(&mut self, what: &'static str) -> Result<String, WireError> {
        match std::str::from_utf8(self.bytes(what)?) {
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
