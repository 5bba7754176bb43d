//! `flame:worker/datasets`: read-only data that the participant grants.

use std::sync::Arc;

use flame_model::{Dtype, Tensor};
use wasmtime::component::Resource;

use super::tensors::guest_dtype;
use crate::Dataset;
use crate::bindings::flame::worker::datasets::{ArrayInfo, Host, HostDataset};
use crate::error::HostError;
use crate::state::{DatasetHandle, HostState, TensorHandle};

impl Host for HostState {
    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.spec.datasets.iter().map(|set| set.name().to_owned()).collect())
    }
}

impl HostDataset for HostState {
    fn open(&mut self, name: String) -> Result<Resource<DatasetHandle>, HostError> {
        let Some(set) = self.spec.datasets.iter().find(|set| set.name() == name) else {
            let known = self.spec.datasets.iter().map(|set| set.name()).collect::<Vec<_>>().join(", ");
            return Err(HostError::not_found(format!(
                "no data set `{0}` is granted to this task (granted: {known}); the participant grants one by \
                 `flamelet --data {0}=PATH`",
                crate::text::name(&name)
            )));
        };
        let handle = DatasetHandle(Arc::clone(set));
        self.gate.open(&name, &self.spec);
        self.push(handle)
    }

    fn arrays(&mut self, set: Resource<DatasetHandle>) -> wasmtime::Result<Vec<ArrayInfo>> {
        let info = |(name, tensor): (&str, &Tensor)| ArrayInfo {
            name: name.to_owned(),
            dtype: guest_dtype(tensor.dtype()),
            row_shape: tensor.shape().iter().skip(1).copied().collect(),
        };
        Ok(self.table.get(&set)?.0.arrays().map(info).collect())
    }

    fn len(&mut self, set: Resource<DatasetHandle>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&set)?.0.rows())
    }

    fn rows(
        &mut self,
        set: Resource<DatasetHandle>,
        array: String,
        offset: u64,
        count: u64,
    ) -> Result<Resource<TensorHandle>, HostError> {
        let set = Arc::clone(&self.table.get(&set)?.0);
        let array = find(&set, &array)?;
        let within = offset.checked_add(count).is_some_and(|end| end <= set.rows());
        if !within {
            return Err(HostError::invalid(format!(
                "rows {offset} and {count} more lie outside the data set, which has {}",
                set.rows()
            )));
        }
        let row_bytes = row_bytes(array);
        let bytes = array.read_bytes(offset * row_elements(array), count * row_elements(array))?;
        self.quota.charge(count.saturating_mul(row_bytes)).map(drop)?;
        let shape: Vec<u64> = std::iter::once(count).chain(array.shape().iter().skip(1).copied()).collect();
        let rows = self.own(Tensor::from_bytes(&shape, array.dtype(), bytes)?)?;
        self.push(rows)
    }

    fn gather_into(
        &mut self,
        set: Resource<DatasetHandle>,
        array: String,
        indices: Vec<u64>,
        target: Resource<TensorHandle>,
    ) -> Result<(), HostError> {
        let set = Arc::clone(&self.table.get(&set)?.0);
        let array = find(&set, &array)?;
        if let Some(outside) = indices.iter().find(|index| **index >= set.rows()) {
            return Err(HostError::invalid(format!(
                "row {outside} lies outside the data set, which has {}",
                set.rows()
            )));
        }
        let elements = row_elements(array);
        self.table.get(&target)?.write(&self.quota, |target| {
            let needed = elements * indices.len() as u64;
            let room = target.shape().iter().product::<u64>();
            if needed > room {
                return Err(HostError::invalid(format!(
                    "{} rows have {needed} elements and the target tensor has room for {room}",
                    indices.len()
                )));
            }
            for (position, row) in (0u64..).zip(&indices) {
                if target.dtype() == array.dtype() {
                    target.write_bytes(position * elements, array.read_bytes(row * elements, elements)?)?;
                } else {
                    copy_converted(array, row * elements, elements, target, position * elements)?;
                }
            }
            Ok(())
        })
    }

    fn drop(&mut self, set: Resource<DatasetHandle>) -> wasmtime::Result<()> {
        self.delete(set)?;
        Ok(())
    }
}

/// Integers up to 2²⁴ and all 8- and 16-bit types pass through f32 unchanged; wider ones round, as a guest that asks for
/// floats expects.
fn copy_converted(from: &Tensor, offset: u64, count: u64, to: &mut Tensor, at: u64) -> Result<(), HostError> {
    let begin = usize::try_from(at).unwrap_or(usize::MAX);
    match to.as_mut_slice::<f32>() {
        Some(target) if from.dtype() == Dtype::Uint8 => {
            for (value, byte) in target.iter_mut().skip(begin).zip(from.read_bytes(offset, count)?) {
                *value = f32::from(*byte);
            }
        }
        _ => to.write_f32(at, &from.read_f32(offset, count)?)?,
    }
    Ok(())
}

fn find<'a>(set: &'a Dataset, array: &str) -> Result<&'a Tensor, HostError> {
    set.array(array).ok_or_else(|| {
        let known = set.arrays().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        HostError::not_found(format!(
            "data set `{}` has no array `{}` (it has: {known})",
            set.name(),
            crate::text::name(array)
        ))
    })
}

fn row_elements(array: &Tensor) -> u64 {
    array.shape().iter().skip(1).product()
}

fn row_bytes(array: &Tensor) -> u64 {
    row_elements(array) * array.dtype().size() as u64
}
