//! How probable it is that the variant is better: shown, never deciding (looked at daily it "decides" in half of all
//! runs without any effect).

use crate::stats::quadrature::{Density, duel};

/// What two Beta posteriors say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// P(treatment's rate > control's).
    pub probability_better: f64,
    /// E[max(control's - treatment's rate, 0)]: what choosing the treatment costs if it is the worse one.
    pub expected_loss: f64,
}

/// Posteriors of two rates, each from a Beta(1, 1) prior and `units` of which a share `rate` converted (effective
/// numbers, not always whole). `P = integral f1 F0`, `loss = integral F1 (1 - F0)`, both densities cumulated on one
/// grid. The uniform prior is Bayes's own (Philosophical Transactions 53:370, 1763). `None` where a number is not finite
/// or not in its range.
#[must_use]
pub fn compare(treatment: (f64, f64), control: (f64, f64)) -> Option<Posterior> {
    let posterior = |(units, rate): (f64, f64)| {
        let valid = units.is_finite() && units >= 0.0 && (0.0..=1.0).contains(&rate);
        valid.then(|| Density::new(1.0 + units * rate, 1.0 + units * (1.0 - rate)))
    };
    let found = duel(&posterior(treatment)?, &posterior(control)?);
    Some(Posterior {
        probability_better: found.first_larger.clamp(0.0, 1.0),
        expected_loss: found.shortfall.clamp(0.0, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn known_answers() {
        // Without data both are uniform: E[max(p0 - p1, 0)] = 1/6.
        let nothing = compare((0.0, 0.0), (0.0, 0.0)).unwrap();
        assert!((nothing.probability_better - 0.5).abs() < 1e-12, "{nothing:?}");
        assert!((nothing.expected_loss - 1.0 / 6.0).abs() < 1e-12, "{nothing:?}");
        let swapped = compare((50.0, 0.2), (7.3, 0.31)).unwrap().probability_better;
        let straight = compare((7.3, 0.31), (50.0, 0.2)).unwrap().probability_better;
        assert!((swapped + straight - 1.0).abs() < 1e-12);
    }

    #[test]
    fn counts_of_any_size_are_answered() {
        for units in [1.0, 1e3, 1e6, 1e9] {
            for rate in [0.0, 1e-6, 0.5, 1.0] {
                let found = compare((units, rate), (units / 7.0, rate)).unwrap();
                assert!((0.0..=1.0).contains(&found.probability_better), "{units} {rate}: {found:?}");
            }
        }
        assert!(compare((f64::NAN, 0.5), (1.0, 0.5)).is_none());
    }
}
