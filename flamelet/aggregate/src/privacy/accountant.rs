//! Rényi differential privacy of repeated (subsampled) Gaussian mechanisms, and its conversion to (ε, δ).
//!
//! One round at order α costs α/(2z²) (Mironov 2017, "Rényi differential privacy", proposition 7); where each client takes
//! part with probability q, what theorem 11 and section 3.3 of Mironov, Talwar and Zhang 2019 ("Rényi differential privacy of
//! the sampled Gaussian mechanism") say for whole α. Rounds add up. ε at δ is the least over the orders of
//! RDP(α) + ln((α−1)/α) − (ln δ + ln α)/(α−1) (Canonne, Kamath and Steinke 2020, "The discrete Gaussian for differential
//! privacy", proposition 12).

/// Whole orders, close together where the best one of usual jobs lies.
fn orders() -> impl Iterator<Item = u16> {
    (2..=64).chain([72, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 1024])
}

/// What has been spent, per order.
#[derive(Debug, Clone, PartialEq)]
pub struct Accountant {
    rdp: Vec<f64>,
}

impl Default for Accountant {
    fn default() -> Self {
        Self { rdp: orders().map(|_| 0.0).collect() }
    }
}

impl Accountant {
    /// Counts rounds of noise multiplier z in which each client takes part with probability `sampling_rate` (1: all always do).
    pub fn spend(&mut self, multiplier: f64, sampling_rate: f64, rounds: u32) {
        for (spent, order) in self.rdp.iter_mut().zip(orders()) {
            *spent += f64::from(rounds) * one_round(multiplier, sampling_rate, order);
        }
    }

    /// ε at δ of all that was counted.
    pub fn epsilon(&self, delta: f64) -> f64 {
        self.best(|rdp, order| rdp + ((order - 1.0) / order).ln() - (delta.ln() + order.ln()) / (order - 1.0))
    }

    fn best(&self, epsilon: impl Fn(f64, f64) -> f64) -> f64 {
        if self.rdp.iter().all(|spent| *spent <= 0.0) {
            return 0.0;
        }
        let each = self.rdp.iter().zip(orders()).map(|(rdp, order)| epsilon(*rdp, f64::from(order)));
        each.fold(f64::INFINITY, f64::min).max(0.0)
    }

    /// RDP per order, for a checkpoint.
    pub(super) fn spent(&self) -> &[f64] {
        &self.rdp
    }

    pub(super) fn restore(rdp: &[f64]) -> Option<Self> {
        let fits = rdp.len() == orders().count() && rdp.iter().all(|spent| *spent >= 0.0);
        fits.then(|| Self { rdp: rdp.to_vec() })
    }
}

/// RDP of one round at a whole order.
fn one_round(multiplier: f64, q: f64, order: u16) -> f64 {
    let (alpha, variance) = (f64::from(order), multiplier * multiplier);
    if multiplier <= 0.0 {
        return f64::INFINITY;
    }
    if q >= 1.0 {
        return alpha / (2.0 * variance);
    }
    // ln Σ binomial(α, k)·(1−q)^(α−k)·q^k·exp((k²−k)/(2z²)), term by term in logarithms.
    let mut total = f64::NEG_INFINITY;
    let mut binomial = 0.0_f64;
    for k in 0..=order {
        let chosen = f64::from(k);
        let term = binomial
            + (alpha - chosen) * (-q).ln_1p()
            + chosen * q.ln()
            + (chosen * chosen - chosen) / (2.0 * variance);
        let (small, large) = if total < term { (total, term) } else { (term, total) };
        total = large + (small - large).exp().ln_1p();
        binomial += ((alpha - chosen) / (chosen + 1.0)).ln();
    }
    total.max(0.0) / (alpha - 1.0)
}

/// σ of the classic Gaussian mechanism, √(2·ln(1.25/δ))·sensitivity/ε, valid for ε up to 1 (Dwork and Roth 2014, theorem A.1).
pub fn gaussian_sigma(sensitivity: f64, epsilon: f64, delta: f64) -> f64 {
    (2.0 * (1.25 / delta).ln()).sqrt() * sensitivity / epsilon
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(multiplier: f64, q: f64, rounds: u32) -> Accountant {
        let mut accountant = Accountant::default();
        accountant.spend(multiplier, q, rounds);
        accountant
    }

    #[test]
    fn epsilons_that_tensorflow_privacy_states_come_out() {
        // tensorflow_privacy/privacy/analysis/compute_dp_sgd_privacy_test.py: examples, batch, z, epochs, δ, ε.
        let cases = [
            (60_000.0, 150.0, 1.3, 15.0, 1e-5, 0.724_223_402_610_959_5),
            (100_000.0, 100.0, 1.0, 30.0, 1e-7, 1.415_498_849_544_484_5),
        ];
        for (examples, batch, multiplier, epochs, delta, expected) in cases {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
            let rounds = (epochs * f64::ceil(examples / batch)) as u32;
            let found = spent(multiplier, batch / examples, rounds).epsilon(delta);
            assert!((found - expected).abs() < 1e-7, "{found} is not {expected}");
        }
    }

    #[test]
    fn the_example_of_abadi_2016_comes_out() {
        // "Deep learning with differential privacy": q = 0.01, σ = 4, T = 10 000, δ = 10⁻⁵ gives ε ≈ 1.26 by the moments accountant,
        // which is RDP with the conversion RDP(α) + ln(1/δ)/(α−1).
        let accountant = spent(4.0, 0.01, 10_000);
        let moments = accountant.best(|rdp, order| rdp - 1e-5_f64.ln() / (order - 1.0));
        assert!((moments - 1.26).abs() < 0.01, "{moments}");
        assert!(accountant.epsilon(1e-5) < moments, "the later conversion is tighter");
    }

    #[test]
    fn a_whole_cohort_costs_what_mironov_2017_says() {
        let accountant = spent(2.0, 1.0, 3);
        for (rdp, order) in accountant.spent().iter().zip(orders()) {
            assert!((rdp - 3.0 * f64::from(order) / 8.0).abs() < 1e-12);
        }
        let almost = spent(2.0, 1.0 - 1e-12, 3);
        assert!((almost.epsilon(1e-5) - accountant.epsilon(1e-5)).abs() < 1e-6);
    }

    #[test]
    fn more_rounds_less_noise_and_more_sampling_cost_more() {
        let epsilon = |multiplier, q, rounds| spent(multiplier, q, rounds).epsilon(1e-5);
        assert!(epsilon(1.0, 0.1, 10) < epsilon(1.0, 0.1, 11));
        assert!(epsilon(1.0, 0.1, 10) < epsilon(0.9, 0.1, 10));
        assert!(epsilon(1.0, 0.1, 10) < epsilon(1.0, 0.2, 10));
        assert!(epsilon(0.0, 1.0, 1).is_infinite());
        assert!(epsilon(1.0, 1.0, 0).abs() < f64::EPSILON);
    }
}
