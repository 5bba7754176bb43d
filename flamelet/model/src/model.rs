//! A named, ordered set of tensors: what is trained, sent, averaged and stored.

use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::{Dtype, ModelError, Tensor, kernels, with_element};

/// Name of the one tensor of [`Model::slice`].
const SLICE: &str = "slice";

/// Named tensors in the order of their insertion. A clone shares every tensor's storage until one side writes.
///
/// The *flattened* model is the elements of all tensors, in order, row-major.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    tensors: IndexMap<String, Tensor>,
}

impl Model {
    /// Without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a tensor in, at the end, or in the place of the one of that name, which is returned.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Puts a tensor in unless there is one of that name.
    pub(crate) fn insert_new(&mut self, name: String, tensor: Tensor) -> bool {
        match self.tensors.entry(name) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(tensor);
                true
            }
        }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor of this name, to write to.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.tensors.get_mut(name)
    }

    /// The tensor of this name, or an error that names it.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, ModelError> {
        self.get(name).ok_or_else(|| ModelError::NotFound(name.to_owned()))
    }

    /// Names and tensors, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names and tensors to write to, in order.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Tensor)> {
        self.tensors.iter_mut().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Bytes of all elements; shared storage is counted for each tensor that shows it.
    pub fn byte_size(&self) -> u64 {
        self.tensors.values().map(|tensor| widen(tensor.byte_len())).sum()
    }

    /// Number of all elements.
    pub fn parameter_count(&self) -> u64 {
        self.tensors.values().map(|tensor| widen(tensor.len())).sum()
    }

    /// A model of zeros with these names, shapes and dtypes.
    pub fn zeros_like(&self) -> Result<Self, ModelError> {
        self.iter().map(|(name, tensor)| Ok((name, Tensor::zeros(tensor.shape(), tensor.dtype())?))).collect()
    }

    /// `self += alpha · other`, tensor by tensor. `float32` in `float32`, other types in `float64` with one rounding per
    /// element (integers: half to even, saturating).
    pub fn axpy(&mut self, alpha: f64, other: &Self) -> Result<(), ModelError> {
        self.same_layout(other)?;
        for (y, x) in self.tensors.values_mut().zip(other.tensors.values()) {
            // A handle of its own keeps `x` as it was if both are one storage.
            let x = x.clone();
            with_element!(y.dtype(), T => {
                if let (Some(y), Some(x)) = (y.as_mut_slice::<T>(), x.as_slice::<T>()) {
                    kernels::axpy(y, alpha, x);
                }
            });
        }
        Ok(())
    }

    /// `self ×= alpha`; rounding as for [`Model::axpy`].
    pub fn scale(&mut self, alpha: f64) {
        for tensor in self.tensors.values_mut() {
            with_element!(tensor.dtype(), T => kernels::scale(tensor.as_mut_slice::<T>().unwrap_or_default(), alpha));
        }
    }

    /// `self − base` as a new model of the same layout. Integers subtract exactly and saturate (unsigned: at 0).
    pub fn difference(&self, base: &Self) -> Result<Self, ModelError> {
        self.same_layout(base)?;
        let mut difference = self.clone();
        for (y, x) in difference.tensors.values_mut().zip(base.tensors.values()) {
            with_element!(y.dtype(), T => {
                if let (Some(y), Some(x)) = (y.as_mut_slice::<T>(), x.as_slice::<T>()) {
                    kernels::subtract(y, x);
                }
            });
        }
        Ok(difference)
    }

    /// Parameters `offset .. offset + count` of the flattened model, as a model of one `float32` tensor named `slice`.
    pub fn slice(&self, offset: u64, count: u64) -> Result<Self, ModelError> {
        self.check_range(offset, count)?;
        let mut values = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
        let mut skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        for tensor in self.tensors.values() {
            let start = skip.min(tensor.len());
            let end = start.saturating_add(left).min(tensor.len());
            tensor.extend_f32(start..end, &mut values);
            skip -= start;
            left -= end - start;
        }
        Ok([(SLICE, Tensor::from_f32(&[count], &values)?)].into_iter().collect())
    }

    /// `self[offset ..] = alpha · part + beta · self[offset ..]` over the flattened model, for as many parameters as `part`
    /// has; `part` is taken as `float32`. With a `beta` of 0 what was there is forgotten, also where it is not finite.
    pub fn axpby_slice(&mut self, offset: u64, alpha: f64, part: &Self, beta: f64) -> Result<(), ModelError> {
        let count = part.parameter_count();
        self.check_range(offset, count)?;
        let flat = part.flat_f32();
        let mut rest: &[f32] = &flat;
        let mut skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for tensor in self.tensors.values_mut() {
            let start = skip.min(tensor.len());
            let taken = rest.len().min(tensor.len() - start);
            skip -= start;
            if taken == 0 {
                continue; // Untouched tensors stay shared.
            }
            let (now, later) = rest.split_at(taken);
            rest = later;
            with_element!(tensor.dtype(), T => {
                let target = tensor.as_mut_slice::<T>().and_then(|all| all.get_mut(start..start + taken));
                kernels::axpby(target.unwrap_or_default(), alpha, now, beta);
            });
        }
        Ok(())
    }

    /// √Σx² over all parameters, accumulated in `float64` in one fixed order.
    pub fn norm_l2(&self) -> f64 {
        self.tensors.values().map(Tensor::sum_of_squares).sum::<f64>().sqrt()
    }

    /// Whether no parameter is NaN or infinite; remembered per tensor.
    pub fn all_finite(&self) -> bool {
        self.first_not_finite().is_none()
    }

    /// The name of the first tensor with a NaN or an infinity.
    pub fn first_not_finite(&self) -> Option<&str> {
        self.iter().find(|(_, tensor)| !tensor.all_finite()).map(|(name, _)| name)
    }

    /// Whether names, order, shapes and dtypes are the same; the error names the first difference.
    pub fn same_layout(&self, other: &Self) -> Result<(), ModelError> {
        for ((name, mine), (other_name, theirs)) in self.iter().zip(other.iter()) {
            if name != other_name {
                return Err(ModelError::ShapeMismatch(format!("expected tensor {name:?}, found {other_name:?}")));
            }
            if mine.dtype() != theirs.dtype() || mine.shape() != theirs.shape() {
                return Err(ModelError::ShapeMismatch(format!(
                    "tensor {name:?}: expected {} {:?}, found {} {:?}",
                    mine.dtype(),
                    mine.shape(),
                    theirs.dtype(),
                    theirs.shape()
                )));
            }
        }
        if let Some(name) = self.names().nth(other.len()) {
            return Err(ModelError::ShapeMismatch(format!("tensor {name:?} is missing")));
        }
        if let Some(name) = other.names().nth(self.len()) {
            return Err(ModelError::ShapeMismatch(format!("tensor {name:?} is not expected")));
        }
        Ok(())
    }

    /// All parameters as `float32`, in order.
    pub fn flat_f32(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.tensors.values().map(Tensor::len).sum());
        for tensor in self.tensors.values() {
            tensor.extend_f32(0..tensor.len(), &mut values);
        }
        values
    }

    /// The dtype that all tensors have, if they agree.
    pub fn dtype(&self) -> Option<Dtype> {
        let mut dtypes = self.tensors.values().map(Tensor::dtype);
        let first = dtypes.next()?;
        dtypes.all(|dtype| dtype == first).then_some(first)
    }

    fn check_range(&self, offset: u64, count: u64) -> Result<(), ModelError> {
        let total = self.parameter_count();
        match offset.checked_add(count) {
            Some(end) if end <= total => Ok(()),
            _ => Err(ModelError::InvalidArgument(format!(
                "parameters {offset} + {count} lie outside a model of {total} parameters"
            ))),
        }
    }
}

impl<N: Into<String>> FromIterator<(N, Tensor)> for Model {
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect() }
    }
}

fn widen(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Names and tensors in order.
impl IntoIterator for Model {
    type Item = (String, Tensor);
    type IntoIter = indexmap::map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}
