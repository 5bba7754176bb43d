//! Read-only data that the participant grants: loaded whole, or gathered a shuffled minibatch at a time.

use crate::bindings::flame::worker::datasets as host;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::tensor::{Dtype, Tensor};

pub use crate::bindings::flame::worker::datasets::ArrayInfo;

/// Elements that one read carries at most: 32 MiB of floats, well below the host's cap on one call.
const MOST_PER_READ: u64 = 8 << 20;

/// A data set: arrays of rows, such as "images" and "labels". Where it lies is the participant's own business.
#[derive(Debug)]
pub struct Dataset {
    name: String,
    inner: host::Dataset,
}

impl Dataset {
    /// Names of the data sets that this task was granted.
    pub fn names() -> Vec<String> {
        host::names()
    }

    /// Opens the data set that the participant granted under `name`.
    pub fn open(name: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), inner: host::Dataset::open(name)? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its arrays.
    pub fn arrays(&self) -> Vec<ArrayInfo> {
        self.inner.arrays()
    }

    /// What is known of one array; the error names those that there are.
    pub fn array(&self, name: &str) -> Result<ArrayInfo> {
        let all = self.arrays();
        let known: Vec<String> = all.iter().map(|array| array.name.clone()).collect();
        all.into_iter().find(|array| array.name == name).ok_or_else(|| {
            Error::NotFound(format!("array \"{name}\" in data set \"{}\", which has {known:?}", self.name))
        })
    }

    /// Its number of rows.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows `offset .. offset + count` of one array, as a tensor whose first axis is the row.
    pub fn rows(&self, array: &str, offset: u64, count: u64) -> Result<Tensor> {
        Ok(Tensor(self.inner.rows(array, offset, count)?))
    }

    /// The rows named, in that order, written to the front of `target` and converted to its type.
    pub fn gather_into(&self, array: &str, indices: &[u64], target: &Tensor) -> Result<()> {
        Ok(self.inner.gather_into(array, indices, &target.0)?)
    }

    /// All rows of one array as 32-bit floats, row-major and unscaled: a byte of 255 is 255.0.
    pub fn read_all_f32(&self, array: &str) -> Result<Vec<f32>> {
        self.read_all(array, Tensor::read_f32)
    }

    /// All rows of one array of bytes, row-major.
    pub fn read_all_u8(&self, array: &str) -> Result<Vec<u8>> {
        let info = self.array(array)?;
        if info.dtype != Dtype::Uint8 {
            return Err(Error::ShapeMismatch(format!(
                "array \"{array}\" of data set \"{}\" holds {:?}, not bytes: read it as floats",
                self.name, info.dtype
            )));
        }
        self.read_all(array, Tensor::read_bytes)
    }

    /// The array "images", for minibatches; every row has the extents `shape` (28 × 28 for MNIST).
    pub fn images(&self, shape: &[u64]) -> Result<Images<'_>> {
        self.expect_rows("images", shape)?;
        Ok(Images { dataset: self, row: shape.to_vec(), target: None })
    }

    /// The array "labels": one byte a row, each below `classes`.
    pub fn labels(&self, classes: u8) -> Result<Vec<u8>> {
        self.expect_rows("labels", &[])?;
        let labels = self.read_all_u8("labels")?;
        match labels.iter().position(|label| *label >= classes) {
            None => Ok(labels),
            Some(row) => Err(Error::InvalidArgument(format!(
                "data set \"{}\": the label of row {row} is not below {classes}, the number of classes",
                self.name
            ))),
        }
    }

    fn expect_rows(&self, array: &str, shape: &[u64]) -> Result<()> {
        let got = self.array(array)?.row_shape;
        if got != shape {
            return Err(Error::ShapeMismatch(format!(
                "array \"{array}\" of data set \"{}\": rows should be {shape:?}, are {got:?}",
                self.name
            )));
        }
        Ok(())
    }

    fn read_all<T>(&self, array: &str, read: impl Fn(&Tensor, u64, u64) -> Result<Vec<T>>) -> Result<Vec<T>> {
        let row: u64 = self.array(array)?.row_shape.iter().product();
        let (rows, at_once) = (self.len(), (MOST_PER_READ / row.max(1)).max(1));
        let mut all = Vec::new();
        let mut at = 0;
        while at < rows {
            let count = at_once.min(rows - at);
            let mut part = read(&self.rows(array, at, count)?, 0, count * row)?;
            if all.is_empty() {
                all = part;
            } else {
                all.append(&mut part);
            }
            at += count;
        }
        Ok(all)
    }
}

/// The images of a data set that is too big to keep: a minibatch costs one gather in the host and one read.
#[derive(Debug)]
pub struct Images<'a> {
    dataset: &'a Dataset,
    row: Vec<u64>,
    /// Reused while batches fit, so that a batch allocates nothing in the host.
    target: Option<(u64, Tensor)>,
}

impl Images<'_> {
    /// Elements of one image.
    pub fn pixels(&self) -> u64 {
        self.row.iter().product()
    }

    /// The images named, in that order, row-major and unscaled.
    pub fn batch(&mut self, indices: &[u64]) -> Result<Vec<f32>> {
        let count = indices.len() as u64;
        let target = match self.target.take() {
            Some((capacity, tensor)) if capacity >= count => (capacity, tensor),
            _ => {
                let shape: Vec<u64> = std::iter::once(count).chain(self.row.iter().copied()).collect();
                (count, Tensor::zeros(&shape, Dtype::Float32)?)
            }
        };
        let (_, tensor) = self.target.insert(target);
        self.dataset.gather_into("images", indices, tensor)?;
        let count = count * self.row.iter().product::<u64>();
        tensor.read_f32(0, count)
    }
}

/// Goes once over `rows` rows in a random order, a minibatch of at most `batch` row numbers at a time.
#[derive(Clone, Debug)]
pub struct Minibatches {
    order: Vec<u32>,
    batch: usize,
}

impl Minibatches {
    /// A new order for an epoch; a `batch` of 0 counts as 1.
    pub fn new(rows: u32, batch: usize, rng: &mut Rng) -> Self {
        let mut order: Vec<u32> = (0..rows).collect();
        rng.shuffle(&mut order);
        Self { order, batch: batch.max(1) }
    }

    /// The minibatches in their order: as few as hold every row, and of sizes that differ by one at the most.
    ///
    /// A remainder of one or two rows in a batch of its own would take a whole step on next to no evidence, and be the last
    /// word of an epoch.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let mut rest = self.order.as_slice();
        let batches = rest.len().div_ceil(self.batch);
        (0..batches).rev().map(move |after| {
            let (batch, others) = rest.split_at(rest.len() / (after + 1));
            rest = others;
            batch
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_every_row_once() {
        let epoch = Minibatches::new(70, 32, &mut Rng::new(1));
        let sizes: Vec<usize> = epoch.iter().map(<[u32]>::len).collect();
        assert_eq!(sizes, [23, 23, 24]);
        assert_eq!(Minibatches::new(0, 32, &mut Rng::new(1)).iter().count(), 0);
        let mut rows: Vec<u32> = epoch.iter().flatten().copied().collect();
        assert_ne!(rows, (0..70).collect::<Vec<_>>());
        rows.sort_unstable();
        assert_eq!(rows, (0..70).collect::<Vec<_>>());
    }
}
