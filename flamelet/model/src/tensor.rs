//! A dense array on shared storage.

use std::any::TypeId;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::{Dtype, Element, ModelError, SharedBuffer, SharedBufferMut, kernels, with_element};

/// Most dimensions that a tensor may have.
pub const MAX_DIMENSIONS: usize = 32;

/// A dense, row-major, little-endian array. A clone is a second handle to the same storage; the first write through
/// either of them copies (copy on write), so that no handle ever sees another's write.
#[derive(Debug, Clone)]
pub struct Tensor {
    shape: Arc<[u64]>,
    dtype: Dtype,
    data: SharedBuffer,
    /// Known once somebody asked, for all handles that share these values.
    finite: Arc<OnceLock<bool>>,
}

impl Tensor {
    /// All zero. The memory is taken: check against a grant first.
    pub fn zeros(shape: &[u64], dtype: Dtype) -> Result<Self, ModelError> {
        let data = SharedBufferMut::with_len(byte_len(shape, dtype)?)?.freeze();
        Ok(Self { shape: shape.into(), dtype, data, finite: Arc::new(OnceLock::from(true)) })
    }

    /// A `float32` tensor with a copy of `data`, whose length must be the product of `shape`.
    pub fn from_f32(shape: &[u64], data: &[f32]) -> Result<Self, ModelError> {
        Self::from_bytes(shape, Dtype::Float32, bytemuck::cast_slice(data))
    }

    /// A tensor with a copy of elements, whose number must be the product of `shape`.
    pub fn from_elements<T: Element>(shape: &[u64], data: &[T]) -> Result<Self, ModelError> {
        Self::from_bytes(shape, T::DTYPE, bytemuck::cast_slice(data))
    }

    /// A tensor with a copy of little-endian, row-major `data`, whose length must be product of `shape` × element size.
    pub fn from_bytes(shape: &[u64], dtype: Dtype, data: &[u8]) -> Result<Self, ModelError> {
        check_len(shape, dtype, data.len())?;
        let data = SharedBuffer::copy_of(data)?;
        Ok(Self { shape: shape.into(), dtype, data, finite: Arc::default() })
    }

    /// A view of a buffer, without a copy where it is aligned to the element and with one where it is not.
    pub fn from_buffer(shape: &[u64], dtype: Dtype, data: SharedBuffer) -> Result<Self, ModelError> {
        check_len(shape, dtype, data.len())?;
        let aligned = data.as_bytes().as_ptr().addr().is_multiple_of(dtype.size());
        let data = if aligned { data } else { SharedBuffer::copy_of(data.as_bytes())? };
        Ok(Self { shape: shape.into(), dtype, data, finite: Arc::default() })
    }

    /// Extent per dimension; empty for a scalar.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Element type.
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of elements.
    pub const fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// Whether it has no elements.
    pub const fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Number of bytes of the elements.
    pub const fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// The elements as little-endian, row-major bytes.
    pub fn bytes(&self) -> &[u8] {
        self.data.as_bytes()
    }

    /// The storage window behind it.
    pub const fn buffer(&self) -> &SharedBuffer {
        &self.data
    }

    /// The elements as `T`; `None` when the dtype is not `T`'s (`f32`, `f64`, `half::f16`, `half::bf16`, `i64`, `i32`, `u8`).
    pub fn as_slice<T: bytemuck::AnyBitPattern>(&self) -> Option<&[T]> {
        if type_id(self.dtype) != TypeId::of::<T>() {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes()).ok()
    }

    /// The bytes to write to; copies first when another handle shares the storage.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match Arc::get_mut(&mut self.finite) {
            Some(known) => drop(known.take()),
            None => self.finite = Arc::default(),
        }
        self.data.make_mut()
    }

    /// The elements as `T` to write to (copy on write); `None` as for [`Tensor::as_slice`].
    pub fn as_mut_slice<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(&mut self) -> Option<&mut [T]> {
        if type_id(self.dtype) != TypeId::of::<T>() {
            return None;
        }
        bytemuck::try_cast_slice_mut(self.bytes_mut()).ok()
    }

    /// `count` elements from element `offset`, converted to `f32` (rounded half to even).
    pub fn read_f32(&self, offset: u64, count: u64) -> Result<Vec<f32>, ModelError> {
        let range = self.element_range(offset, count)?;
        let mut values = Vec::with_capacity(range.len());
        self.extend_f32(range, &mut values);
        Ok(values)
    }

    /// Appends the elements of an index range that lies inside as `f32`.
    pub(crate) fn extend_f32(&self, range: Range<usize>, target: &mut Vec<f32>) {
        with_element!(self.dtype, T => {
            let elements = self.as_slice::<T>().and_then(|all| all.get(range)).unwrap_or_default();
            kernels::extend_f32(target, elements);
        });
    }

    /// Writes `data` from element `offset`, converted to the dtype (rounded half to even; integers saturate, NaN gives 0).
    pub fn write_f32(&mut self, offset: u64, data: &[f32]) -> Result<(), ModelError> {
        let range = self.element_range(offset, u64::try_from(data.len()).unwrap_or(u64::MAX))?;
        with_element!(self.dtype, T => {
            let elements = self.as_mut_slice::<T>().and_then(|all| all.get_mut(range)).unwrap_or_default();
            kernels::assign_f32(elements, data);
        });
        Ok(())
    }

    /// `count` elements from element `offset`, as stored.
    pub fn read_bytes(&self, offset: u64, count: u64) -> Result<&[u8], ModelError> {
        let range = self.byte_range(offset, count)?;
        Ok(self.bytes().get(range).unwrap_or_default())
    }

    /// Writes whole elements, as stored, from element `offset`.
    pub fn write_bytes(&mut self, offset: u64, data: &[u8]) -> Result<(), ModelError> {
        let size = self.dtype.size();
        if !data.len().is_multiple_of(size) {
            return Err(ModelError::InvalidArgument(format!(
                "{} bytes are no whole number of {} elements of {size} bytes",
                data.len(),
                self.dtype
            )));
        }
        let range = self.byte_range(offset, u64::try_from(data.len() / size).unwrap_or(u64::MAX))?;
        if let Some(target) = self.bytes_mut().get_mut(range) {
            target.copy_from_slice(data);
        }
        Ok(())
    }

    /// Whether no element is NaN or infinite. Looked at once and remembered for all handles of the same values.
    pub fn all_finite(&self) -> bool {
        *self.finite.get_or_init(
            || with_element!(self.dtype, T => kernels::all_finite(self.as_slice::<T>().unwrap_or_default())),
        )
    }

    /// Remembers that no element is NaN or infinite, for whoever computed them so that none can be: nobody looks again.
    #[must_use]
    pub fn known_finite(self) -> Self {
        // Where somebody has looked already, that stands.
        let _ = self.finite.set(true);
        self
    }

    /// Σ x² in `f64`.
    pub fn sum_of_squares(&self) -> f64 {
        with_element!(self.dtype, T => kernels::sum_of_squares(self.as_slice::<T>().unwrap_or_default()))
    }

    /// Whether both handles see the same storage.
    pub fn shares_storage(&self, other: &Self) -> bool {
        self.data.shares_storage(&other.data)
    }

    /// Whether the first write would copy, because another handle shares the storage.
    pub fn is_shared(&self) -> bool {
        self.data.is_shared()
    }

    fn byte_range(&self, offset: u64, count: u64) -> Result<Range<usize>, ModelError> {
        let range = self.element_range(offset, count)?;
        let size = self.dtype.size();
        Ok(range.start.saturating_mul(size)..range.end.saturating_mul(size))
    }

    fn element_range(&self, offset: u64, count: u64) -> Result<Range<usize>, ModelError> {
        let len = self.len();
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(count).ok()?)?;
            (end <= len).then_some(start..end)
        };
        range().ok_or_else(|| {
            ModelError::InvalidArgument(format!("elements {offset} + {count} lie outside a tensor of {len} elements"))
        })
    }
}

/// Equal shape, dtype and bytes (so NaN equals the same NaN, and 0 does not equal −0).
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl Eq for Tensor {}

/// Bytes of a tensor of this shape; an error where the dimensions are too many or the product overflows.
pub(crate) fn byte_len(shape: &[u64], dtype: Dtype) -> Result<usize, ModelError> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(ModelError::InvalidArgument(format!(
            "a tensor of {} dimensions; at most {MAX_DIMENSIONS} are supported",
            shape.len()
        )));
    }
    // A dimension of 0 makes the tensor empty whatever the others are, also where their product would overflow.
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(dtype.size(), |bytes, extent| bytes.checked_mul(usize::try_from(*extent).ok()?))
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or(ModelError::TooLarge { what: "a tensor", bytes: u64::MAX })
}

fn check_len(shape: &[u64], dtype: Dtype, given: usize) -> Result<(), ModelError> {
    let needed = byte_len(shape, dtype)?;
    if needed == given {
        return Ok(());
    }
    let size = dtype.size();
    Err(ModelError::InvalidArgument(format!(
        "shape {shape:?} of {dtype} takes {needed} bytes ({} elements), but {given} ({} elements) were given",
        needed / size,
        given / size
    )))
}

fn type_id(dtype: Dtype) -> TypeId {
    with_element!(dtype, T => TypeId::of::<T>())
}
