//! FedDyn, Acar et al. 2021: the client's loss gains −⟨hᵢ, w⟩ + (alpha/2)·‖w − w_t‖², where hᵢ is its gradient at the optimum so far.

use super::Space;
use crate::context::Context;
use crate::error::Result;
use crate::tensor::Model;

/// A client's hᵢ, which it keeps from round to round.
#[derive(Debug)]
pub struct FedDynClient<M = Model> {
    /// Weight of the regulariser, above 0.
    pub alpha: f64,
    /// None: zero, as before the first round.
    history: Option<M>,
}

impl FedDynClient<Model> {
    /// A client before its first round, with the alpha that the job's rule names; `default` where it names none.
    pub fn of_job(ctx: &Context, default: f64) -> Result<Self> {
        Ok(Self::new(ctx.rule_number("alpha")?.unwrap_or(default)))
    }
}

impl<M: Space> FedDynClient<M> {
    /// A client before its first round: hᵢ = 0.
    pub const fn new(alpha: f64) -> Self {
        Self { alpha, history: None }
    }

    /// hᵢ; none before the first round, where it is zero.
    pub const fn history(&self) -> Option<&M> {
        self.history.as_ref()
    }

    /// The terms' gradient, −hᵢ + alpha·(w − w_t), as a step of rate `rate`. For after a step of the loss's own gradient.
    pub fn step(&self, model: &mut M, received: &M, rate: f64) -> Result<()> {
        let share = rate * self.alpha;
        model.times(1.0 - share)?;
        model.add(share, received)?;
        match &self.history {
            Some(history) => model.add(rate, history),
            None => Ok(()),
        }
    }

    /// The round's end: hᵢ −= alpha·(w − w_t).
    pub fn finish(&mut self, received: &M, trained: &M) -> Result<()> {
        let mut change = received.minus(trained)?;
        change.times(self.alpha)?;
        if let Some(history) = &mut self.history {
            return history.add(1.0, &change);
        }
        self.history = Some(change);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::assert_close;
    use super::*;

    #[test]
    fn the_history_takes_what_the_regulariser_held_back() {
        let mut client = FedDynClient::<Vec<f64>>::new(0.5);
        client.finish(&vec![1.0], &vec![3.0]).unwrap();
        assert_close(client.history().unwrap(), &[-1.0]);
        client.finish(&vec![2.0], &vec![1.0]).unwrap();
        assert_close(client.history().unwrap(), &[-0.5]);
    }

    #[test]
    fn a_step_takes_both_terms() {
        let mut client = FedDynClient::new(0.5);
        client.finish(&vec![0.0], &vec![2.0]).unwrap();
        let mut model = vec![3.0];
        // −rate·(−h + alpha·(w − w_t)) = −0.1·(1 + 0.5·2)
        client.step(&mut model, &vec![1.0], 0.1).unwrap();
        assert_close(&model, &[2.8]);
    }

    #[test]
    fn a_fixed_point_is_an_optimum_of_the_clients_own_loss() {
        // At w = w_t the regulariser is silent and the history is the loss's gradient: the step stands still where ∇L = h.
        let mut client = FedDynClient::new(1.0);
        client.finish(&vec![0.0], &vec![-2.0]).unwrap();
        let (rate, gradient) = (0.1, 2.0);
        let mut model = vec![5.0];
        model.add(-rate, &vec![gradient]).unwrap();
        client.step(&mut model, &vec![4.8], rate).unwrap();
        assert_close(&model, &[5.0]);
    }
}
