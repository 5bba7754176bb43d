//! How a message's tensors travel: as they are, or narrowed.
//!
//! | encoding | bytes per element | error of an element x | values that it cannot carry |
//! |---|---|---|---|
//! | raw | as stored | none | – |
//! | f16 | 2 | at most 2⁻¹¹·\|x\|, and 2⁻²⁵ below 2⁻¹⁴ | finite ones that would round to infinity: from 65,520 |
//! | bf16 | 2 | at most 2⁻⁸·\|x\|, and 2⁻¹³⁴ below 2⁻¹²⁶ | finite ones that would round to infinity: from 3.396·10³⁸ |
//! | int8 | 1, and 8 per tensor | at most half the scale max\|x\|/127 | NaN and infinity |
//!
//! All round half to even, once. NaN and infinity stay what they are in f16 and bf16. What cannot be carried is refused
//! at the sender and by name: to saturate would change a model behind its owner's back, and a value of that size in a
//! model is nearly always a training that has come off the rails.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{WireError, kernels};
use crate::{Dtype, Message, Model, ModelError, SharedBufferMut, Tensor};

/// zstd's levels that can be asked for. Those above need hundreds of megabytes for a percent.
pub const ZSTD_LEVELS: RangeInclusive<u8> = 1..=19;

/// How the elements of `float32` and `float64` tensors travel. Tensors of other dtypes always travel as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TensorEncoding {
    /// As they are, bit for bit.
    #[default]
    Raw,
    /// As IEEE 754 binary16.
    F16,
    /// As the upper half of a binary32.
    Bf16,
    /// As whole multiples, from −127 to 127, of one scale per tensor: the largest magnitude divided by 127. A tensor of
    /// zeros (and one whose largest magnitude is under 10⁻³⁰⁶) has the scale 0 and arrives as zeros.
    Int8,
}

impl TensorEncoding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::F16, Self::Bf16, Self::Int8];

    /// Whether what arrives may differ from what was sent.
    pub const fn is_lossy(self) -> bool {
        !matches!(self, Self::Raw)
    }

    /// The name in job files, logs and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for TensorEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TensorEncoding {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            ModelError::InvalidArgument(format!("unknown tensor encoding {text:.32?}; known: {known}"))
        })
    }
}

/// How a message travels. The default copies nothing and changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Encoding {
    /// Its tensors.
    pub tensors: TensorEncoding,
    /// zstd over body and tensors at this level, one of [`ZSTD_LEVELS`].
    pub zstd: Option<u8>,
}

impl Encoding {
    /// Whether encoding is more than writing a header: it costs time and memory in proportion to the message.
    pub const fn is_work(self) -> bool {
        self.tensors.is_lossy() || self.zstd.is_some()
    }
}

/// How one tensor travels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Packing {
    Raw,
    F16,
    Bf16,
    Int8 { scale: f64 },
}

impl Packing {
    /// The code on the wire; settled for ever.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::F16 => 1,
            Self::Bf16 => 2,
            Self::Int8 { .. } => 3,
        }
    }

    /// Bytes of an element on its way.
    pub(super) const fn size(self, dtype: Dtype) -> usize {
        match self {
            Self::Raw => dtype.size(),
            Self::F16 | Self::Bf16 => 2,
            Self::Int8 { .. } => 1,
        }
    }

    /// Whether tensors of this dtype may travel so.
    pub(super) const fn fits(self, dtype: Dtype) -> bool {
        matches!(self, Self::Raw) || matches!(dtype, Dtype::Float32 | Dtype::Float64)
    }

    /// How `tensor` travels when `encoding` is asked for, or why it cannot.
    fn choose(tensor: &Tensor, encoding: TensorEncoding) -> Result<Self, String> {
        if !encoding.is_lossy() {
            return Ok(Self::Raw);
        }
        let (largest, finite) = match (tensor.as_slice::<f32>(), tensor.as_slice::<f64>()) {
            (Some(x), _) => kernels::magnitude_f32(x),
            (_, Some(x)) => kernels::magnitude_f64(x),
            _ => return Ok(Self::Raw),
        };
        let within = |bound: f64, packing: Self, hint: &str| {
            if largest < bound {
                return Ok(packing);
            }
            Err(format!("it holds ±{largest:e}, which would become infinite; use {hint}, or look why it is so large"))
        };
        match encoding {
            TensorEncoding::Raw => Ok(Self::Raw),
            TensorEncoding::F16 => within(kernels::F16_BOUND, Self::F16, "bf16 or raw"),
            TensorEncoding::Bf16 => within(kernels::BF16_BOUND, Self::Bf16, "raw"),
            TensorEncoding::Int8 if finite => Ok(Self::Int8 { scale: kernels::scale(largest) }),
            TensorEncoding::Int8 => Err("it holds NaN or infinity; look where that comes from, or use raw".into()),
        }
    }
}

/// How every tensor of a message travels, in order.
pub(super) fn packings(message: &Message, encoding: TensorEncoding) -> Result<Vec<Packing>, WireError> {
    let mut packings = Vec::new();
    for (model, tensors) in &message.models {
        for (name, tensor) in tensors.iter() {
            packings.push(choose(model, name, tensor, encoding)?);
        }
    }
    Ok(packings)
}

fn choose(model: &str, name: &str, tensor: &Tensor, encoding: TensorEncoding) -> Result<Packing, WireError> {
    Packing::choose(tensor, encoding).map_err(|why| WireError::Unfit {
        model: model.to_owned(),
        tensor: name.to_owned(),
        encoding,
        why,
    })
}

/// The message as a receiver would have it after `encoding`, for transports that hand it over in memory: results must not
/// differ by transport. Tensors that travel as they are stay shared.
pub fn round(message: &Message, encoding: TensorEncoding) -> Result<Message, WireError> {
    let mut rounded = Message { models: Vec::with_capacity(message.models.len()), ..message.clone() };
    for (name, model) in &message.models {
        let mut tensors = Model::new();
        for (tensor_name, tensor) in model.iter() {
            let packing = choose(name, tensor_name, tensor, encoding)?;
            tensors.insert(tensor_name.to_owned(), round_tensor(tensor, packing)?);
        }
        rounded.models.push((name.clone(), tensors));
    }
    Ok(rounded)
}

/// Through a small buffer, so that the narrow form of the whole is never there.
fn round_tensor(tensor: &Tensor, packing: Packing) -> Result<Tensor, WireError> {
    const ELEMENTS: usize = 16 * 1024;
    if packing == Packing::Raw {
        return Ok(tensor.clone());
    }
    let no_memory = |error: ModelError| WireError::Failed(error.to_string());
    let dtype = tensor.dtype();
    let mut narrow = SharedBufferMut::with_len(ELEMENTS * packing.size(dtype)).map_err(no_memory)?;
    let mut whole = SharedBufferMut::for_overwrite(tensor.byte_len()).map_err(no_memory)?;
    let step = ELEMENTS * dtype.size();
    for (from, to) in tensor.bytes().chunks(step).zip(whole.as_mut_bytes().chunks_mut(step)) {
        let len = from.len() / dtype.size() * packing.size(dtype);
        let between = narrow.as_mut_bytes().get_mut(..len).unwrap_or_default();
        kernels::narrow(packing, dtype, from, between)?;
        kernels::widen(packing, dtype, between, to)?;
    }
    Tensor::from_buffer(tensor.shape(), dtype, whole.freeze()).map_err(no_memory)
}
