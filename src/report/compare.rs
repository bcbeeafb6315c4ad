//! From sums to comparisons: each variant against control, inside each stage, then pooled.

use std::collections::{BTreeMap, BTreeSet};

use super::about::{About, RowKey};
use super::counted::{Counted, only_fixed};
use super::fact::{CONTROL, TREATMENT};
use super::hour::{PairKey, Pairs};
use super::plan::{GRACE_MS, Goal, Plan};
use super::tally::{PairTally, Tally};
use super::totals::{Range, Sums, Totals};
use crate::clock::{DAY_MS, HOUR_MS};
use crate::stats::compare::{Better, Comparison, Question, Role, compare};
use crate::stats::counts::{Count, Stratum, Waiting};
use crate::stats::figures::Why;
use crate::stats::guardrail::{self, LimitGuardrail, MarginGuardrail};
use crate::stats::mean::{self, ValueComparison, ValuePair, ValueStratum, Values};
use crate::stats::power::Pace;

/// Days over which growth is measured.
const PACE_DAYS: i64 = 7;

/// A variant that is compared with the control of its rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Versus {
    /// The rule.
    pub rule: Box<str>,
    /// The variant.
    pub variant: Box<str>,
    /// Control's variant.
    pub baseline: Box<str>,
    /// Treatment variants of the rule.
    pub treatments: u32,
}

/// The variants to be compared, in the order of the answer: those of the document's rollouts, and those that came.
#[must_use]
pub fn versus(about: &About, sums: &Sums) -> Vec<Versus> {
    let mut treated: BTreeSet<RowKey> = about.configured().into_iter().collect();
    treated.extend(sums.rows.keys().map(RowKey::from));
    let mut treated: Vec<RowKey> = treated.into_iter().filter(|row| row.arm == TREATMENT).collect();
    treated.sort_by_cached_key(|row| about.order(row));
    let mut by_rule: BTreeMap<Box<str>, u32> = BTreeMap::new();
    treated.iter().for_each(|row| *by_rule.entry(row.rule.clone()).or_default() += 1);
    let list = treated.into_iter().map(|row| Versus {
        baseline: baseline(about, sums, &row.rule),
        treatments: by_rule.get(&row.rule).copied().unwrap_or(1),
        rule: row.rule,
        variant: row.variant,
    });
    list.collect()
}

/// Control's variant: that of the newest stage in which the rule had one.
fn baseline(about: &About, sums: &Sums, rule: &str) -> Box<str> {
    let control = sums.rows.keys().filter(|key| &*key.rule == rule && key.arm == CONTROL);
    let newest = control.max_by_key(|key| key.stage).map(|key| key.variant.clone());
    newest.unwrap_or_else(|| about.document.off_variant.as_str().into())
}

pub(super) fn count(plan: &Plan, tally: &Tally, metric: usize) -> Count {
    let reached = super::variants::metric(plan, tally, metric);
    Count { units: reached.exposed, converted: reached.users }
}

pub(super) fn stage_number(stage: i64) -> u32 {
    u32::try_from(stage).unwrap_or(u32::MAX)
}

/// Both arms of a comparison in each stage: treated and control.
pub(super) fn by_stage<'s>(
    sums: &'s Sums,
    versus: &Versus,
) -> BTreeMap<i64, (Option<&'s Tally>, Vec<&'s Tally>)> {
    let mut stages: BTreeMap<i64, (Option<&Tally>, Vec<&Tally>)> = BTreeMap::new();
    for (key, row) in sums.rows.iter().filter(|(key, _)| key.rule == versus.rule) {
        if key.arm == TREATMENT && key.variant == versus.variant {
            stages.entry(key.stage).or_default().0 = Some(&row.all);
        } else if key.arm == CONTROL {
            stages.entry(key.stage).or_default().1.push(&row.all);
        }
    }
    stages
}

/// Units of a stage whose window of a metric has closed: the variant's and control's.
pub(super) fn units_of(
    plan: &Plan,
    (treated, control): (Option<&Tally>, &[&Tally]),
    metric: usize,
) -> [u64; 2] {
    let units = |tally: &Tally| count(plan, tally, metric).units;
    [treated.map(units).unwrap_or_default(), control.iter().map(|tally| units(tally)).sum()]
}

/// The pairs of one arm, with the places of their stages; control of any variant.
pub(super) fn pairs_of<'p>(
    pairs: &'p Pairs,
    versus: &Versus,
    arm: u8,
    stages: &[i64],
) -> Vec<(usize, usize, &'p PairKey, &'p PairTally)> {
    let own = pairs.iter().filter(|(key, _)| {
        key.rule == versus.rule && key.arm == arm && (arm == CONTROL || key.variant == versus.variant)
    });
    own.filter_map(|(key, pair)| {
        let place = |stage: i64| stages.binary_search(&stage).ok();
        Some((place(key.lower)?, place(key.higher)?, key, pair))
    })
    .collect()
}

/// What is asked beside the counts.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// The metric's place in the plan.
    pub metric: usize,
    /// The goal's overall comparison, or any other.
    pub role: Role,
    /// Whether units came in the expected shares.
    pub srm_ok: bool,
    /// How fast the present stage grows.
    pub pace: Option<Pace>,
}

/// Compares one metric.
#[must_use]
pub fn compared(about: &About, versus: &Versus, counted: &Counted, asking: Asking) -> Comparison {
    let plan = about.plan();
    let step = plan.metrics.get(asking.metric).map_or("", |metric| &*metric.step);
    let window = plan.metrics.get(asking.metric).map_or(plan.funnel_window, |metric| metric.window);
    let waiting = counted.waiting();
    let is_open = about.open_stage().is_some();
    let made = compare(&Question {
        counts: counted.strata(),
        maturing_users: counted.maturing(),
        role: asking.role,
        better: if about.is_harm(step) { Better::Less } else { Better::More },
        treatments: versus.treatments,
        srm_ok: asking.srm_ok,
        margin: about.margin(step),
        min_effect: about.document.min_effect,
        pace: asking.pace,
        window_hours: u32::try_from(plan.window_ms(window) / HOUR_MS).unwrap_or(u32::MAX),
    });
    made.explained(|why| match why {
        Why::NoGrowth if !is_open => Why::NotOpen,
        why => waiting.explains(why),
    })
}

/// The goal's comparison where there is none to make.
#[must_use]
pub fn goal_without(plan: &Plan) -> Option<Comparison> {
    matches!(plan.goal, Some(Goal::Stop(_))).then(|| Comparison::none(Why::GoalInFunnel))
}

/// From when on exposures count as growth: the hours before are early. By what had matured at `as_of_ms`.
#[must_use]
pub fn growth_from(about: &About, as_of_ms: i64) -> i64 {
    (as_of_ms - growth_lag_ms(about)).div_euclid(HOUR_MS) * HOUR_MS
}

/// How long ago that is, to the hour.
#[must_use]
pub fn growth_lag_ms(about: &About) -> i64 {
    about.plan().window_ms(about.plan().goal_window()) + GRACE_MS + PACE_DAYS * DAY_MS
}

/// How fast the open stage grows: units of the range that matured of late. `None` where no stage is open, or the range
/// holds none of the last days.
#[must_use]
pub fn pace(
    about: &About,
    totals: &Totals,
    versus: &Versus,
    (range, as_of_ms): (Range, i64),
) -> Option<Pace> {
    let (plan, stage) = (about.plan(), about.open_stage()?);
    let Some(Goal::Metric(goal)) = plan.goal else { return None };
    let cut = as_of_ms - plan.window_ms(plan.goal_window()) - GRACE_MS;
    let since = growth_from(about, as_of_ms).max(stage.opened_at).max(range.from_ms);
    let until = cut.min(range.to_ms);
    let days = (until - since) as f64 / DAY_MS as f64;
    if days <= 0.0 {
        return None;
    }
    let counted = Counted::of(plan, &totals.sums, versus, goal);
    let now = counted.stratum(stage.stage)?;
    let mut before = Stratum { stage: now.stage, ..Stratum::default() };
    for (key, units) in &totals.early {
        if key.stage == stage.stage && key.rule == versus.rule {
            let count = Count { units: *units, converted: 0 };
            if key.arm == TREATMENT && key.variant == versus.variant {
                before.treatment = count;
            } else if key.arm == CONTROL {
                before.control = count;
            }
        }
    }
    Some(Pace::of(now, &before, days))
}

/// A guardrail by its margin.
#[must_use]
pub fn margin_guardrail(counted: &Counted, margin: f64) -> MarginGuardrail {
    let waiting = counted.waiting();
    guardrail::margin(&counted.strata(), margin).explained(|why| waiting.explains(why))
}

/// A guardrail by an absolute limit: the variant's units, each once.
#[must_use]
pub fn limit_guardrail(
    plan: &Plan,
    sums: &Sums,
    versus: &Versus,
    metric: usize,
    limit: f64,
) -> LimitGuardrail {
    let mut all = Tally::default();
    for (key, row) in &sums.rows {
        if key.rule == versus.rule && key.arm == TREATMENT && key.variant == versus.variant {
            all.merge(&row.first);
        }
    }
    let count = count(plan, &all, metric);
    let waiting =
        Waiting { treatment: all.units - count.units, only_fixed: only_fixed(sums), ..Waiting::default() };
    guardrail::limit(count, limit).explained(|why| waiting.explains(why))
}

/// Currencies in which some unit has a value of the metric.
#[must_use]
pub fn currencies(sums: &Sums, metric: usize) -> BTreeSet<Box<str>> {
    let tallies = sums.rows.values().filter_map(|row| row.all.metric(metric));
    tallies.flat_map(|metric| metric.values.keys().cloned()).collect()
}

/// Value per user of one currency.
#[must_use]
pub fn value(plan: &Plan, sums: &Sums, versus: &Versus, metric: usize, currency: &str) -> ValueComparison {
    let stages = by_stage(sums, versus);
    let numbers: Vec<i64> = stages.keys().copied().collect();
    let own = |tally: &Tally| {
        let value = tally.metric(metric).and_then(|metric| metric.values.get(currency));
        let (sum, squares) = value.map_or((0.0, 0.0), |value| (value.sum as f64, value.squares as f64));
        mean::Sums { units: count(plan, tally, metric).units, sum, squares }
    };
    let strata: Vec<ValueStratum> = stages
        .iter()
        .map(|(stage, (treated, control))| {
            let control = control.iter().map(|tally| own(tally)).reduce(|a, b| mean::Sums {
                units: a.units + b.units,
                sum: a.sum + b.sum,
                squares: a.squares + b.squares,
            });
            ValueStratum {
                stage: stage_number(*stage),
                treatment: treated.map(own).unwrap_or_default(),
                control: control.unwrap_or_default(),
            }
        })
        .collect();
    let window = plan.metrics.get(metric).map_or(plan.funnel_window, |metric| metric.window);
    let pairs = |arm| -> Vec<ValuePair> {
        let own = pairs_of(&sums.pairs, versus, arm, &numbers).into_iter();
        own.map(|(earlier, later, _, pair)| {
            let sums = pair.metrics.get(metric).and_then(|metric| metric.values.get(currency));
            let sums = sums.copied().unwrap_or_default();
            ValuePair {
                earlier,
                later,
                units: pair.matured.get(window).copied().unwrap_or_default(),
                earlier_sum: sums.lower as f64,
                later_sum: sums.higher as f64,
                products: sums.products as f64,
            }
        })
        .filter(|pair| pair.units > 0)
        .collect()
    };
    mean::compare(&Values {
        strata: &strata,
        treatment_pairs: &pairs(TREATMENT),
        control_pairs: &pairs(CONTROL),
    })
}
