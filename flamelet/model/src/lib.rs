//! What a model is in Flame: tensors over shared storage, named and ordered into models, with a file format (safetensors)
//! and a wire format (a channel message).
//!
//! Pure: this crate does no I/O, starts no threads and takes no locks. It never trusts a length, count, offset, dtype or
//! text that comes from outside, and it never panics over them. Numbers are little-endian and row-major everywhere, in
//! memory as on the wire, so that bytes are cast and not converted.

#[cfg(target_endian = "big")]
compile_error!("flame-model casts little-endian bytes in place: it supports little-endian hosts only");

mod dtype;
mod element;
mod error;
mod kernels;
mod mapping;
mod message;
mod model;
pub mod safetensors;
mod storage;
mod tensor;
pub mod wire;

#[doc(hidden)]
pub use half;

pub use dtype::Dtype;
pub use element::Element;
pub use error::ModelError;
pub use mapping::release_spare_memory;
pub use message::{BaseRef, EndId, Form, Message, Metric};
pub use model::Model;
pub use storage::{SharedBuffer, SharedBufferMut};
pub use tensor::{MAX_DIMENSIONS, Tensor};
