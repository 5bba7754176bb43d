//! FedProx, Li et al. 2020: the client's loss gains (mu/2)·‖w − w_t‖², which keeps it near the model that it received.

use super::Space;
use crate::context::Context;
use crate::error::Result;

/// The proximal term of weight `mu`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FedProxClient {
    /// Weight of the term, at least 0.
    pub mu: f64,
}

impl FedProxClient {
    /// The weight that the job's rule names (`optimizer: {sort: fedprox, kwargs: {mu: 0.1}}`), 0 where it names none.
    pub fn of_job(ctx: &Context) -> Result<Self> {
        Ok(Self { mu: ctx.rule_number("mu")?.unwrap_or(0.0) })
    }

    /// The term: (mu/2)·‖w − w_t‖², to be added to the loss.
    pub fn term<M: Space>(&self, model: &M, received: &M) -> Result<f64> {
        let norm = model.minus(received)?.norm();
        Ok(self.mu / 2.0 * norm * norm)
    }

    /// The term's gradient, mu·(w − w_t), as a step of rate `rate`: w −= rate·mu·(w − w_t). For after a step of the loss's own gradient.
    pub fn step<M: Space>(&self, model: &mut M, received: &M, rate: f64) -> Result<()> {
        let share = rate * self.mu;
        model.times(1.0 - share)?;
        model.add(share, received)
    }

    /// The same gradient added to one that the trainer holds itself.
    pub fn add_gradient(&self, gradient: &mut [f32], model: &[f32], received: &[f32]) {
        #[expect(clippy::cast_possible_truncation, reason = "gradients are f32")]
        let mu = self.mu as f32;
        for ((g, w), of) in gradient.iter_mut().zip(model).zip(received) {
            *g += mu * (w - of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::assert_close;
    use super::*;

    #[test]
    fn opt_08_the_term_of_a_distance_of_root_five() {
        let prox = FedProxClient { mu: 0.1 };
        let term = prox.term(&vec![1.0, 2.0], &vec![0.0, 0.0]).unwrap();
        assert!((term - 0.25).abs() < 1e-12, "{term}");
    }

    #[test]
    fn a_step_goes_towards_the_received_model() {
        let prox = FedProxClient { mu: 0.5 };
        let mut model = vec![1.0, 2.0];
        prox.step(&mut model, &vec![0.0, 4.0], 0.1).unwrap();
        assert_close(&model, &[0.95, 2.1]);
        let mut gradient = [1.0, 1.0];
        prox.add_gradient(&mut gradient, &[1.0, 2.0], &[0.0, 4.0]);
        assert!((gradient[0] - 1.5).abs() < 1e-6 && gradient[1].abs() < 1e-6);
    }
}
