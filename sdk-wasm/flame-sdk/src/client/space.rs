//! What the clients' formulas need of a model, so that they can be checked without a host.

use crate::error::Result;
use crate::tensor::Model;

/// A vector of parameters.
pub trait Space: Sized {
    /// A second vector of the same numbers.
    fn copy(&self) -> Result<Self>;
    /// self += alpha · other.
    fn add(&mut self, alpha: f64, other: &Self) -> Result<()>;
    /// self ×= alpha.
    fn times(&mut self, alpha: f64) -> Result<()>;
    /// self − other, as a new vector.
    fn minus(&self, other: &Self) -> Result<Self>;
    /// The Euclidean norm.
    fn norm(&self) -> f64;
}

impl Space for Model {
    fn copy(&self) -> Result<Self> {
        self.duplicate()
    }
    fn add(&mut self, alpha: f64, other: &Self) -> Result<()> {
        self.axpy(alpha, other)
    }
    fn times(&mut self, alpha: f64) -> Result<()> {
        self.scale(alpha)
    }
    fn minus(&self, other: &Self) -> Result<Self> {
        self.difference(other)
    }
    fn norm(&self) -> f64 {
        self.norm_l2()
    }
}

#[cfg(test)]
impl Space for Vec<f64> {
    fn copy(&self) -> Result<Self> {
        Ok(self.clone())
    }
    fn add(&mut self, alpha: f64, other: &Self) -> Result<()> {
        self.iter_mut().zip(other).for_each(|(y, x)| *y += alpha * x);
        Ok(())
    }
    fn times(&mut self, alpha: f64) -> Result<()> {
        for y in self.iter_mut() {
            *y *= alpha;
        }
        Ok(())
    }
    fn minus(&self, other: &Self) -> Result<Self> {
        Ok(self.iter().zip(other).map(|(y, x)| y - x).collect())
    }
    fn norm(&self) -> f64 {
        self.iter().map(|x| x * x).sum::<f64>().sqrt()
    }
}

#[cfg(test)]
pub(super) fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
}
