//! Intervals at a single look: exact coverage, summed over all outcomes that matter; nothing is drawn.

use huidu::stats::compare::Role;
use huidu::stats::counts::{Count, Strata};
use huidu::stats::proportion::{mover_r, newcombe};
use huidu::stats::special::Z;
use statrs::distribution::{Binomial, Discrete as _};

use super::draw::{asked, stratum};

/// Units of both arms.
const SIZES: [(u64, u64); 4] = [(200, 200), (1_000, 1_000), (10_000, 1_000), (10_000, 10_000)];
const RATES: [f64; 3] = [0.05, 0.01, 0.001];
const LIFTS: [f64; 2] = [0.0, 0.2];

/// One place of the grid: nominal 95 %.
#[derive(Clone, Copy)]
pub(crate) struct Covered {
    pub(crate) units: (u64, u64),
    pub(crate) rate: f64,
    pub(crate) lift: f64,
    pub(crate) wald: f64,
    pub(crate) newcombe: f64,
    pub(crate) mover_r: f64,
}

/// Outcomes of `n` at `p` with their chances, all but 1e-9 of them on either side.
fn outcomes(n: u64, p: f64) -> Vec<(u64, f64)> {
    let binomial = Binomial::new(p, n).unwrap();
    let (mean, sd) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
    let from = (mean - 6.5 * sd - 3.0).max(0.0) as u64;
    let to = ((mean + 7.0 * sd + 12.0) as u64).min(n);
    (from..=to).map(|k| (k, binomial.pmf(k))).collect()
}

fn cover(units: (u64, u64), rate: f64, lift: f64) -> Covered {
    let (treated, true_ratio) = (rate * (1.0 + lift), 1.0 + lift);
    let difference = treated - rate;
    let (mut whole, mut wald, mut by_newcombe, mut by_mover) = (0.0, 0.0, 0.0, 0.0);
    let controls = outcomes(units.1, rate);
    for (k1, chance1) in outcomes(units.0, treated) {
        let treatment = Count { units: units.0, converted: k1 };
        for (k0, chance0) in &controls {
            let control = Count { units: units.1, converted: *k0 };
            let chance = chance1 * chance0;
            whole += chance;
            let variance = |count: Count| count.rate() * (1.0 - count.rate()) / count.units as f64;
            let off = treatment.rate() - control.rate() - difference;
            if off.abs() <= Z * (variance(treatment) + variance(control)).sqrt() {
                wald += chance;
            }
            let ci = newcombe(treatment, control, Z);
            if ci.low <= difference && difference <= ci.high {
                by_newcombe += chance;
            }
            let ci = mover_r(treatment, control, Z);
            if ci.low.is_none_or(|low| low <= true_ratio) && ci.high.is_none_or(|high| true_ratio <= high) {
                by_mover += chance;
            }
        }
    }
    let percent = |sum: f64| 100.0 * sum / whole;
    assert!((whole - 1.0).abs() < 1e-6, "{whole} of the outcomes are looked at");
    Covered {
        units,
        rate,
        lift,
        wald: percent(wald),
        newcombe: percent(by_newcombe),
        mover_r: percent(by_mover),
    }
}

/// The whole grid.
pub(crate) fn grid() -> Vec<Covered> {
    let places = SIZES.into_iter().flat_map(|units| RATES.map(|rate| LIFTS.map(|lift| (units, rate, lift))));
    places.flatten().map(|(units, rate, lift)| cover(units, rate, lift)).collect()
}

#[test]
fn single_look_intervals_cover_what_they_promise() {
    let grid = grid();
    let average = |of: fn(&Covered) -> f64| grid.iter().map(of).sum::<f64>() / grid.len() as f64;
    for place in &grid {
        let Covered { units, rate, lift, newcombe, mover_r, .. } = place;
        assert!(*newcombe >= 94.5 && *mover_r >= 94.5, "{units:?} {rate} {lift}: {newcombe:.2} {mover_r:.2}");
    }
    let (newcombe, mover_r) = (average(|place| place.newcombe), average(|place| place.mover_r));
    assert!(newcombe >= 95.0 && mover_r >= 95.0, "{newcombe:.2} {mover_r:.2}");
    let worst = grid.iter().map(|place| place.wald).fold(100.0, f64::min);
    assert!(worst < 70.0, "Wald's interval fails at small rates: {worst:.1}");
}

#[test]
fn the_always_valid_interval_is_not_empty_where_nobody_converted() {
    // 200 + 200 at 0.1 %: two thirds of all tests have no conversion; the truth is 0.02 points.
    let strata = [stratum(1, (0, 200), (0, 200))];
    let ci = asked(Strata { strata: &strata, ..Strata::default() }, Role::Metric).always_valid_ci.unwrap();
    assert!(ci.low < -0.0002 && ci.high > 0.0002, "{ci:?}");
}
