//! SCAFFOLD, Karimireddy et al. 2020: every step is corrected by c − cᵢ, the server's control variate minus the client's.

use super::Space;
use crate::error::Result;
use crate::tensor::Model;

/// Name of the second model: c on the way to the clients, Δcᵢ on the way back.
pub const CONTROL: &str = "control";

/// A client's control variate cᵢ, which it keeps from round to round.
#[derive(Debug, Default)]
pub struct ScaffoldClient<M = Model> {
    /// None: zero, as before the first round.
    control: Option<M>,
}

impl<M: Space> ScaffoldClient<M> {
    /// A client before its first round: cᵢ = 0.
    pub const fn new() -> Self {
        Self { control: None }
    }

    /// One that goes on with the control variate that it had.
    pub const fn with_control(control: M) -> Self {
        Self { control: Some(control) }
    }

    /// cᵢ; none before the first round, where it is zero.
    pub const fn control(&self) -> Option<&M> {
        self.control.as_ref()
    }

    /// The correction of a step of rate `rate`: w −= rate·(c − cᵢ). For after a step of the loss's own gradient. `server` is c; none
    /// before the first round, where it is zero.
    pub fn step(&self, model: &mut M, server: Option<&M>, rate: f64) -> Result<()> {
        if let Some(server) = server {
            model.add(-rate, server)?;
        }
        if let Some(control) = &self.control {
            model.add(rate, control)?;
        }
        Ok(())
    }

    /// The round's end after `steps` steps of rate `rate` (option II of the paper): cᵢ⁺ = cᵢ − c + (w_t − w)/(steps·rate). Gives
    /// Δcᵢ = cᵢ⁺ − cᵢ, to be sent as the second model `control`.
    pub fn finish(&mut self, received: &M, trained: &M, server: Option<&M>, steps: u64, rate: f64) -> Result<M> {
        #[expect(clippy::cast_precision_loss, reason = "steps of a round")]
        let steps = steps.max(1) as f64;
        let mut change = received.minus(trained)?;
        change.times(1.0 / (steps * rate))?;
        if let Some(server) = server {
            change.add(-1.0, server)?;
        }
        // Δcᵢ = (w_t − w)/(steps·rate) − c: what cᵢ was falls out.
        let control = match self.control.take() {
            Some(mut control) => {
                control.add(1.0, &change)?;
                control
            }
            None => change.copy()?,
        };
        self.control = Some(control);
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::assert_close;
    use super::*;

    #[test]
    fn a_round_moves_the_control_by_the_mean_gradient_less_the_servers() {
        let mut client = ScaffoldClient::<Vec<f64>>::new();
        // Two steps of rate 1/2 from 0 to 3/4: the mean gradient was −3/4.
        let change = client.finish(&vec![0.0], &vec![0.75], None, 2, 0.5).unwrap();
        assert_close(&change, &[-0.75]);
        assert_close(client.control().unwrap(), &[-0.75]);
        let change = client.finish(&vec![0.0], &vec![0.5], Some(&vec![0.1]), 1, 1.0).unwrap();
        assert_close(&change, &[-0.6]);
        assert_close(client.control().unwrap(), &[-1.35]);
    }

    #[test]
    fn a_step_is_corrected_by_the_servers_control_minus_the_clients() {
        let client = ScaffoldClient::with_control(vec![0.2, 0.0]);
        let mut model = vec![1.0, 1.0];
        client.step(&mut model, Some(&vec![0.5, 0.5]), 0.1).unwrap();
        assert_close(&model, &[0.97, 0.95]);
        ScaffoldClient::new().step(&mut model, None, 0.1).unwrap();
        assert_close(&model, &[0.97, 0.95]);
    }

    #[test]
    fn drift_is_gone_once_the_controls_are_the_gradients() {
        // Two clients whose gradients are 1 and −1 everywhere: with their controls known, both stay where they are.
        for gradient in [1.0, -1.0] {
            let client = ScaffoldClient::with_control(vec![gradient]);
            let mut model = vec![3.0];
            model.add(-0.1, &vec![gradient]).unwrap();
            client.step(&mut model, Some(&vec![0.0]), 0.1).unwrap();
            assert_close(&model, &[3.0]);
        }
    }
}
