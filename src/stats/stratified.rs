//! Pooling over stages: Mantel and Haenszel's weights (Journal of the National Cancer Institute 22:719, 1959; the risk
//! difference and ratio: Greenland and Robins, Biometrics 41:55, 1985), and a variance that knows that one unit may be
//! in several stages.
//!
//! The same formulas serve conversions (sums of zeros and ones) and values.

use crate::stats::figures::Span;

/// Moments of one arm in one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cell {
    /// Units.
    pub units: f64,
    /// Sum of their outcomes.
    pub sum: f64,
    /// Sum of the outcomes' squares.
    pub squares: f64,
}

impl Cell {
    /// The mean outcome; of nothing 0.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.units > 0.0 { self.sum / self.units } else { 0.0 }
    }

    /// Sum of squares about the mean.
    fn spread(&self) -> f64 {
        (self.squares - self.mean() * self.sum).max(0.0)
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            units: self.units + other.units,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }
}

/// Both arms of one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Row {
    /// The variant's.
    pub treatment: Cell,
    /// Control's.
    pub control: Cell,
}

impl Row {
    /// `h_k = n_1 n_0 / N`; 0 where an arm is empty.
    #[must_use]
    pub fn information(&self) -> f64 {
        information(self.treatment.units, self.control.units)
    }
}

/// Information of two arms: `n_1 n_0 / (n_1 + n_0)`, 0 where one is empty.
#[must_use]
pub fn information(treatment: f64, control: f64) -> f64 {
    let units = treatment + control;
    if units > 0.0 { treatment / units * control } else { 0.0 }
}

/// Units of one arm that are in two strata.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Link {
    /// Index of the one stratum.
    pub earlier: usize,
    /// Index of the other.
    pub later: usize,
    /// Units in both.
    pub units: f64,
    /// Sum of their outcomes in the earlier one.
    pub earlier_sum: f64,
    /// Sum of their outcomes in the later one.
    pub later_sum: f64,
    /// Sum of the products.
    pub products: f64,
}

/// Variance of `sum_k w_k mean_k` of one arm:
/// `sum_{k,l} (w_k/n_k) (w_l/n_l) (yy_kl - m_l y_kl - m_k y_lk + m_k m_l n_kl)`, which is the sum over units of
/// `(sum_k (w_k/n_k) (y_ik - m_k))^2`: robust as Liang and Zeger's (Biometrika 73:13, 1986), each unit a cluster.
#[must_use]
pub fn clustered(weights: &[f64], cells: &[Cell], links: &[Link]) -> f64 {
    let scale = |weight: f64, cell: &Cell| if cell.units > 0.0 { weight / cell.units } else { 0.0 };
    let scaled: Vec<(f64, f64)> =
        weights.iter().zip(cells).map(|(weight, cell)| (scale(*weight, cell), cell.mean())).collect();
    let own: f64 = scaled.iter().zip(cells).map(|((scale, _), cell)| scale * scale * cell.spread()).sum();
    let shared = links.iter().filter_map(|link| {
        let ((scale_k, mean_k), (scale_l, mean_l)) = (scaled.get(link.earlier)?, scaled.get(link.later)?);
        let covered = link.products - mean_l * link.earlier_sum - mean_k * link.later_sum
            + mean_k * mean_l * link.units;
        Some(scale_k * scale_l * covered)
    });
    (own + 2.0 * shared.sum::<f64>()).max(0.0)
}

/// A comparison pooled over strata.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// `W`, the sum of `n_1 n_0 / N`.
    pub information: f64,
    /// `w_k`, 0 for strata that give nothing.
    pub weights: Vec<f64>,
    /// Strata with both arms.
    pub strata: usize,
    /// `R_1`, `R_0`: treatment's and control's weighted means.
    pub means: [f64; 2],
    /// Units of each arm in strata with both.
    pub units: [f64; 2],
    /// Clustered variance of each mean.
    pub variances: [f64; 2],
    /// `VP`: variance of the difference with the arms' outcomes thrown together, stratum by stratum; of proportions the
    /// hypergeometric one of Mantel and Haenszel's test.
    pub pooled: f64,
}

impl Pool {
    /// Pools rows and those in several of them (treatment's, control's). `None` where no stratum has both arms.
    #[must_use]
    pub fn new(rows: &[Row], links: &[Vec<Link>; 2]) -> Option<Self> {
        let parts: Vec<f64> = rows.iter().map(Row::information).collect();
        let information: f64 = parts.iter().sum();
        if !(information > 0.0 && information.is_finite()) {
            return None;
        }
        let weights: Vec<f64> = parts.iter().map(|part| part / information).collect();
        let arm = |of: fn(&Row) -> Cell| -> Vec<Cell> { rows.iter().map(of).collect() };
        let arms = [arm(|row| row.treatment), arm(|row| row.control)];
        let weighted = |cells: &[Cell], f: fn(&Cell) -> f64| -> f64 {
            weights
                .iter()
                .zip(cells)
                .filter(|(weight, _)| **weight > 0.0)
                .map(|(weight, cell)| weight * f(cell))
                .sum()
        };
        let both = weights.iter().filter(|weight| **weight > 0.0);
        let strata = both.count();
        let [treatment_links, control_links] = links;
        let [treatment, control] = &arms;
        let in_both = |cells: &[Cell]| -> f64 {
            cells.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0).map(|(cell, _)| cell.units).sum()
        };
        let pooled: f64 = rows
            .iter()
            .zip(&parts)
            .filter(|(_, part)| **part > 0.0)
            .map(|(row, part)| {
                let all = row.treatment.plus(&row.control);
                part * all.spread() / (all.units - 1.0)
            })
            .sum();
        Some(Self {
            information,
            strata,
            means: [weighted(treatment, Cell::mean), weighted(control, Cell::mean)],
            units: [in_both(treatment), in_both(control)],
            variances: [
                clustered(&weights, treatment, treatment_links),
                clustered(&weights, control, control_links),
            ],
            pooled: pooled / information / information,
            weights,
        })
    }

    /// For proportions: the pooled variance with one conversion more, so that it is never 0.
    pub fn add_one_conversion(&mut self) {
        self.pooled += 1.0 / (self.information * self.units.iter().sum::<f64>());
    }

    /// `R_1 - R_0`.
    #[must_use]
    pub fn difference(&self) -> f64 {
        let [treatment, control] = self.means;
        treatment - control + 0.0 // never -0
    }

    /// Variances whose sum is max(unpooled, pooled): what the pooled one has more goes to the arms by the *other* arm's
    /// size, most of it to the smaller arm. Unpooled alone collapses while a small control has few conversions.
    #[must_use]
    pub fn spread(&self) -> [f64; 2] {
        let ([v1, v0], [n1, n0]) = (self.variances, self.units);
        let excess = (self.pooled - v1 - v0).max(0.0);
        [v1 + excess * (n0 / (n1 + n0)), v0 + excess * (n1 / (n1 + n0))]
    }

    /// For the ratio of proportions: [`Self::spread`], except that a control without conversions and without variance gets
    /// some of the variant's, that of one conversion. The sum stays, so that ratio and difference agree; without it the
    /// ratio's lower limit would be infinite.
    #[must_use]
    pub fn spread_for_ratio(&self) -> [f64; 2] {
        let ([v1, v0], [_, n0]) = (self.spread(), self.units);
        let moved = if v0 > 0.0 { 0.0 } else { (n0 * n0).recip().min(0.5 * v1) };
        [v1 - moved, v0 + moved]
    }

    /// An arm's units as if they were independent and in one stratum: Kish's effective number `1 / sum w_k^2/n_k`
    /// (Survey Sampling, 1965), over the design effect of clustering (at least 1). Only for proportions.
    #[must_use]
    pub fn effective_units(&self, cells: impl Iterator<Item = Cell>, variance: f64) -> f64 {
        let (mut kish, mut independent) = (0.0, 0.0);
        for (weight, cell) in self.weights.iter().zip(cells).filter(|(weight, _)| **weight > 0.0) {
            let share = weight * weight / cell.units;
            kish += share;
            independent += share * cell.spread() / cell.units;
        }
        let effect = if independent > 0.0 { (variance / independent).max(1.0) } else { 1.0 };
        (kish * effect).recip()
    }
}

/// Fieller's interval of a ratio of two independent means (Journal of the Royal Statistical Society B 16:175, 1954),
/// both at least 0: `c` standard errors wide. 1 is outside exactly where 0 is outside `difference -+ c se`.
#[must_use]
pub fn fieller(means: [f64; 2], variances: [f64; 2], c: f64) -> Span {
    let ([r1, r0], [v1, v0]) = (means, variances);
    let (a, b, k) = (r0 * r0 - c * c * v0, r1 * r0, r1 * r1 - c * c * v1);
    // b^2 - a k, multiplied out: with tight arms both are nearly equal.
    let root = c * (v1 * r0 * r0 + v0 * r1 * r1 - c * c * v1 * v0).max(0.0).sqrt();
    let low = if k <= 0.0 { 0.0 } else { k / (b + root) };
    let high = (a > 0.0).then(|| (b + root) / a).filter(|high| high.is_finite());
    Span { low: Some(low).filter(|low| low.is_finite()), high }
}
