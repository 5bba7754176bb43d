//! Tensors and models: handles to numbers that live in the host. Bytes cross only where a method says `read` or `write`.

use std::fmt;

use crate::bindings::flame::worker::tensors as host;
use crate::error::{Error, Result};

pub use crate::bindings::flame::worker::types::Dtype;

/// Elements that one `read` or `write` carries at most, so that no call comes near the host's cap of 128 MiB.
const MOST_PER_CALL: u64 = 8 << 20;

/// A dense, row-major array in the host.
///
/// A handle: dropping it frees the storage once no other handle shares it; writing through one of several sharers copies first.
#[derive(Debug)]
pub struct Tensor(pub(crate) host::Tensor);

impl Tensor {
    /// A tensor of zeros.
    pub fn zeros(shape: &[u64], dtype: Dtype) -> Result<Self> {
        Ok(Self(host::Tensor::zeros(shape, dtype)?))
    }

    /// A 32-bit float tensor; `data` is row-major and has as many elements as `shape` says.
    pub fn from_f32(shape: &[u64], data: &[f32]) -> Result<Self> {
        Ok(Self(host::Tensor::from_f32(shape, data)?))
    }

    /// A tensor of any type from its little-endian, row-major bytes.
    pub fn from_bytes(shape: &[u64], dtype: Dtype, data: &[u8]) -> Result<Self> {
        Ok(Self(host::Tensor::from_bytes(shape, dtype, data)?))
    }

    /// Its extents; empty for a scalar.
    pub fn shape(&self) -> Vec<u64> {
        self.0.shape()
    }

    /// Its element type as the host stores it.
    pub fn dtype(&self) -> Dtype {
        self.0.dtype()
    }

    /// Its number of elements.
    pub fn len(&self) -> u64 {
        self.shape().iter().product()
    }

    /// Whether one of its extents is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements, converted to 32-bit floats.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let count = self.len();
        if count <= MOST_PER_CALL {
            return self.read_f32(0, count);
        }
        let mut all = Vec::new();
        let mut at = 0;
        while at < count {
            all.append(&mut self.read_f32(at, MOST_PER_CALL.min(count - at))?);
            at += MOST_PER_CALL;
        }
        Ok(all)
    }

    /// `count` elements from `offset`, converted to 32-bit floats.
    pub fn read_f32(&self, offset: u64, count: u64) -> Result<Vec<f32>> {
        Ok(self.0.read_f32(offset, count)?)
    }

    /// `count` elements from `offset`, as stored (little-endian).
    pub fn read_bytes(&self, offset: u64, count: u64) -> Result<Vec<u8>> {
        Ok(self.0.read_bytes(offset, count)?)
    }

    /// Overwrites elements from `offset` on, converted to the tensor's type.
    pub fn write_f32(&self, offset: u64, data: &[f32]) -> Result<()> {
        Ok(self.0.write_f32(offset, data)?)
    }

    /// Overwrites elements from `offset` on with bytes as stored.
    pub fn write_bytes(&self, offset: u64, data: &[u8]) -> Result<()> {
        Ok(self.0.write_bytes(offset, data)?)
    }

    /// A second tensor of the same numbers; costs nothing until one of the two is written.
    pub fn duplicate(&self) -> Result<Self> {
        Ok(Self(self.0.duplicate()?))
    }
}

/// A named, ordered set of tensors in the host: what is trained, sent, averaged and stored.
pub struct Model(pub(crate) host::Model);

impl Model {
    /// A model without tensors.
    pub fn new() -> Self {
        Self(host::Model::new())
    }

    /// Names of its tensors, in their order.
    pub fn names(&self) -> Vec<String> {
        self.0.names()
    }

    /// A handle to its own tensor `name`: a write through it changes the model.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        Ok(Tensor(self.0.get(name)?))
    }

    /// Puts a tensor in, behind the others or in the place of one of the same name.
    pub fn set(&mut self, name: &str, value: &Tensor) -> Result<()> {
        Ok(self.0.set(name, &value.0)?)
    }

    /// Puts a new 32-bit float tensor in.
    pub fn set_f32(&mut self, name: &str, shape: &[u64], data: &[f32]) -> Result<()> {
        self.set(name, &Tensor::from_f32(shape, data)?)
    }

    /// All elements of tensor `name`, converted to 32-bit floats; `shape` is checked first.
    pub fn read_f32(&self, name: &str, shape: &[u64]) -> Result<Vec<f32>> {
        let tensor = self.checked(name, shape)?;
        tensor.to_f32()
    }

    /// Overwrites all elements of tensor `name`.
    pub fn write_f32(&mut self, name: &str, data: &[f32]) -> Result<()> {
        let tensor = self.get(name)?;
        let need = tensor.len();
        if data.len() as u64 != need {
            return Err(Error::ShapeMismatch(format!("{name} has {need} elements, got {}", data.len())));
        }
        tensor.write_f32(0, data)
    }

    /// Bytes of all its tensors.
    pub fn byte_size(&self) -> u64 {
        self.0.byte_size()
    }

    /// Elements of all its tensors.
    pub fn parameter_count(&self) -> u64 {
        self.0.parameter_count()
    }

    /// A second model of the same numbers; costs nothing until one of the two is written.
    pub fn duplicate(&self) -> Result<Self> {
        Ok(Self(self.0.duplicate()?))
    }

    /// self += alpha × other, in the host.
    pub fn axpy(&mut self, alpha: f64, other: &Self) -> Result<()> {
        Ok(self.0.axpy(alpha, &other.0)?)
    }

    /// self ×= alpha, in the host.
    pub fn scale(&mut self, alpha: f64) -> Result<()> {
        Ok(self.0.scale(alpha)?)
    }

    /// self − base, as a new model.
    pub fn difference(&self, base: &Self) -> Result<Self> {
        Ok(Self(self.0.difference(&base.0)?))
    }

    /// Parameters `offset .. offset + count` of the flattened model, as a one-tensor model: a ring's chunk.
    pub fn slice(&self, offset: u64, count: u64) -> Result<Self> {
        Ok(Self(self.0.slice(offset, count)?))
    }

    /// `self[offset ..] = alpha × part + beta × self[offset ..]`, over as many parameters as `part` has.
    pub fn axpby_slice(&mut self, offset: u64, alpha: f64, part: &Self, beta: f64) -> Result<()> {
        Ok(self.0.axpby_slice(offset, alpha, &part.0, beta)?)
    }

    /// The Euclidean norm over all parameters.
    pub fn norm_l2(&self) -> f64 {
        self.0.norm_l2()
    }

    /// Whether no parameter is NaN or infinite.
    pub fn all_finite(&self) -> bool {
        self.0.all_finite()
    }

    fn checked(&self, name: &str, shape: &[u64]) -> Result<Tensor> {
        let tensor = self.get(name)?;
        let got = tensor.shape();
        if got != shape {
            return Err(Error::ShapeMismatch(format!("{name} should be {shape:?}, is {got:?}")));
        }
        Ok(tensor)
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Model").field(&self.0).finish()
    }
}
