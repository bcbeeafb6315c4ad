//! Ratio metrics: events of one step per event of another, each variant against control.

use super::compare::{Versus, by_stage, pairs_of, stage_number};
use super::fact::{CONTROL, TREATMENT};
use super::plan::Plan;
use super::tally::{PairTally, Tally};
use super::totals::Sums;
use super::variants;
use crate::stats::mean::ValueComparison;
use crate::stats::ratio::{self, RatioPair, RatioStratum, RatioSums};

fn sums_of(plan: &Plan, tally: &Tally, metric: usize) -> RatioSums {
    let own = tally.ratios.get(metric).copied().unwrap_or_default();
    RatioSums {
        units: variants::metric(plan, tally, metric).exposed,
        y: own.y as f64,
        x: own.x as f64,
        yy: own.yy as f64,
        xy: own.xy as f64,
        xx: own.xx as f64,
    }
}

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

fn pair_of(earlier: usize, later: usize, pair: &PairTally, (metric, window): (usize, usize)) -> RatioPair {
    let own = pair.ratios.get(metric).copied().unwrap_or_default();
    RatioPair {
        earlier,
        later,
        units: pair.matured.get(window).copied().unwrap_or_default(),
        earlier_y: own.lower_y as f64,
        later_y: own.higher_y as f64,
        earlier_x: own.lower_x as f64,
        later_x: own.higher_x as f64,
        yy: own.yy as f64,
        xx: own.xx as f64,
        earlier_x_later_y: own.lower_x_higher_y as f64,
        earlier_y_later_x: own.lower_y_higher_x as f64,
    }
}

/// Compares the ratio of a metric that is one.
#[must_use]
pub(super) fn compared(plan: &Plan, sums: &Sums, versus: &Versus, metric: usize) -> ValueComparison {
    let stages = by_stage(sums, versus);
    let numbers: Vec<i64> = stages.keys().copied().collect();
    let own = |tally: &Tally| sums_of(plan, tally, metric);
    let stratum = |(stage, (treated, control)): (&i64, &(Option<&Tally>, Vec<&Tally>))| RatioStratum {
        stage: stage_number(*stage),
        treatment: treated.map(own).unwrap_or_default(),
        control: control.iter().map(|tally| own(tally)).fold(RatioSums::default(), both),
    };
    let strata: Vec<RatioStratum> = stages.iter().map(stratum).collect();
    let window = plan.metrics.get(metric).map_or(plan.funnel_window, |metric| metric.window);
    let pairs = |arm| -> Vec<RatioPair> {
        let own = pairs_of(&sums.pairs, versus, arm, &numbers).into_iter();
        let own = own.map(|(earlier, later, pair)| pair_of(earlier, later, pair, (metric, window)));
        own.filter(|pair| pair.units > 0).collect()
    };
    ratio::compare(&strata, &pairs(TREATMENT), &pairs(CONTROL))
}
