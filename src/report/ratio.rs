//! Ratio metrics, each variant against control: events of one step per event of another, and value per order.

use super::compare::{Versus, by_stage, pairs_of, stage_number};
use super::fact::{CONTROL, TREATMENT};
use super::plan::Plan;
use super::tally::{PairTally, Tally};
use super::totals::Sums;
use super::variants;
use crate::stats::mean::ValueComparison;
use crate::stats::ratio::{self, RatioPair, RatioStratum, RatioSums};

fn both(a: RatioSums, b: RatioSums) -> RatioSums {
    RatioSums {
        units: a.units + b.units,
        y: a.y + b.y,
        x: a.x + b.x,
        yy: a.yy + b.yy,
        xy: a.xy + b.xy,
        xx: a.xx + b.xx,
    }
}

/// Where a ratio's sums stand in what was counted.
struct Sides<T, P> {
    of_tally: T,
    of_pair: P,
}

/// Compares the ratio of a metric that is one.
#[must_use]
pub(super) fn compared(plan: &Plan, sums: &Sums, versus: &Versus, metric: usize) -> ValueComparison {
    let of_pair = |pair: &PairTally| {
        let own = pair.ratios.get(metric).copied().unwrap_or_default();
        RatioPair {
            earlier_y: own.lower_y as f64,
            later_y: own.higher_y as f64,
            earlier_x: own.lower_x as f64,
            later_x: own.higher_x as f64,
            yy: own.yy as f64,
            xx: own.xx as f64,
            earlier_x_later_y: own.lower_x_higher_y as f64,
            earlier_y_later_x: own.lower_y_higher_x as f64,
            ..RatioPair::default()
        }
    };
    let of_tally = |tally: &Tally| {
        let own = tally.ratios.get(metric).copied().unwrap_or_default();
        RatioSums {
            units: 0,
            y: own.y as f64,
            x: own.x as f64,
            yy: own.yy as f64,
            xy: own.xy as f64,
            xx: own.xx as f64,
        }
    };
    ratio_of(plan, sums, versus, metric, &Sides { of_tally, of_pair })
}

/// Compares the value of an order: what units spent per event with a value, of one currency.
#[must_use]
pub(super) fn per_order(
    plan: &Plan,
    sums: &Sums,
    versus: &Versus,
    (metric, currency): (usize, &str),
) -> ValueComparison {
    let of_pair = |pair: &PairTally| {
        let own = pair.metrics.get(metric).and_then(|metric| metric.values.get(currency));
        let own = own.copied().unwrap_or_default();
        RatioPair {
            earlier_y: own.lower as f64,
            later_y: own.higher as f64,
            earlier_x: own.lower_orders as f64,
            later_x: own.higher_orders as f64,
            yy: own.products as f64,
            xx: own.orders_products as f64,
            earlier_x_later_y: own.lower_orders_higher as f64,
            earlier_y_later_x: own.lower_higher_orders as f64,
            ..RatioPair::default()
        }
    };
    let of_tally = |tally: &Tally| {
        let own = tally.metric(metric).and_then(|metric| metric.values.get(currency));
        let own = own.copied().unwrap_or_default();
        RatioSums {
            units: 0,
            y: own.sum as f64,
            x: own.orders as f64,
            yy: own.squares as f64,
            xy: own.products as f64,
            xx: own.orders_squares as f64,
        }
    };
    ratio_of(plan, sums, versus, metric, &Sides { of_tally, of_pair })
}

/// Compares what `sides` find for each arm and stage, over the units whose window of the metric has closed.
fn ratio_of(
    plan: &Plan,
    sums: &Sums,
    versus: &Versus,
    metric: usize,
    sides: &Sides<impl Fn(&Tally) -> RatioSums, impl Fn(&PairTally) -> RatioPair>,
) -> ValueComparison {
    let stages = by_stage(sums, versus);
    let numbers: Vec<i64> = stages.keys().copied().collect();
    let own = |tally: &Tally| {
        let units = variants::metric(plan, tally, metric).exposed;
        RatioSums { units, ..(sides.of_tally)(tally) }
    };
    let stratum = |(stage, (treated, control)): (&i64, &(Option<&Tally>, Vec<&Tally>))| RatioStratum {
        stage: stage_number(*stage),
        treatment: treated.map(own).unwrap_or_default(),
        control: control.iter().map(|tally| own(tally)).fold(RatioSums::default(), both),
    };
    let strata: Vec<RatioStratum> = stages.iter().map(stratum).collect();
    let window = plan.metrics.get(metric).map_or(plan.funnel_window, |metric| metric.window);
    let pairs = |arm| -> Vec<RatioPair> {
        let own = pairs_of(&sums.pairs, versus, arm, &numbers).into_iter();
        let own = own.map(|(earlier, later, _, pair)| {
            let units = pair.matured.get(window).copied().unwrap_or_default();
            RatioPair { earlier, later, units, ..(sides.of_pair)(pair) }
        });
        own.filter(|pair| pair.units > 0).collect()
    };
    ratio::compare(&strata, &pairs(TREATMENT), &pairs(CONTROL))
}
