//! Figures that stay valid however often people look: the asymptotic confidence sequence of Waudby-Smith, Arbour,
//! Sinha, Kennedy and Ramdas ("Time-uniform central limit theory and asymptotic confidence sequences", Annals of
//! Statistics 2024, arXiv 2103.06476), written in units of information `W` instead of sample size.

/// Level of every figure, unless it is shared among variants.
pub const ALPHA: f64 = 0.05;
/// The information at which the interval of goals and metrics is tightest.
pub const GOAL_TUNING: f64 = 5_000.0;
/// The same for guardrails, which must speak earlier.
pub const GUARDRAIL_TUNING: f64 = 500.0;
/// Solves `ln(1 + r) - r = 2 ln(0.05)`, which is `-W_{-1}(-alpha^2/e) - 1` (the paper's tuning of its mixture, for
/// alpha = 0.05; kept for every other alpha).
pub const R_STAR: f64 = 8.211_968_062_068_253;

/// The mixture's `r` at this information. `r` is 0 only where there is no information.
#[must_use]
pub fn r(information: f64, tuning: f64) -> f64 {
    R_STAR * information / tuning
}

/// Two-sided multiplier of the standard error: `sqrt((1 + 1/r) (ln(1 + r) + 2 ln(1/alpha)))`. Infinite at `r` = 0.
#[must_use]
pub fn c(r: f64, alpha: f64) -> f64 {
    ((1.0 + r.recip()) * (r.ln_1p() - 2.0 * alpha.ln())).sqrt()
}

/// One-sided multiplier: `sqrt((1 + 1/r) 2 ln(1 + sqrt(1 + r) / (2 alpha)))`. Infinite at `r` = 0.
#[must_use]
pub fn c1(r: f64, alpha: f64) -> f64 {
    ((1.0 + r.recip()) * 2.0 * ((1.0 + r).sqrt() / (2.0 * alpha)).ln_1p()).sqrt()
}

/// Always-valid p-value of a difference `z` standard errors from 0; under `alpha` exactly where [`c`] times the
/// standard error leaves 0 outside.
#[must_use]
pub fn p(z: f64, r: f64) -> f64 {
    (0.5 * r.ln_1p() - z * z * r / (2.0 * (1.0 + r))).exp().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::{ALPHA, R_STAR, c, c1, p, r};

    #[test]
    fn the_constant_solves_its_equation() {
        assert!((R_STAR.ln_1p() - R_STAR - 2.0 * ALPHA.ln()).abs() < 1e-13);
    }

    #[test]
    fn multipliers_are_those_of_the_table() {
        let shown = |x: f64| format!("{x:.1}");
        for (information, goal, two_sided, one_sided) in [
            (50.0, "8.9", "3.8", "3.4"),
            (500.0, "3.8", "3.0", "2.8"),
            (5e3, "3.0", "3.2", "3.0"),
            (2e4, "3.1", "3.4", "3.2"),
            (1e5, "3.3", "3.7", "3.5"),
        ] {
            let found = [
                c(r(information, 5e3), 0.05),
                c(r(information, 500.0), 0.05),
                c1(r(information, 500.0), 0.05),
            ];
            assert_eq!(found.map(shown), [goal, two_sided, one_sided], "W = {information}");
        }
    }

    #[test]
    fn the_interval_and_the_p_value_decide_alike() {
        for information in [1.0, 700.0, 3e5] {
            for alpha in [0.05, 0.05 / 3.0] {
                let r = r(information, 5e3);
                let edge = c(r, alpha);
                assert!(p(edge * (1.0 + 1e-9), r) < alpha && p(edge * (1.0 - 1e-9), r) > alpha);
            }
        }
    }
}
