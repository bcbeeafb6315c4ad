//! The counts of one comparison, taken from sums: each arm in each stage, those in two stages, and what else is told of
//! them.

use super::compare::{Versus, by_stage, count, pairs_of, stage_number};
use super::fact::{CONTROL, FIXED, TREATMENT};
use super::plan::Plan;
use super::tally::Tally;
use super::totals::Sums;
use super::variants;
use crate::stats::counts::{Count, Pair, Strata, Stratum, Waiting};
use crate::stats::stratified::{Cell, Pool, Row};

/// Strata of one comparison, as statistics take them.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    strata: Vec<Stratum>,
    treatment_pairs: Vec<Pair>,
    control_pairs: Vec<Pair>,
    /// Of each stratum, the variant's and control's units whose window is open.
    open: Vec<[u64; 2]>,
    /// Of each stratum, the variant's and control's units by value of the metric's `by`.
    by: Vec<[Vec<u64>; 2]>,
    only_fixed: bool,
}

/// One value of a metric's `by`: the rate of either arm, weighted over the stages as the comparison is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByValue {
    /// The variant's.
    pub treatment_rate: f64,
    /// Control's.
    pub control_rate: f64,
    /// Their difference.
    pub absolute_lift: f64,
}

/// Whether there are units, and all of them are testers.
#[must_use]
pub(super) fn only_fixed(sums: &Sums) -> bool {
    let mut shown = sums.rows.iter().filter(|(_, row)| row.all.units > 0).peekable();
    shown.peek().is_some() && shown.all(|(key, _)| key.arm == FIXED)
}

fn minus(count: Count, other: Count) -> Count {
    Count {
        units: count.units.saturating_sub(other.units),
        converted: count.converted.saturating_sub(other.converted),
    }
}

fn minus_each(own: &[u64], other: Option<&Vec<u64>>) -> Vec<u64> {
    let other = |at: usize| other.and_then(|other| other.get(at)).copied().unwrap_or_default();
    own.iter().enumerate().map(|(at, own)| own.saturating_sub(other(at))).collect()
}

impl Counted {
    /// The counts of one metric.
    #[must_use]
    pub fn of(plan: &Plan, sums: &Sums, versus: &Versus, metric: usize) -> Self {
        let stages = by_stage(sums, versus);
        let numbers: Vec<i64> = stages.keys().copied().collect();
        let mut counted = Self { only_fixed: only_fixed(sums), ..Self::default() };
        for (stage, (treated, control)) in &stages {
            let treated: Vec<&Tally> = treated.iter().copied().collect();
            let sides = [&treated, control].map(|tallies| Side::of(plan, tallies, metric));
            let [treatment, control] = &sides;
            counted.open.push([treatment.open, control.open]);
            let (treatment, control) = (treatment.count, control.count);
            counted.strata.push(Stratum { stage: stage_number(*stage), treatment, control });
            counted.by.push(sides.map(|side| side.by));
        }
        let window = plan.metrics.get(metric).map_or(plan.funnel_window, |metric| metric.window);
        let pairs = |arm| {
            let own = pairs_of(&sums.pairs, versus, arm, &numbers).into_iter();
            own.map(|(earlier, later, _, pair)| {
                let sums = pair.metrics.get(metric);
                Pair {
                    earlier,
                    later,
                    units: pair.matured.get(window).copied().unwrap_or_default(),
                    earlier_converted: sums.map_or(0, |sums| sums.lower),
                    later_converted: sums.map_or(0, |sums| sums.higher),
                    both_converted: sums.map_or(0, |sums| sums.both),
                }
            })
            .filter(|pair| pair.units > 0)
            .collect()
        };
        (counted.treatment_pairs, counted.control_pairs) = (pairs(TREATMENT), pairs(CONTROL));
        counted
    }

    /// Units whose window is still open.
    #[must_use]
    pub fn maturing(&self) -> u64 {
        self.open.iter().flatten().sum()
    }

    /// What explains an arm that is not there.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let mut each = self.strata.iter().zip(&self.open);
        let together = |(stratum, [treatment, control]): (&Stratum, &[u64; 2])| {
            stratum.treatment.units + treatment > 0 && stratum.control.units + control > 0
        };
        Waiting {
            treatment: self.open.iter().map(|[treatment, _]| treatment).sum(),
            control: self.open.iter().map(|[_, control]| control).sum(),
            together: each.any(together),
            only_fixed: self.only_fixed,
        }
    }

    /// As the statistics take them.
    #[must_use]
    pub fn strata(&self) -> Strata<'_> {
        Strata {
            strata: &self.strata,
            treatment_pairs: &self.treatment_pairs,
            control_pairs: &self.control_pairs,
        }
    }

    /// The stratum of a stage.
    #[must_use]
    pub(super) fn stratum(&self, stage: i64) -> Option<&Stratum> {
        self.strata.iter().find(|stratum| stratum.stage == stage_number(stage))
    }

    /// Rates by value of the metric's `by`, `other` last, with the same weights over the stages as the comparison of the
    /// whole has. Nothing where no stage has both arms.
    #[must_use]
    pub fn by(&self) -> Vec<ByValue> {
        let values = self.by.iter().flatten().map(Vec::len).max().unwrap_or_default();
        let no_links = [Vec::new(), Vec::new()];
        let made = (0..values).filter_map(|value| {
            let cell = |units: u64, by: &[u64]| {
                let users = by.get(value).copied().unwrap_or_default() as f64;
                Cell { units: units as f64, sum: users, squares: users }
            };
            let rows = self.strata.iter().zip(&self.by).map(|(stratum, [treatment, control])| Row {
                treatment: cell(stratum.treatment.units, treatment),
                control: cell(stratum.control.units, control),
            });
            let pool = Pool::new(&rows.collect::<Vec<_>>(), &no_links)?;
            let [treatment_rate, control_rate] = pool.means;
            Some(ByValue { treatment_rate, control_rate, absolute_lift: pool.difference() })
        });
        made.collect()
    }

    /// These without others, of which they hold every unit.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let place = |stratum: &Stratum| others.strata.iter().position(|other| other.stage == stratum.stage);
        let mut left = Self { only_fixed: self.only_fixed, ..Self::default() };
        for ((stratum, open), by) in self.strata.iter().zip(&self.open).zip(&self.by) {
            let at = place(stratum);
            let other = at.and_then(|at| others.strata.get(at)).copied().unwrap_or_default();
            let other_open = at.and_then(|at| others.open.get(at)).copied().unwrap_or_default();
            let other_by = at.and_then(|at| others.by.get(at));
            left.strata.push(Stratum {
                stage: stratum.stage,
                treatment: minus(stratum.treatment, other.treatment),
                control: minus(stratum.control, other.control),
            });
            let ([treatment, control], [other_treatment, other_control]) = (open, other_open);
            left.open
                .push([treatment.saturating_sub(other_treatment), control.saturating_sub(other_control)]);
            let [treatment, control] = by;
            left.by.push([
                minus_each(treatment, other_by.map(|[treatment, _]| treatment)),
                minus_each(control, other_by.map(|[_, control]| control)),
            ]);
        }
        left.treatment_pairs = self.pairs_without(&self.treatment_pairs, (others, &others.treatment_pairs));
        left.control_pairs = self.pairs_without(&self.control_pairs, (others, &others.control_pairs));
        left
    }

    fn pairs_without(&self, own: &[Pair], (others, other): (&Self, &[Pair])) -> Vec<Pair> {
        let stage = |counted: &Self, place: usize| counted.strata.get(place).map(|stratum| stratum.stage);
        let left = own.iter().map(|pair| {
            let same = other.iter().find(|other| {
                (stage(others, other.earlier), stage(others, other.later))
                    == (stage(self, pair.earlier), stage(self, pair.later))
            });
            let other = same.copied().unwrap_or_default();
            Pair {
                earlier: pair.earlier,
                later: pair.later,
                units: pair.units.saturating_sub(other.units),
                earlier_converted: pair.earlier_converted.saturating_sub(other.earlier_converted),
                later_converted: pair.later_converted.saturating_sub(other.later_converted),
                both_converted: pair.both_converted.saturating_sub(other.both_converted),
            }
        });
        left.filter(|pair| pair.units > 0).collect()
    }
}

/// One arm in one stage.
struct Side {
    count: Count,
    open: u64,
    by: Vec<u64>,
}

impl Side {
    fn of(plan: &Plan, tallies: &[&Tally], metric: usize) -> Self {
        let mut side = Self { count: Count::default(), open: 0, by: Vec::new() };
        for tally in tallies {
            let own = count(plan, tally, metric);
            side.count.units += own.units;
            side.count.converted += own.converted;
            side.open += tally.units - own.units;
            for (at, (_, users)) in variants::by_value(plan, tally, metric).into_iter().enumerate() {
                match side.by.get_mut(at) {
                    Some(sum) => *sum += users,
                    None => side.by.push(users),
                }
            }
        }
        side
    }
}
