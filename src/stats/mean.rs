//! Value per user, of one currency: a unit's outcome is the sum of its values, 0 if there is none.

use crate::stats::figures::{self, Interval, Note, Span, Why};
use crate::stats::sequential::{self, ALPHA, GOAL_TUNING};
use crate::stats::special::{Z, student_quantile, student_two_sided, two_sided};
use crate::stats::stratified::{Cell, Link, Pool, Row, fieller};

/// Values of one arm in one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// Units, those without value included.
    pub units: u64,
    /// Sum of the units' values.
    pub sum: f64,
    /// Sum of the squares of the units' values.
    pub squares: f64,
}

impl Sums {
    fn cell(&self) -> Cell {
        Cell { units: self.units as f64, sum: self.sum, squares: self.squares }
    }
}

/// Both arms in one stage of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ValueStratum {
    /// The stage's number.
    pub stage: u32,
    /// The variant's values.
    pub treatment: Sums,
    /// Control's values.
    pub control: Sums,
}

/// Units of one arm that are in two strata.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ValuePair {
    /// Index of the one stratum.
    pub earlier: usize,
    /// Index of the other.
    pub later: usize,
    /// Units in both.
    pub units: u64,
    /// Sum of their values in the earlier one.
    pub earlier_sum: f64,
    /// Sum of their values in the later one.
    pub later_sum: f64,
    /// Sum of the products of both.
    pub products: f64,
}

impl ValuePair {
    fn link(&self) -> Link {
        Link {
            earlier: self.earlier,
            later: self.later,
            units: self.units as f64,
            earlier_sum: self.earlier_sum,
            later_sum: self.later_sum,
            products: self.products,
        }
    }
}

/// Everything that a comparison of values needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// One entry a stage.
    pub strata: &'a [ValueStratum],
    /// The variant's units that are in two strata.
    pub treatment_pairs: &'a [ValuePair],
    /// Control's.
    pub control_pairs: &'a [ValuePair],
}

/// Means compared, or ratios ([`crate::stats::ratio`]). What is not defined is `None`, and `notes` say why.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ValueComparison {
    /// Stages with both arms.
    pub stages_pooled: Vec<u32>,
    /// The variant's mean, weighted over the stages.
    pub treatment_mean: Option<f64>,
    /// Control's mean with the same weights.
    pub control_mean: Option<f64>,
    /// Their difference.
    pub difference: Option<f64>,
    /// Its 95 % interval if this were the only look.
    pub difference_ci: Option<Interval>,
    /// Treatment's mean over control's, minus 1.
    pub ratio_lift: Option<f64>,
    /// Its 95 % interval if this were the only look.
    pub ratio_lift_ci: Option<Span>,
    /// Two-sided, if this were the only look.
    pub p_value: Option<f64>,
    /// The difference's interval that holds however often it is looked at.
    pub always_valid_ci: Option<Interval>,
    /// Its p-value.
    pub always_valid_p: Option<f64>,
    /// Why figures are missing.
    pub notes: Vec<Note>,
}

impl ValueComparison {
    /// Everything that an interval would have told is missing for this reason.
    pub(crate) fn without_intervals(mut self, why: Why) -> Self {
        let fields = ["difference_ci", "ratio_lift_ci", "p_value", "always_valid_ci", "always_valid_p"];
        self.notes.extend(fields.map(|field| Note { field, why }));
        self
    }

    /// The same, with each reason told as `by` tells it.
    #[must_use]
    pub fn explained(mut self, by: impl Fn(Why) -> Why) -> Self {
        figures::explain(&mut self.notes, by);
        self
    }

    /// No figure is missing without a note.
    pub(crate) fn noted(mut self) -> Self {
        let missing = [
            ("treatment_mean", self.treatment_mean.is_none()),
            ("control_mean", self.control_mean.is_none()),
            ("difference", self.difference.is_none()),
            ("difference_ci", self.difference_ci.is_none()),
            ("ratio_lift", self.ratio_lift.is_none()),
            ("ratio_lift_ci", self.ratio_lift_ci.is_none_or(Span::is_open)),
            ("p_value", self.p_value.is_none()),
            ("always_valid_ci", self.always_valid_ci.is_none()),
            ("always_valid_p", self.always_valid_p.is_none()),
        ];
        figures::note_missing(&mut self.notes, &missing, Why::InputInvalid);
        self
    }

    /// Nothing to compare.
    pub(crate) fn none(why: Why) -> Self {
        let fields = ["treatment_mean", "control_mean", "difference", "ratio_lift"];
        let notes = fields.map(|field| Note { field, why }).to_vec();
        Self { notes, ..Self::default() }.without_intervals(why)
    }

    /// Means and their difference; no intervals yet.
    pub(crate) fn of(means: [f64; 2]) -> Self {
        let [treatment, control] = means;
        let ratio_lift = (control > 0.0).then(|| treatment / control - 1.0).filter(|lift| lift.is_finite());
        let missing = ratio_lift.is_none().then_some(Note { field: "ratio_lift", why: Why::ControlZero });
        Self {
            treatment_mean: Some(treatment),
            control_mean: Some(control),
            difference: Some(treatment - control + 0.0),
            ratio_lift,
            notes: missing.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Fills what is right at a single look: `multiplier` standard errors wide.
    pub(crate) fn fix(&mut self, variances: [f64; 2], multiplier: f64, p_value: f64) {
        let (Some(treatment), Some(control)) = (self.treatment_mean, self.control_mean) else { return };
        let se = variances.iter().sum::<f64>().sqrt();
        self.difference_ci = Interval::around(treatment - control, multiplier * se);
        let ratio = fieller([treatment, control], variances, multiplier).shift(-1.0);
        if ratio.is_open() {
            self.notes.push(Note { field: "ratio_lift_ci", why: Why::Unbounded });
        }
        self.ratio_lift_ci = Some(ratio);
        self.p_value = Some(p_value);
    }

    /// Fills what holds however often it is looked at.
    pub(crate) fn sequence(&mut self, variance: f64, information: f64) {
        let Some(difference) = self.difference else { return };
        let (se, r) = (variance.sqrt(), sequential::r(information, GOAL_TUNING));
        self.always_valid_ci = Interval::around(difference, sequential::c(r, ALPHA) * se);
        self.always_valid_p = Some(sequential::p(difference / se, r)).filter(|p| p.is_finite());
    }
}

/// Why there is nothing in `rows`.
pub(crate) fn why_nothing(rows: &[Row]) -> Why {
    let has = |of: fn(&Row) -> f64| rows.iter().any(|row| of(row) > 0.0);
    match (has(|row| row.treatment.units), has(|row| row.control.units)) {
        (false, false) => Why::NothingExposed,
        (true, false) => Why::NoControl,
        (false, true) => Why::NoTreatment,
        (true, true) => Why::NoCommonStage,
    }
}

/// Compares values per user. In one stratum: Welch's t (Biometrika 34:28, 1947) with Satterthwaite's degrees of freedom.
/// Pooled over strata: the clustered variance, times n / (n - 1), and never less than with both arms thrown together.
#[must_use]
pub fn compare(values: &Values<'_>) -> ValueComparison {
    compared(values).noted()
}

fn compared(values: &Values<'_>) -> ValueComparison {
    let rows: Vec<Row> = values
        .strata
        .iter()
        .map(|stratum| Row { treatment: stratum.treatment.cell(), control: stratum.control.cell() })
        .collect();
    let finite = |cell: &Cell| cell.sum.is_finite() && cell.squares.is_finite();
    if !rows.iter().all(|row| finite(&row.treatment) && finite(&row.control)) {
        return ValueComparison::none(Why::InputInvalid);
    }
    let links = [values.treatment_pairs, values.control_pairs]
        .map(|pairs| pairs.iter().map(ValuePair::link).collect::<Vec<_>>());
    let Some(mut pool) = Pool::new(&rows, &links) else {
        return ValueComparison::none(why_nothing(&rows));
    };
    let stages =
        values.strata.iter().filter(|stratum| stratum.treatment.units > 0 && stratum.control.units > 0);
    let mut made = ValueComparison::of(pool.means);
    made.stages_pooled = stages.map(|stratum| stratum.stage).collect();
    if pool.units.iter().any(|units| *units < 2.0) {
        return made.without_intervals(Why::FewUnits);
    }
    let [n1, n0] = pool.units;
    let [v1, v0] = pool.variances;
    pool.variances = [v1 * (n1 / (n1 - 1.0)), v0 * (n0 / (n0 - 1.0))];
    complete(made, &pool)
}

/// Intervals from a pool whose variances are of samples.
fn complete(mut made: ValueComparison, pool: &Pool) -> ValueComparison {
    let spread = pool.spread();
    let variance: f64 = spread.iter().sum();
    let [v1, v0] = pool.variances;
    let unpooled = v1 + v0;
    if !(variance > 0.0 && variance.is_finite()) {
        return made.without_intervals(Why::NoVariance);
    }
    made.sequence(variance, pool.information);
    let difference = pool.difference();
    if pool.strata > 1 {
        made.fix(spread, Z, two_sided(difference / variance.sqrt()));
    } else if unpooled > 0.0 {
        let df = welch_df(pool.variances, pool.units);
        let p_value = student_two_sided(difference / unpooled.sqrt(), df);
        made.fix(pool.variances, student_quantile(ALPHA, df), p_value);
    } else {
        let fields = ["difference_ci", "ratio_lift_ci", "p_value"];
        made.notes.extend(fields.map(|field| Note { field, why: Why::NoVariance }));
    }
    made
}

/// Satterthwaite's degrees of freedom of two means with these variances (Biometrics Bulletin 2:110, 1946).
pub(crate) fn welch_df([v1, v0]: [f64; 2], [n1, n0]: [f64; 2]) -> f64 {
    (v1 + v0) * (v1 + v0) / (v1 * v1 / (n1 - 1.0) + v0 * v0 / (n0 - 1.0))
}

/// One cap for winsorising (Dixon, Annals of Mathematical Statistics 31:385, 1960): the `quantile` (linear between
/// neighbours: type 7 of Hyndman and Fan, American Statistician 50:361, 1996) of the positive values of *both* arms and
/// all strata together, sorted in place. `None` without positive values. A cap an arm of its own would hide or invent
/// effects.
#[must_use]
pub fn cap(positive: &mut [f64], quantile: f64) -> Option<f64> {
    positive.sort_by(f64::total_cmp);
    let values: Vec<f64> =
        positive.iter().copied().filter(|value| *value > 0.0 && value.is_finite()).collect();
    let last = values.len().checked_sub(1)?;
    let place = quantile.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 ..= last")]
    let below = place.floor() as usize;
    let low = *values.get(below)?;
    let high = values.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * (place - place.floor()))
}

#[cfg(test)]
mod tests {
    use super::{Sums, ValuePair, ValueStratum, Values, cap, compare};
    use crate::stats::figures::Why;

    fn sums(values: &[f64]) -> Sums {
        Sums {
            units: values.len() as u64,
            sum: values.iter().sum(),
            squares: values.iter().map(|value| value * value).sum(),
        }
    }

    #[test]
    fn one_cap_for_all() {
        assert_eq!(cap(&mut [4.0, 0.0, 1.0, 3.0, 2.0, 5.0], 0.5), Some(3.0));
        assert_eq!(cap(&mut [1.0, 2.0], 0.25), Some(1.25));
        assert_eq!(cap(&mut [7.0], 0.99), Some(7.0));
        assert_eq!(cap(&mut [0.0, -1.0], 0.99), None);
    }

    #[test]
    fn the_same_units_in_two_stages_count_once() {
        // Both stages hold the same units with the same values: as precise as one stage, not twice as precise.
        let (a, b) = ([0.0, 3.0, 8.0, 1.0, 0.0, 2.0], [1.0, 0.0, 0.0, 2.0]);
        let stratum = |stage| ValueStratum { stage, treatment: sums(&a), control: sums(&b) };
        let pair = |values: &[f64]| {
            let Sums { units, sum, squares } = sums(values);
            ValuePair { earlier: 0, later: 1, units, earlier_sum: sum, later_sum: sum, products: squares }
        };
        let (one, two) = ([stratum(1)], [stratum(1), stratum(2)]);
        let (treatment_pairs, control_pairs) = ([pair(&a)], [pair(&b)]);
        let values =
            Values { strata: &two, treatment_pairs: &treatment_pairs, control_pairs: &control_pairs };
        let single = compare(&Values { strata: &one, ..Values::default() });
        let double = compare(&values);
        let alone = compare(&Values { strata: &two, ..Values::default() });
        assert_eq!(single.difference, double.difference);
        let width = |found: &super::ValueComparison| found.difference_ci.map(|ci| ci.high - ci.low).unwrap();
        assert!(width(&double) > 1.1 * width(&alone), "{double:?} {alone:?}");
    }

    #[test]
    fn what_is_not_defined_is_named() {
        let compare_of = |treatment: &[f64], control: &[f64]| {
            let strata = [ValueStratum { stage: 1, treatment: sums(treatment), control: sums(control) }];
            compare(&Values { strata: &strata, ..Values::default() })
        };
        let few = compare_of(&[5.0], &[1.0, 2.0]);
        assert_eq!((few.difference, few.difference_ci, few.always_valid_ci), (Some(3.5), None, None));
        assert!(few.notes.iter().all(|note| note.why == Why::FewUnits));
        let flat = compare_of(&[2.0, 2.0], &[2.0, 2.0]);
        assert!(flat.p_value.is_none() && flat.notes.iter().all(|note| note.why == Why::NoVariance));
        let apart = compare_of(&[2.0, 2.0], &[3.0, 3.0]);
        assert!(apart.difference_ci.is_none() && apart.always_valid_ci.is_some());
        let none = compare_of(&[2.0, 2.0], &[]);
        assert!(none.difference.is_none() && none.notes.iter().all(|note| note.why == Why::NoControl));
        let zero = compare_of(&[2.0, 1.0], &[0.0, 0.0]);
        assert!(zero.ratio_lift.is_none() && zero.notes.iter().any(|note| note.why == Why::ControlZero));
        let broken = compare_of(&[f64::INFINITY, 1.0], &[0.0, 0.0]);
        assert!(broken.notes.iter().all(|note| note.why == Why::InputInvalid));
    }
}
