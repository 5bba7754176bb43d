//! Shared bytes, aligned for every element type.
//!
//! Storage is 64-bit words behind an `Arc`: eight-byte alignment without unsafe code, freezing without a copy, sharing by
//! counting. Nobody may write to words that a second handle can see. Large storage is a [`Mapping`].

use std::fmt;
use std::sync::Arc;

use crate::ModelError;
use crate::mapping::Mapping;

/// Immutable bytes on shared, 8-byte aligned storage: a window of it, in fact. Cloning and slicing are free.
#[derive(Clone, Default)]
pub struct SharedBuffer {
    words: Arc<Words>,
    start: usize,
    len: usize,
}

/// Bytes on aligned storage that one owner fills, then freezes.
#[derive(Debug, Default)]
pub struct SharedBufferMut {
    words: Words,
    len: usize,
}

/// Storage from this size on is mapped; two huge pages of a common size.
const LARGE: usize = 4 << 20;

/// Words, mapped when they are many.
#[derive(Debug)]
enum Words {
    Heap(Box<[u64]>),
    Mapped(Mapping),
}

impl Default for Words {
    fn default() -> Self {
        Self::Heap(Box::default())
    }
}

impl Words {
    /// Enough zeros for `len` bytes; `None` when there is no such memory.
    fn zeroed(len: usize) -> Option<Self> {
        if len < LARGE { Self::heap(len) } else { Mapping::zeroed(len.checked_next_multiple_of(8)?).map(Self::Mapped) }
    }

    /// Enough for `len` bytes, which may be those of an earlier storage.
    fn for_overwrite(len: usize) -> Option<Self> {
        if len < LARGE {
            return Self::heap(len);
        }
        Mapping::for_overwrite(len.checked_next_multiple_of(8)?).map(Self::Mapped)
    }

    fn heap(len: usize) -> Option<Self> {
        bytemuck::allocation::try_zeroed_slice_box(len.div_ceil(8)).ok().map(Self::Heap)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(words) => bytemuck::cast_slice(words),
            Self::Mapped(map) => map.bytes(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(words) => bytemuck::cast_slice_mut(words),
            Self::Mapped(map) => map.bytes_mut(),
        }
    }
}

impl SharedBufferMut {
    /// `len` zero bytes. Check a length that others claim against a grant before asking: the memory is promised at once and
    /// taken as it is written to.
    pub fn with_len(len: usize) -> Result<Self, ModelError> {
        Self::of(Words::zeroed(len), len)
    }

    /// `len` bytes that the caller writes, all of them, before anybody reads one: until then they may be those of a buffer
    /// that was let go, perhaps another task's.
    pub fn for_overwrite(len: usize) -> Result<Self, ModelError> {
        Self::of(Words::for_overwrite(len), len)
    }

    fn of(words: Option<Words>, len: usize) -> Result<Self, ModelError> {
        let words = words
            .ok_or_else(|| ModelError::TooLarge { what: "a buffer", bytes: u64::try_from(len).unwrap_or(u64::MAX) })?;
        Ok(Self { words, len })
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self, ModelError> {
        let mut buffer = Self::for_overwrite(bytes.len())?;
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
        self.words.bytes().get(..self.len).unwrap_or_default()
    }

    /// All of it, to write to.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        self.words.bytes_mut().get_mut(..self.len).unwrap_or_default()
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
        self.words.bytes().get(self.start..end).unwrap_or_default()
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
        self.words.bytes().len()
    }

    /// A number that is the same for all windows of one living storage, and for no other living one: to count each once.
    pub fn storage_key(&self) -> usize {
        Arc::as_ptr(&self.words).addr()
    }

    /// The bytes to write to; copies this window to storage of its own first when others can see it.
    pub(crate) fn make_mut(&mut self) -> &mut [u8] {
        if Arc::get_mut(&mut self.words).is_none() {
            // Without memory for the copy there is no way on: as with any other allocation.
            let mut copy =
                Words::for_overwrite(self.len).unwrap_or_else(|| Words::Heap(vec![0; self.len.div_ceil(8)].into()));
            if let Some(target) = copy.bytes_mut().get_mut(..self.len) {
                target.copy_from_slice(self.as_bytes());
            }
            self.words = Arc::new(copy);
            self.start = 0;
        }
        let end = self.start.saturating_add(self.len);
        let words = Arc::get_mut(&mut self.words).map(Words::bytes_mut).unwrap_or_default();
        words.get_mut(self.start..end).unwrap_or_default()
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
    fn large_storage_is_as_good_as_small() {
        let len = LARGE + 3;
        let mut buffer = SharedBufferMut::with_len(len).unwrap();
        assert!(buffer.as_bytes().iter().all(|byte| *byte == 0));
        buffer.write_at(LARGE as u64, b"abc").unwrap();
        let whole = buffer.freeze();
        let mut window = whole.clone();
        window.make_mut()[0] = 9;
        assert_eq!((whole.as_bytes()[0], window.as_bytes()[0]), (0, 9));
        assert_eq!(&window.as_bytes()[LARGE..], b"abc");
        assert_eq!(whole.storage_bytes(), len.next_multiple_of(8));
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
