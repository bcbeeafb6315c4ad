//! Value per user with large values cut: one cap for both arms and all stages, the quantile of what units spent that
//! spent something. Exact: from single amounts, not from sums.

use std::collections::BTreeMap;

use super::amounts::{Amounts, Of, PairAmount};
use super::compare::{Versus, by_stage, pairs_of, stage_number, units_of};
use super::fact::{CONTROL, Key, TREATMENT};
use super::hour::PairKey;
use super::load::Loaded;
use super::plan::Plan;
use super::totals::Sums;
use crate::stats::mean::{self, ValueComparison, ValuePair, ValueStratum, Values};

/// Values with the large ones cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Capped {
    /// What more is cut to, in the currency's minor unit; `None`: nobody spent anything.
    pub(super) cap: Option<f64>,
    /// The share of all value that is cut off: of both arms, of the variant's, of control's.
    pub(super) removed: [Option<f64>; 3],
    /// The comparison of what is left.
    pub(super) comparison: ValueComparison,
}

/// Amounts of one comparison, by stage: the variant's and control's.
#[derive(Default)]
struct Spent {
    treatment: BTreeMap<i64, Vec<f64>>,
    control: BTreeMap<i64, Vec<f64>>,
}

/// Whether an amount is of this metric and currency, of control or of this variant.
fn is_of<K>(of: &Of<K>, what: (usize, &str), versus: &Versus, who: (&str, u8, &str)) -> bool {
    let (rule, arm, variant) = who;
    (of.metric, &*of.currency) == what
        && rule == &*versus.rule
        && (arm == CONTROL || (arm == TREATMENT && variant == &*versus.variant))
}

fn pieces(loaded: &Loaded) -> impl Iterator<Item = &Amounts> {
    loaded.amounts.iter().chain(loaded.hours.iter().map(|hour| &hour.amounts))
}

/// What the units of stages with both arms spent.
fn spent(loaded: &Loaded, versus: &Versus, what: (usize, &str), stages: &[i64]) -> Spent {
    let mut spent = Spent::default();
    for (of, amounts) in pieces(loaded).flat_map(|piece| piece.single.iter()) {
        let Key { rule, arm, variant, stage } = &of.key;
        if is_of(of, what, versus, (rule, *arm, variant)) && stages.contains(stage) {
            let side = if *arm == CONTROL { &mut spent.control } else { &mut spent.treatment };
            side.entry(*stage).or_default().extend(amounts.iter().map(|amount| *amount as f64));
        }
    }
    spent
}

/// Sums of one arm's amounts, cut.
fn sums(amounts: Option<&Vec<f64>>, units: u64, cap: f64) -> mean::Sums {
    let mut sums = mean::Sums { units, sum: 0.0, squares: 0.0 };
    for amount in amounts.into_iter().flatten().map(|amount| amount.min(cap)) {
        sums.sum += amount;
        sums.squares += amount * amount;
    }
    sums
}

/// Cut sums of units in two strata, by key.
fn pair_sums(loaded: &Loaded, versus: &Versus, what: (usize, &str), cap: f64) -> BTreeMap<PairKey, [f64; 3]> {
    let mut sums: BTreeMap<PairKey, [f64; 3]> = BTreeMap::new();
    let is_inside = |pair: &&PairAmount| !loaded.range.is_cut || pair.at >= loaded.range.from_ms;
    for (of, amounts) in pieces(loaded).flat_map(|piece| piece.pairs.iter()) {
        let PairKey { rule, arm, variant, .. } = &of.key;
        if !is_of(of, what, versus, (rule, *arm, variant)) {
            continue;
        }
        let [lower_sum, higher_sum, products] = sums.entry(of.key.clone()).or_default();
        for pair in amounts.iter().filter(is_inside) {
            let (lower, higher) = ((pair.lower as f64).min(cap), (pair.higher as f64).min(cap));
            *lower_sum += lower;
            *higher_sum += higher;
            *products += lower * higher;
        }
    }
    sums
}

/// Compares value per user with everything above the `quantile` (0 to 1) of both arms' positive values cut to it.
#[must_use]
pub(super) fn compared(
    (plan, loaded): (&Plan, &Loaded),
    all: &Sums,
    versus: &Versus,
    (metric, currency): (usize, &str),
    quantile: f64,
) -> Capped {
    let stages = by_stage(all, versus);
    let units = |stage: &i64| {
        let (treated, control) = stages.get(stage)?;
        Some(units_of(plan, (*treated, control), metric))
    };
    let numbers: Vec<i64> = stages.keys().copied().collect();
    let both: Vec<i64> =
        numbers.iter().copied().filter(|stage| units(stage).is_some_and(|[a, b]| a > 0 && b > 0)).collect();
    let spent = spent(loaded, versus, (metric, currency), &both);
    let mut positive: Vec<f64> =
        spent.treatment.values().chain(spent.control.values()).flatten().copied().collect();
    let cap = mean::cap(&mut positive, quantile);
    let cut_to = cap.unwrap_or(f64::INFINITY);
    let strata: Vec<ValueStratum> = numbers
        .iter()
        .map(|stage| {
            let [treated, control] = units(stage).unwrap_or_default();
            ValueStratum {
                stage: stage_number(*stage),
                treatment: sums(spent.treatment.get(stage), treated, cut_to),
                control: sums(spent.control.get(stage), control, cut_to),
            }
        })
        .collect();
    let window = plan.metrics.get(metric).map_or(plan.funnel_window, |metric| metric.window);
    let cut = pair_sums(loaded, versus, (metric, currency), cut_to);
    let pairs = |arm| -> Vec<ValuePair> {
        let own = pairs_of(&all.pairs, versus, arm, &numbers).into_iter();
        own.map(|(earlier, later, key, pair)| {
            let [earlier_sum, later_sum, products] = cut.get(key).copied().unwrap_or_default();
            let units = pair.matured.get(window).copied().unwrap_or_default();
            ValuePair { earlier, later, units, earlier_sum, later_sum, products }
        })
        .filter(|pair| pair.units > 0)
        .collect()
    };
    let (treatment_pairs, control_pairs) = (&pairs(TREATMENT), &pairs(CONTROL));
    let comparison = mean::compare(&Values { strata: &strata, treatment_pairs, control_pairs });
    Capped { cap, removed: removed(&spent, cut_to), comparison }
}

/// The share of the value that a cap cuts off: of both arms, of the variant's, of control's.
fn removed(spent: &Spent, cap: f64) -> [Option<f64>; 3] {
    let sides = [&spent.treatment, &spent.control].map(|side| {
        let amounts = side.values().flatten();
        amounts.fold((0.0, 0.0), |(all, cut), amount| (all + amount, cut + (amount - cap).max(0.0)))
    });
    let [treatment, control] = sides;
    let share = |(all, cut): (f64, f64)| (all > 0.0).then(|| cut / all);
    [share((treatment.0 + control.0, treatment.1 + control.1)), share(treatment), share(control)]
}
