//! Ratios of two sums a unit has (failures per attempt, value per order), by the delta method (Deng, Knoblich and Lu,
//! "Applying the Delta Method in Metric Analytics", KDD 2018): attempts of one shopper are not independent.

use crate::stats::figures::Why;
use crate::stats::mean::{ValueComparison, why_nothing};
use crate::stats::special::{Z, two_sided};
use crate::stats::stratified::{Cell, Link, Pool, Row};

/// Sums of one arm in one stratum, over units: of numerators y, denominators x, and their products.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RatioSums {
    /// Units.
    pub units: u64,
    /// Sum of numerators.
    pub y: f64,
    /// Sum of denominators.
    pub x: f64,
    /// Sum of y^2.
    pub yy: f64,
    /// Sum of x y.
    pub xy: f64,
    /// Sum of x^2.
    pub xx: f64,
}

/// Both arms in one stage of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RatioStratum {
    /// The stage's number.
    pub stage: u32,
    /// The variant's.
    pub treatment: RatioSums,
    /// Control's.
    pub control: RatioSums,
}

/// Units of one arm that are in two strata.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RatioPair {
    /// Index of the one stratum.
    pub earlier: usize,
    /// Index of the other.
    pub later: usize,
    /// Units in both.
    pub units: u64,
    /// Sum of their numerators in the earlier one.
    pub earlier_y: f64,
    /// Sum of their numerators in the later one.
    pub later_y: f64,
    /// Sum of their denominators in the earlier one.
    pub earlier_x: f64,
    /// Sum of their denominators in the later one.
    pub later_x: f64,
    /// Sum of earlier y times later y.
    pub yy: f64,
    /// Sum of earlier x times later x.
    pub xx: f64,
    /// Sum of earlier x times later y.
    pub earlier_x_later_y: f64,
    /// Sum of earlier y times later x.
    pub earlier_y_later_x: f64,
}

/// An arm's ratio `Q` and mean denominator: what turns sums into those of `e = (y - Q x) / X`.
#[derive(Clone, Copy)]
struct Arm {
    q: f64,
    x: f64,
}

impl Arm {
    fn cell(self, sums: &RatioSums) -> Cell {
        let Self { q, x } = self;
        Cell {
            units: sums.units as f64,
            sum: (sums.y - q * sums.x) / x,
            squares: (sums.yy - 2.0 * q * sums.xy + q * q * sums.xx) / (x * x),
        }
    }

    fn link(self, pair: &RatioPair) -> Link {
        let Self { q, x } = self;
        let crossed = pair.earlier_x_later_y + pair.earlier_y_later_x;
        Link {
            earlier: pair.earlier,
            later: pair.later,
            units: pair.units as f64,
            earlier_sum: (pair.earlier_y - q * pair.earlier_x) / x,
            later_sum: (pair.later_y - q * pair.later_x) / x,
            products: (pair.yy - q * crossed + q * q * pair.xx) / (x * x),
        }
    }
}

fn rows_of(strata: &[RatioStratum], cell: impl Fn(&RatioSums) -> Cell) -> Vec<Row> {
    strata
        .iter()
        .map(|stratum| Row { treatment: cell(&stratum.treatment), control: cell(&stratum.control) })
        .collect()
}

/// Compares `Q_a = sum_k w_k mean(y) / sum_k w_k mean(x)` of both arms; its variance is the clustered one of
/// `(y - Q x) / sum_k w_k mean(x)`, times n / (n - 1). `treatment_mean` and `control_mean` of the answer are the ratios.
/// `None` everywhere where an arm has no denominator.
#[must_use]
pub fn compare(
    strata: &[RatioStratum],
    treatment_pairs: &[RatioPair],
    control_pairs: &[RatioPair],
) -> ValueComparison {
    compared(strata, treatment_pairs, control_pairs).noted()
}

fn compared(
    strata: &[RatioStratum],
    treatment_pairs: &[RatioPair],
    control_pairs: &[RatioPair],
) -> ValueComparison {
    let plain = |value: fn(&RatioSums) -> f64| {
        rows_of(strata, |sums| Cell { units: sums.units as f64, sum: value(sums), squares: 0.0 })
    };
    let no_links = [Vec::new(), Vec::new()];
    let (of_y, of_x) = (plain(|sums| sums.y), plain(|sums| sums.x));
    let (Some(y), Some(x)) = (Pool::new(&of_y, &no_links), Pool::new(&of_x, &no_links)) else {
        return ValueComparison::none(why_nothing(&of_y));
    };
    let ([y1, y0], [x1, x0]) = (y.means, x.means);
    if !(x1 > 0.0 && x0 > 0.0) {
        return ValueComparison::none(if x0 > 0.0 { Why::TreatmentZero } else { Why::ControlZero });
    }
    let (treatment, control) = (Arm { q: y1 / x1, x: x1 }, Arm { q: y0 / x0, x: x0 });
    if !(treatment.q.is_finite() && control.q.is_finite()) {
        return ValueComparison::none(Why::InputInvalid);
    }
    let rows: Vec<Row> = strata
        .iter()
        .map(|stratum| Row {
            treatment: treatment.cell(&stratum.treatment),
            control: control.cell(&stratum.control),
        })
        .collect();
    let links = [
        treatment_pairs.iter().map(|pair| treatment.link(pair)).collect(),
        control_pairs.iter().map(|pair| control.link(pair)).collect(),
    ];
    let mut made = ValueComparison::of([treatment.q, control.q]);
    let both = |stratum: &&RatioStratum| stratum.treatment.units > 0 && stratum.control.units > 0;
    made.stages_pooled = strata.iter().filter(both).map(|stratum| stratum.stage).collect();
    match Pool::new(&rows, &links) {
        Some(pool) if pool.units.iter().all(|units| *units >= 2.0) => complete(made, pool),
        _ => made.without_intervals(Why::FewUnits),
    }
}

fn complete(mut made: ValueComparison, mut pool: Pool) -> ValueComparison {
    let ([v1, v0], [n1, n0]) = (pool.variances, pool.units);
    pool.variances = [v1 * (n1 / (n1 - 1.0)), v0 * (n0 / (n0 - 1.0))];
    let spread = pool.spread();
    let variance: f64 = spread.iter().sum();
    if !(variance > 0.0 && variance.is_finite()) {
        return made.without_intervals(Why::NoVariance);
    }
    made.sequence(variance, pool.information);
    let difference = made.difference.unwrap_or_default();
    made.fix(spread, Z, two_sided(difference / variance.sqrt()));
    made
}

#[cfg(test)]
mod tests {
    use super::{RatioStratum, RatioSums, compare};
    use crate::stats::figures::Why;

    #[test]
    fn without_denominators_there_is_no_ratio() {
        let some = RatioSums { units: 3, y: 2.0, x: 6.0, yy: 2.0, xy: 4.0, xx: 14.0 };
        let none = RatioSums { units: 3, ..RatioSums::default() };
        let of = |treatment, control| compare(&[RatioStratum { stage: 1, treatment, control }], &[], &[]);
        assert_eq!(of(some, none).notes[0].why, Why::ControlZero);
        assert_eq!(of(none, some).notes[0].why, Why::TreatmentZero);
        let equal = of(some, some);
        assert_eq!((equal.difference, equal.treatment_mean), (Some(0.0), Some(1.0 / 3.0)));
        assert!(equal.p_value.is_some_and(|p| (p - 1.0).abs() < 1e-12), "{equal:?}");
    }
}
