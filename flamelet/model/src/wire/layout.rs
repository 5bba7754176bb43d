//! Where body and tensors stand in a payload, as it travels and unpacked.

use super::encoding::Packing;
use super::{WireError, kernels};
use crate::Dtype;

/// The body or one tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) packing: Packing,
    pub(super) dtype: Dtype,
    /// Where it begins and how long it is in the payload that travels.
    pub(super) at: usize,
    pub(super) len: usize,
    /// The same in the unpacked payload.
    pub(super) raw_at: usize,
    pub(super) raw_len: usize,
}

impl Part {
    /// One past its padding.
    fn end(&self) -> usize {
        self.at + self.len.next_multiple_of(8)
    }

    /// An offset in it, as it travels, for the unpacked one. Both are whole elements.
    const fn raw_offset(&self, offset: usize) -> usize {
        offset / self.packing.size(self.dtype) * self.dtype.size()
    }
}

/// All parts in order.
#[derive(Debug, Default)]
pub(super) struct Layout {
    parts: Vec<Part>,
    /// Bytes of the payload that travels, before compression.
    pub(super) len: usize,
    /// Bytes of the unpacked payload.
    pub(super) raw_len: usize,
}

impl Layout {
    /// Adds `raw_len` bytes of a dtype; `None` where the sum is more than can be addressed.
    pub(super) fn push(&mut self, packing: Packing, dtype: Dtype, raw_len: usize) -> Option<Part> {
        let len = raw_len / dtype.size() * packing.size(dtype);
        let part = Part { packing, dtype, at: self.len, len, raw_at: self.raw_len, raw_len };
        let fits = |end: &usize| isize::try_from(*end).is_ok();
        let end = self.len.checked_add(len.checked_next_multiple_of(8)?).filter(fits)?;
        let raw_end = self.raw_len.checked_add(raw_len.checked_next_multiple_of(8)?).filter(fits)?;
        (self.len, self.raw_len) = (end, raw_end);
        self.parts.push(part);
        Some(part)
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether every part travels as it is.
    pub(super) fn is_raw(&self) -> bool {
        self.parts.iter().all(|part| part.packing == Packing::Raw)
    }

    /// The parts with bytes or padding in `from..to` of the payload that travels, with their positions.
    fn touched(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, &Part)> {
        let first = self.parts.partition_point(|part| part.end() <= from);
        self.parts.iter().enumerate().skip(first).take_while(move |(_, part)| part.at < to)
    }

    /// Writes what stands from `offset` of the payload that travels; `source` gives the bytes of a part, unpacked.
    pub(super) fn gather<'a>(
        &self,
        offset: usize,
        out: &mut [u8],
        source: impl Fn(usize) -> &'a [u8],
    ) -> Result<(), WireError> {
        out.fill(0);
        for (position, part) in self.touched(offset, offset + out.len()) {
            let Some((from, to)) = overlap(part, offset, out.len()) else { continue };
            let elements = source(position).get(part.raw_offset(from)..part.raw_offset(to));
            let place = out.get_mut(part.at + from - offset..part.at + to - offset);
            let (Some(elements), Some(place)) = (elements, place) else { return Err(outside()) };
            kernels::narrow(part.packing, part.dtype, elements, place)?;
        }
        Ok(())
    }

    /// Unpacks `bytes`, which stand at `offset` of the payload that travels, to where they belong in `out`. Padding must
    /// be zero.
    pub(super) fn scatter(&self, offset: usize, bytes: &[u8], out: &mut [u8]) -> Result<(), WireError> {
        for (_, part) in self.touched(offset, offset + bytes.len()) {
            if let Some((from, to)) = overlap(part, offset, bytes.len()) {
                let elements = bytes.get(part.at + from - offset..part.at + to - offset);
                let place = out.get_mut(part.raw_at + part.raw_offset(from)..part.raw_at + part.raw_offset(to));
                let (Some(elements), Some(place)) = (elements, place) else { return Err(outside()) };
                kernels::widen(part.packing, part.dtype, elements, place)?;
            }
            let padding = (part.at + part.len).saturating_sub(offset)..part.end().saturating_sub(offset);
            let padding = bytes.get(padding.start..padding.end.min(bytes.len())).unwrap_or_default();
            if padding.iter().any(|byte| *byte != 0) {
                return Err(WireError::Malformed("the padding after a tensor or the body is not zero".into()));
            }
        }
        Ok(())
    }
}

/// What of a part lies in `len` bytes from `offset` of the payload, as offsets in the part.
fn overlap(part: &Part, offset: usize, len: usize) -> Option<(usize, usize)> {
    let from = offset.saturating_sub(part.at);
    let to = (offset + len).saturating_sub(part.at).min(part.len);
    (from < to).then_some((from, to))
}

fn outside() -> WireError {
    WireError::Failed("a part lies outside its buffer".into())
}
