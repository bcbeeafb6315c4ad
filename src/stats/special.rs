//! Distributions, from `statrs` where it is exact enough (`ln_gamma`, the incomplete gamma function). Its `erfc` is good
//! to ten digits only, so that one comes from `libm`; its incomplete beta function stops after 140 terms, so Student's t
//! is integrated by the panels of `quadrature`.

use crate::stats::quadrature::Hill;
use libm::erfc;
use statrs::function::erf::erfc_inv;
use statrs::function::gamma::{gamma_ur, ln_gamma};
use std::f64::consts::{PI, SQRT_2};

/// 97.5 % of a normal distribution lie below it.
pub const Z: f64 = 1.959_963_984_540_054;

/// Chance that a normal deviate is further from 0 than `z`.
#[must_use]
pub fn two_sided(z: f64) -> f64 {
    erfc(z.abs() / SQRT_2)
}

/// The `z` with [`two_sided`]`(z) = alpha`, 0 < `alpha` < 1: [`Z`] for 0.05.
#[must_use]
pub fn z(alpha: f64) -> f64 {
    let mut z = SQRT_2 * erfc_inv(alpha);
    // Newton: `erfc_inv` alone is good to nine digits or so.
    for _ in 0..2 {
        z += (two_sided(z) - alpha) / (2.0 / PI).sqrt() * (z * z / 2.0).exp();
    }
    z
}

/// Upper tail of a chi-square distribution with `df` degrees of freedom.
#[must_use]
pub fn chi_square_tail(x: f64, df: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { gamma_ur(df / 2.0, x / 2.0) }
}

/// What Stirling's formula leaves out: `ln G(x) - ((x - 1/2) ln x - x + ln(2 pi)/2)` (Abramowitz and Stegun 6.1.41).
pub(crate) fn stirling_rest(x: f64) -> f64 {
    if x < 16.0 {
        return ln_gamma(x) - ((x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln());
    }
    let square = x * x;
    (1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / x
}

/// Both tails of Student's t with `df` degrees of freedom beyond `t`: the upper tail of Beta(1/2, df/2) at
/// `t^2 / (df + t^2)` (Abramowitz and Stegun 26.7.1).
#[must_use]
pub fn student_two_sided(t: f64, df: f64) -> f64 {
    let square = t * t;
    if square <= 0.0 {
        return 1.0;
    }
    let (a, b) = (0.5, 0.5 * df);
    let (q, p) = (square / (df + square), df / (df + square));
    let ln_power = a * q.ln() - b * (square / df).ln_1p();
    (Hill { a, b, q, p }.ln_right() + ln_power - ln_beta_half(b)).exp().min(1.0)
}

/// `ln B(1/2, b)`, by Stirling's formula so that its large parts cancel.
fn ln_beta_half(b: f64) -> f64 {
    let n = b + 0.5;
    0.5 * (PI / b).ln() - b * (0.5 / b).ln_1p() + 0.5 + stirling_rest(b) - stirling_rest(n)
}

/// The `t` with [`student_two_sided`]`(t, df) = alpha`; `df` at least 1.
#[must_use]
pub fn student_quantile(alpha: f64, df: f64) -> f64 {
    let ln_scale = -ln_beta_half(df / 2.0) - 0.5 * df.ln();
    let mut t = z(alpha);
    // Newton between logarithms: the tail is nearly a power of t.
    for _ in 0..60 {
        let tail = student_two_sided(t, df);
        let density = (ln_scale - (df + 1.0) / 2.0 * (t * t / df).ln_1p()).exp();
        let step = (tail / alpha).ln() * tail / (2.0 * density * t);
        t *= step.exp();
        if step.abs() < 1e-14 {
            break;
        }
    }
    t
}

#[cfg(test)]
mod tests {
    use super::{Z, chi_square_tail, stirling_rest, student_quantile, student_two_sided, two_sided, z};

    fn near(found: f64, wanted: f64) {
        assert!((found / wanted - 1.0).abs() < 1e-12, "{found} instead of {wanted}");
    }

    #[test]
    fn the_normal_distribution_is_the_known_one() {
        // Here and below: mpmath at 40 digits.
        near(z(0.05), Z);
        near(z(0.05 / 3.0), 2.393_979_799_818_509_5);
        near(z(0.4), 0.841_621_233_572_914_3);
        near(two_sided(10.0), 1.523_970_604_832_105_3e-23);
    }

    #[test]
    fn students_t_is_the_known_one() {
        near(student_two_sided(1.0, 1.0), 0.5);
        near(student_quantile(0.05, 1.0), 12.706_204_736_174_694);
        near(student_quantile(0.05, 10.0), 2.228_138_851_986_275);
        near(student_quantile(0.05, 1e9), 1.959_963_986_912_325_5);
        near(student_two_sided(2.0, 2.0), 1.0 - 2.0 / 6.0_f64.sqrt());
    }

    #[test]
    fn the_other_tails_are_the_known_ones() {
        near(chi_square_tail(3.841_458_820_694_124, 1.0), 0.05);
        near(chi_square_tail(0.0, 1.0), 1.0);
        // Both branches meet.
        near(1.0 + stirling_rest(16.0), 1.005_207_655_919_609_6);
        near(1.0 + stirling_rest(16.0 - 1e-12), 1.005_207_655_919_609_6);
        near(stirling_rest(1.0), 1.0 - 0.5 * (2.0 * std::f64::consts::PI).ln());
    }
}
