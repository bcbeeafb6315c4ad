//! One proportion, and two of one stratum: what is right at a single look.

use crate::stats::counts::Count;
use crate::stats::figures::{Interval, Span};
use crate::stats::special::{Z, two_sided};

/// Wilson's score interval at 95 % (Journal of the American Statistical Association 22:209, 1927). (0, 1) of nothing.
#[must_use]
pub fn wilson(converted: u64, units: u64) -> Interval {
    wilson_at(Count { units, converted }, Z)
}

/// [`wilson`] with another normal quantile.
#[must_use]
pub fn wilson_at(count: Count, z: f64) -> Interval {
    if count.units == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, p) = (count.units as f64, count.rate());
    let scale = 1.0 + z * z / n;
    let half = z / scale * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let centre = (p + z * z / (2.0 * n)) / scale;
    // At the ends the limit is set: computed, rounding could put it past the rate.
    Interval {
        low: if count.converted == 0 { 0.0 } else { (centre - half).max(0.0) },
        high: if count.converted >= count.units { 1.0 } else { (centre + half).min(1.0) },
    }
}

/// Newcombe's hybrid score interval of the difference (Statistics in Medicine 17:873, 1998, method 10).
#[must_use]
pub fn newcombe(treatment: Count, control: Count, z: f64) -> Interval {
    let (p1, p0) = (treatment.rate(), control.rate());
    let (one, zero) = (wilson_at(treatment, z), wilson_at(control, z));
    let difference = p1 - p0;
    Interval {
        low: difference - (p1 - one.low).hypot(zero.high - p0),
        high: difference + (one.high - p1).hypot(p0 - zero.low),
    }
}

/// MOVER-R interval of the ratio from Wilson's limits (Donner and Zou, Statistical Methods in Medical Research 21:347,
/// 2012). No upper limit where control's rate is not bounded away from 0.
#[must_use]
pub fn mover_r(treatment: Count, control: Count, z: f64) -> Span {
    let (p1, p0) = (treatment.rate(), control.rate());
    let (one, zero) = (wilson_at(treatment, z), wilson_at(control, z));
    let product = p1 * p0;
    // product^2 - x y with x = p0^2 - e0^2, y = p1^2 - e1^2, multiplied out: with tight arms both are nearly equal.
    let root = |e1: f64, e0: f64| {
        let square = (p1 * e0).powi(2) + (p0 * e1).powi(2) - (e1 * e0).powi(2);
        square.max(0.0).sqrt()
    };
    let y = one.low * (2.0 * p1 - one.low);
    let low = if y <= 0.0 { 0.0 } else { y / (product + root(p1 - one.low, zero.high - p0)) };
    let x = zero.low * (2.0 * p0 - zero.low);
    let high =
        (x > 0.0).then(|| (product + root(one.high - p1, p0 - zero.low)) / x).filter(|high| high.is_finite());
    Span { low: Some(low), high }
}

/// The pooled z statistic of two proportions, without continuity correction (its square is Pearson's chi-square,
/// Philosophical Magazine 50:157, 1900); `None` where nobody or everybody converted, or an arm is empty.
#[must_use]
pub fn pooled_z(treatment: Count, control: Count) -> Option<f64> {
    let (n1, n0) = (treatment.units as f64, control.units as f64);
    let p = (treatment.converted as f64 + control.converted as f64) / (n1 + n0);
    let variance = p * (1.0 - p) * (n1.recip() + n0.recip());
    let z = (treatment.rate() - control.rate()) / variance.sqrt();
    (variance > 0.0 && z.is_finite()).then_some(z)
}

/// Fisher's exact test (Journal of the Royal Statistical Society 98:39, 1935), two-sided as Freeman and Halton have it
/// (Biometrika 38:141, 1951): the chance of all tables that are no likelier than the one seen (hypergeometric, each term
/// from its neighbour's, outward from the likeliest).
#[must_use]
pub fn fisher(treatment: Count, control: Count) -> f64 {
    let (n1, n0) = (treatment.units as f64, control.units as f64);
    let converted = (treatment.converted + control.converted) as f64;
    let (least, most) = ((converted - n0).max(0.0), n1.min(converted));
    let seen = treatment.converted as f64;
    let up = |k: f64| (n1 - k) * (converted - k) / ((k + 1.0) * (n0 - converted + k + 1.0));
    let mode = (((n1 + 1.0) * (converted + 1.0) / (n1 + n0 + 2.0)).floor()).clamp(least, most);
    // Every chance relative to the mode's, with the place it belongs to.
    let rising = std::iter::successors(Some((mode, 1.0)), |&(k, chance)| {
        let next = chance * up(k);
        (k < most && next > 0.0).then_some((k + 1.0, next))
    });
    let falling = std::iter::successors(Some((mode, 1.0)), |&(k, chance)| {
        let next = chance / up(k - 1.0);
        (k > least && next > 0.0).then_some((k - 1.0, next))
    });
    let terms: Vec<(f64, f64)> = rising.chain(falling.skip(1)).collect();
    let at = terms.iter().find(|(k, _)| (k - seen).abs() < 0.5).map_or(0.0, |(_, chance)| *chance);
    let mut chances: Vec<f64> = terms.into_iter().map(|(_, chance)| chance).collect();
    chances.sort_by(f64::total_cmp); // small ones first, so that none is lost
    let whole: f64 = chances.iter().sum();
    // Equal in theory may differ in the last digits.
    let unlikely = chances.iter().take_while(|chance| **chance <= at * (1.0 + 1e-9));
    (unlikely.fold(0.0, |sum, chance| sum + chance) / whole).min(1.0)
}

/// Two-sided p-value at a single look: Fisher's where the smallest expected cell is under 5, else [`pooled_z`]'s. 1
/// where nobody or everybody converted.
#[must_use]
pub fn p_value(treatment: Count, control: Count) -> f64 {
    let p = (treatment.converted + control.converted) as f64 / (treatment.units + control.units) as f64;
    let smallest = treatment.units.min(control.units) as f64 * p.min(1.0 - p);
    if smallest < 5.0 {
        fisher(treatment, control)
    } else {
        pooled_z(treatment, control).map_or(1.0, two_sided)
    }
}
