//! FedNova, Wang et al. 2020: what a client reports as its number of steps (metric `steps`), ‖aᵢ‖₁ in the paper.
//!
//! For plain SGD it is the number of steps. Momentum and a proximal term weigh steps unequally; these are their sums of weights.

/// `steps` steps of SGD with momentum `momentum` (0 to below 1): (τ − ρ(1 − ρ^τ)/(1 − ρ))/(1 − ρ).
pub fn momentum_steps(steps: u32, momentum: f64) -> f64 {
    let tau = f64::from(steps);
    let rest = 1.0 - momentum;
    (tau - momentum * (1.0 - momentum.powf(tau)) / rest) / rest
}

/// `steps` steps of rate `rate` with FedProx's term of weight `mu`: (1 − (1 − a)^τ)/a with a = rate·mu, which is τ for a = 0.
pub fn proximal_steps(steps: u32, rate: f64, mu: f64) -> f64 {
    let (tau, share) = (f64::from(steps), rate * mu);
    if share == 0.0 { tau } else { (1.0 - (1.0 - share).powf(tau)) / share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_steps_count_as_they_are() {
        assert!((momentum_steps(7, 0.0) - 7.0).abs() < 1e-12);
        assert!((proximal_steps(7, 0.1, 0.0) - 7.0).abs() < 1e-12);
    }

    #[test]
    fn the_formulas_are_the_sums_of_the_steps_weights() {
        let (momentum, tau) = (0.9, 12_u32);
        // Gradient k is in the buffer of every later step: Σ_{j ≥ k} ρ^(j−k).
        let weights = (0..tau).map(|k| (k..tau).map(|j| f64::powf(momentum, f64::from(j - k))).sum::<f64>());
        assert!((momentum_steps(tau, momentum) - weights.sum::<f64>()).abs() < 1e-9);
        let (rate, mu) = (0.1, 0.5);
        let weights = (0..tau).map(|k| f64::powf(1.0 - rate * mu, f64::from(tau - 1 - k)));
        assert!((proximal_steps(tau, rate, mu) - weights.sum::<f64>()).abs() < 1e-9);
    }
}
