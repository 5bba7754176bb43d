//! Shared bytes, aligned for every element type.
//!
//! Storage is a vector of 64-bit words behind an `Arc`: eight-byte alignment without unsafe code, freezing without a
//! copy, sharing by counting. Nobody may write to words that a second handle can see.

use std::fmt;
use std::sync::Arc;

use crate::ModelError;

/// Immutable bytes on shared, 8-byte aligned storage: a window of it, in fact. Cloning and slicing are free.
#[derive(Clone, Default)]
pub struct SharedBuffer {
    words: Arc<Vec<u64>>,
    start: usize,
    len: usize,
}

/// Bytes on aligned storage that one owner fills, then freezes.
#[derive(Debug, Default)]
pub struct SharedBufferMut {
    words: Vec<u64>,
    len: usize,
}

impl SharedBufferMut {
    /// `len` zero bytes. The memory counts as taken: check a length that others claim against a grant before asking. The
    /// system gives zeroed pages as they are written to, so that filling it is the only pass over it.
    pub fn with_len(len: usize) -> Result<Self, ModelError> {
        let words = bytemuck::allocation::try_zeroed_vec(len.div_ceil(8))
            .map_err(|()| ModelError::TooLarge { what: "a buffer", bytes: u64::try_from(len).unwrap_or(u64::MAX) })?;
        Ok(Self { words, len })
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self, ModelError> {
        let mut buffer = Self::with_len(bytes.len())?;
        buffer.as_mut_bytes().copy_from_slice(bytes);
        Ok(buffer)
    }

    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What has been written so far.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words).get(..self.len).unwrap_or_default()
    }

    /// All of it, to write to.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words).get_mut(..self.len).unwrap_or_default()
    }

    /// Writes `data` at `offset`; refused when it would run over the end.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), ModelError> {
        let len = self.len;
        let target = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(data.len())?))
            .and_then(|range| self.as_mut_bytes().get_mut(range))
            .ok_or_else(|| {
                ModelError::InvalidArgument(format!(
                    "cannot write {} bytes at {offset} of a buffer of {len}",
                    data.len()
                ))
            })?;
        target.copy_from_slice(data);
        Ok(())
    }

    /// Makes it immutable and shareable, without a copy.
    pub fn freeze(self) -> SharedBuffer {
        SharedBuffer { len: self.len, start: 0, words: Arc::new(self.words) }
    }
}

impl SharedBuffer {
    /// A copy of `bytes` on aligned storage.
    pub fn copy_of(bytes: &[u8]) -> Result<Self, ModelError> {
        Ok(SharedBufferMut::copy_of(bytes)?.freeze())
    }

    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.start.saturating_add(self.len);
        bytemuck::cast_slice(&self.words).get(self.start..end).unwrap_or_default()
    }

    /// A window of this window on the same storage; `None` when it would not lie inside.
    pub fn slice(&self, offset: usize, len: usize) -> Option<Self> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        Some(Self { words: Arc::clone(&self.words), start: self.start.checked_add(offset)?, len })
    }

    /// Whether the first byte lies on a multiple of 8.
    pub const fn is_aligned(&self) -> bool {
        self.start.is_multiple_of(8)
    }

    /// Whether both are windows of one storage.
    pub fn shares_storage(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.words, &other.words)
    }

    /// Whether another handle sees the same storage, so that the first write copies this window.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.words) > 1
    }

    /// Bytes that the storage behind this window holds alive: at least `len()`.
    pub fn storage_bytes(&self) -> usize {
        self.words.len().saturating_mul(8)
    }

    /// A number that is the same for all windows of one living storage, and for no other living one: to count each once.
    pub fn storage_key(&self) -> usize {
        Arc::as_ptr(&self.words).addr()
    }

    /// The bytes to write to; copies this window to storage of its own first when others can see it.
    pub(crate) fn make_mut(&mut self) -> &mut [u8] {
        if Arc::get_mut(&mut self.words).is_none() {
            let mut words = vec![0_u64; self.len.div_ceil(8)];
            if let Some(target) = bytemuck::cast_slice_mut(&mut words).get_mut(..self.len) {
                target.copy_from_slice(self.as_bytes());
            }
            self.words = Arc::new(words);
            self.start = 0;
        }
        let end = self.start.saturating_add(self.len);
        // Sole owner by now: `make_mut` copies nothing.
        let words: &mut Vec<u64> = Arc::make_mut(&mut self.words);
        bytemuck::cast_slice_mut(words).get_mut(self.start..end).unwrap_or_default()
    }
}

impl AsRef<[u8]> for SharedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuffer").field("len", &self.len).field("start", &self.start).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_outside_are_refused_and_change_nothing() {
        let mut buffer = SharedBufferMut::with_len(5).unwrap();
        assert!(buffer.write_at(3, b"abc").is_err());
        assert!(buffer.write_at(u64::MAX, b"a").is_err());
        assert_eq!(buffer.as_bytes(), [0; 5]);
        buffer.write_at(2, b"abc").unwrap();
        buffer.write_at(5, b"").unwrap();
        assert_eq!(buffer.freeze().as_bytes(), b"\0\0abc");
    }

    #[test]
    fn absurd_lengths_are_an_error_and_not_an_abort() {
        assert!(matches!(SharedBufferMut::with_len(usize::MAX), Err(ModelError::TooLarge { .. })));
    }

    #[test]
    fn windows_stay_inside() {
        let whole = SharedBuffer::copy_of(b"0123456789").unwrap();
        let inner = whole.slice(2, 6).unwrap();
        assert_eq!(inner.as_bytes(), b"234567");
        assert_eq!(inner.slice(4, 2).unwrap().as_bytes(), b"67");
        assert!(inner.slice(4, 3).is_none());
        assert!(inner.slice(usize::MAX, 2).is_none());
        assert!(inner.shares_storage(&whole));
    }

    #[test]
    fn a_write_through_a_second_handle_copies_only_the_window() {
        let whole = SharedBuffer::copy_of(&[7; 64]).unwrap();
        let mut window = whole.slice(8, 8).unwrap();
        window.make_mut().fill(1);
        assert_eq!(whole.as_bytes(), [7; 64]);
        assert_eq!(window.as_bytes(), [1; 8]);
        assert_eq!(window.storage_bytes(), 8);
        let before = window.storage_key();
        window.make_mut().fill(2);
        assert_eq!(window.storage_key(), before, "a sole owner writes in place");
    }
}
