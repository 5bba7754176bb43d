//! `flame:worker/tensors`: numeric data that stays in the host.

use flame_model::{Dtype, Tensor};
use wasmtime::component::Resource;

use crate::bindings::flame::worker::tensors::{Host, HostModel, HostTensor};
use crate::bindings::flame::worker::types;
use crate::error::HostError;
use crate::state::{HostState, ModelHandle, TensorHandle};

pub(super) fn dtype(dtype: types::Dtype) -> Dtype {
    match dtype {
        types::Dtype::Float32 => Dtype::Float32,
        types::Dtype::Float64 => Dtype::Float64,
        types::Dtype::Float16 => Dtype::Float16,
        types::Dtype::Bfloat16 => Dtype::Bfloat16,
        types::Dtype::Int64 => Dtype::Int64,
        types::Dtype::Int32 => Dtype::Int32,
        types::Dtype::Uint8 => Dtype::Uint8,
    }
}

pub(super) fn guest_dtype(dtype: Dtype) -> types::Dtype {
    match dtype {
        Dtype::Float32 => types::Dtype::Float32,
        Dtype::Float64 => types::Dtype::Float64,
        Dtype::Float16 => types::Dtype::Float16,
        Dtype::Bfloat16 => types::Dtype::Bfloat16,
        Dtype::Int64 => types::Dtype::Int64,
        Dtype::Int32 => types::Dtype::Int32,
        Dtype::Uint8 => types::Dtype::Uint8,
    }
}

impl HostState {
    /// The bytes of a tensor of this shape, checked against the quota's room before anything is allocated.
    fn room_for(&self, shape: &[u64], dtype: Dtype) -> Result<(), HostError> {
        let bytes = shape.iter().try_fold(dtype.size() as u64, |bytes, size| bytes.checked_mul(*size));
        let bytes = bytes.ok_or_else(|| HostError::invalid(format!("a tensor of the shape {shape:?} has no size")))?;
        self.quota.charge(bytes).map(drop)
    }

    /// Refuses to carry more into the guest than one call may, before anything is copied.
    fn carry(&self, count: u64, size: usize) -> Result<(), HostError> {
        let (bytes, limit) = (count.saturating_mul(size as u64), self.spec.limits.call_bytes);
        if bytes > limit as u64 {
            return Err(HostError::limit(format!(
                "call bytes: {bytes} are to be read in one call and the grant has {limit}; read them in pieces \
                 (limits.call-bytes in policy.toml)"
            )));
        }
        Ok(())
    }

    fn push_tensor(&mut self, tensor: Tensor) -> Result<Resource<TensorHandle>, HostError> {
        let handle = self.own(tensor)?;
        self.push(handle)
    }
}

impl Host for HostState {}

impl HostTensor for HostState {
    fn zeros(&mut self, shape: Vec<u64>, kind: types::Dtype) -> Result<Resource<TensorHandle>, HostError> {
        self.room_for(&shape, dtype(kind))?;
        self.push_tensor(Tensor::zeros(&shape, dtype(kind))?)
    }

    fn from_f32(&mut self, shape: Vec<u64>, data: Vec<f32>) -> Result<Resource<TensorHandle>, HostError> {
        self.room_for(&shape, Dtype::Float32)?;
        self.push_tensor(Tensor::from_f32(&shape, &data)?)
    }

    fn from_bytes(
        &mut self,
        shape: Vec<u64>,
        kind: types::Dtype,
        data: Vec<u8>,
    ) -> Result<Resource<TensorHandle>, HostError> {
        self.room_for(&shape, dtype(kind))?;
        self.push_tensor(Tensor::from_bytes(&shape, dtype(kind), &data)?)
    }

    fn shape(&mut self, tensor: Resource<TensorHandle>) -> wasmtime::Result<Vec<u64>> {
        Ok(self.table.get(&tensor)?.lock().tensor.shape().to_vec())
    }

    fn dtype(&mut self, tensor: Resource<TensorHandle>) -> wasmtime::Result<types::Dtype> {
        Ok(guest_dtype(self.table.get(&tensor)?.lock().tensor.dtype()))
    }

    fn read_f32(&mut self, tensor: Resource<TensorHandle>, offset: u64, count: u64) -> Result<Vec<f32>, HostError> {
        self.carry(count, size_of::<f32>())?;
        Ok(self.table.get(&tensor)?.lock().tensor.read_f32(offset, count)?)
    }

    fn read_bytes(&mut self, tensor: Resource<TensorHandle>, offset: u64, count: u64) -> Result<Vec<u8>, HostError> {
        let tensor = self.table.get(&tensor)?.lock();
        self.carry(count, tensor.tensor.dtype().size())?;
        Ok(tensor.tensor.read_bytes(offset, count)?.to_vec())
    }

    fn write_f32(&mut self, tensor: Resource<TensorHandle>, offset: u64, data: Vec<f32>) -> Result<(), HostError> {
        self.table.get(&tensor)?.write(&self.quota, |tensor| Ok(tensor.write_f32(offset, &data)?))
    }

    fn write_bytes(&mut self, tensor: Resource<TensorHandle>, offset: u64, data: Vec<u8>) -> Result<(), HostError> {
        self.table.get(&tensor)?.write(&self.quota, |tensor| Ok(tensor.write_bytes(offset, &data)?))
    }

    fn duplicate(&mut self, tensor: Resource<TensorHandle>) -> Result<Resource<TensorHandle>, HostError> {
        let copy = self.table.get(&tensor)?.fork();
        self.push(copy)
    }

    fn drop(&mut self, tensor: Resource<TensorHandle>) -> wasmtime::Result<()> {
        self.delete(tensor)?;
        Ok(())
    }
}

impl HostModel for HostState {
    fn new(&mut self) -> wasmtime::Result<Resource<ModelHandle>> {
        Ok(self.push(ModelHandle::default())?)
    }

    fn names(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&model)?.slots.keys().cloned().collect())
    }

    fn get(&mut self, model: Resource<ModelHandle>, name: String) -> Result<Resource<TensorHandle>, HostError> {
        let slots = &self.table.get(&model)?.slots;
        let Some(slot) = slots.get(&name).cloned() else {
            let known = slots.keys().take(20).map(|name| crate::text::name(name)).collect::<Vec<_>>().join(", ");
            let name = crate::text::name(&name);
            return Err(HostError::not_found(format!("the model has no tensor `{name}` (it has: {known})")));
        };
        self.push(slot)
    }

    fn set(
        &mut self,
        model: Resource<ModelHandle>,
        name: String,
        value: Resource<TensorHandle>,
    ) -> Result<(), HostError> {
        if name.is_empty() || name.len() > 1_024 {
            return Err(HostError::invalid("a tensor's name has 1 to 1,024 bytes"));
        }
        let slot = self.table.get(&value)?.fork();
        let limit = self.spec.limits.handles;
        let model = self.table.get_mut(&model)?;
        if model.slots.len() >= limit && !model.slots.contains_key(&name) {
            return Err(HostError::limit(format!(
                "a model may have as many tensors as the grant has handles, which is {limit} (limits.handles in \
                 policy.toml)"
            )));
        }
        model.insert(&self.quota, name, slot)
    }

    fn byte_size(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&model)?.snapshot().byte_size())
    }

    fn parameter_count(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&model)?.snapshot().parameter_count())
    }

    fn duplicate(&mut self, model: Resource<ModelHandle>) -> Result<Resource<ModelHandle>, HostError> {
        let copy = self.table.get(&model)?.fork(&self.quota)?;
        self.push(copy)
    }

    fn axpy(
        &mut self,
        model: Resource<ModelHandle>,
        alpha: f64,
        other: Resource<ModelHandle>,
    ) -> Result<(), HostError> {
        let other = self.table.get(&other)?.snapshot();
        self.table.get(&model)?.write(&self.quota, |model| Ok(model.axpy(alpha, &other)?))
    }

    fn scale(&mut self, model: Resource<ModelHandle>, alpha: f64) -> Result<(), HostError> {
        self.table.get(&model)?.write(&self.quota, |model| {
            model.scale(alpha);
            Ok(())
        })
    }

    fn difference(
        &mut self,
        model: Resource<ModelHandle>,
        base: Resource<ModelHandle>,
    ) -> Result<Resource<ModelHandle>, HostError> {
        let (model, base) = (self.table.get(&model)?.snapshot(), self.table.get(&base)?.snapshot());
        self.quota.charge(model.byte_size()).map(drop)?;
        let difference = self.own_model(model.difference(&base)?)?;
        self.push(difference)
    }

    fn slice(
        &mut self,
        model: Resource<ModelHandle>,
        offset: u64,
        count: u64,
    ) -> Result<Resource<ModelHandle>, HostError> {
        let model = self.table.get(&model)?.snapshot();
        self.quota.charge(count.saturating_mul(8)).map(drop)?;
        let slice = self.own_model(model.slice(offset, count)?)?;
        self.push(slice)
    }

    fn axpby_slice(
        &mut self,
        model: Resource<ModelHandle>,
        offset: u64,
        alpha: f64,
        part: Resource<ModelHandle>,
        beta: f64,
    ) -> Result<(), HostError> {
        let part = self.table.get(&part)?.snapshot();
        self.table.get(&model)?.write(&self.quota, |model| Ok(model.axpby_slice(offset, alpha, &part, beta)?))
    }

    fn norm_l2(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<f64> {
        Ok(self.table.get(&model)?.snapshot().norm_l2())
    }

    fn all_finite(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&model)?.snapshot().all_finite())
    }

    fn drop(&mut self, model: Resource<ModelHandle>) -> wasmtime::Result<()> {
        self.delete(model)?;
        Ok(())
    }
}
