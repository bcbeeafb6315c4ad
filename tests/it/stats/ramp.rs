//! A ramp of shoppers who come once: the rate falls while the percentage grows, so that counts thrown together lie.

use super::draw::{Tally, binomial, generator, metric, stratum};
use huidu::stats::compare::Comparison;
use huidu::stats::counts::{Count, Strata, Stratum};
use rand_distr::{Distribution as _, StandardNormal};

/// Percent of the variant, stage by stage; control has 5.
pub(crate) const SHARES: [f64; 4] = [0.01, 0.05, 0.20, 0.50];
/// Days of a stage.
pub(crate) const DAYS: u32 = 5;
const SHOPPERS_A_DAY: f64 = 20_000.0;
const CONTROL_A_DAY: u64 = 1_000;

/// Both ways to count, over all runs.
#[derive(Default)]
pub(crate) struct Fresh {
    pub(crate) pooled: Tally,
    pub(crate) by_stage: Tally,
}

fn plus(one: Count, units: u64, converted: u64) -> Count {
    Count { units: one.units + units, converted: one.converted + converted }
}

/// The strata thrown together.
pub(crate) fn thrown_together(strata: &[Stratum]) -> Stratum {
    strata.iter().fold(Stratum::default(), |sum, stratum| Stratum {
        stage: 0,
        treatment: plus(sum.treatment, stratum.treatment.units, stratum.treatment.converted),
        control: plus(sum.control, stratum.control.units, stratum.control.converted),
    })
}

/// 20,000 shoppers a day, the base rate falls from 12 to 7 %; `effect` is what the variant adds.
pub(crate) fn fresh(runs: u32, effect: f64) -> Fresh {
    let mut rng = generator("ramp fresh");
    let mut found = Fresh::default();
    let last_day = 4 * DAYS - 1;
    for _ in 0..runs {
        let mut strata: Vec<Stratum> = (1..=4).map(|stage| stratum(stage, (0, 0), (0, 0))).collect();
        let (mut pooled, mut by_stage): (Vec<Comparison>, Vec<Comparison>) = (vec![], vec![]);
        for day in 0..=last_day {
            let stage = (day / DAYS) as usize;
            let noise: f64 = StandardNormal.sample(&mut rng);
            let base = (0.12 - 0.05 * f64::from(day) / f64::from(last_day)) * (0.05 * noise).exp();
            let treated = (SHOPPERS_A_DAY * SHARES[stage]).round() as u64;
            let ordered = [(treated, base + effect), (CONTROL_A_DAY, base)]
                .map(|(n, rate)| (n, binomial(&mut rng, n, rate)));
            let now = &mut strata[stage];
            now.treatment = plus(now.treatment, ordered[0].0, ordered[0].1);
            now.control = plus(now.control, ordered[1].0, ordered[1].1);
            let one = [thrown_together(&strata)];
            pooled.push(metric(Strata { strata: &one, ..Strata::default() }));
            by_stage.push(metric(Strata { strata: &strata, ..Strata::default() }));
        }
        found.pooled.run(&pooled, effect);
        found.by_stage.run(&by_stage, effect);
    }
    found
}

#[test]
fn a_ramp_without_effect_is_not_called_better_or_worse() {
    let found = fresh(1_000, 0.0);
    assert!(found.pooled.decided.percent() >= 90.0, "counts thrown together lie: {}", found.pooled.decided);
    assert!(found.pooled.points() < -1.0);
    assert!(found.by_stage.decided.percent() <= 5.5, "{}", found.by_stage);
    assert!(found.by_stage.points().abs() <= 0.15, "{}", found.by_stage);
    assert!(found.by_stage.covered.percent() >= 95.0, "on all days: {}", found.by_stage);
    assert!(found.by_stage.fixed_daily.percent() >= 15.0, "a single-look p-value read daily lies");
}

#[test]
fn a_ramp_with_an_effect_shows_it() {
    let found = fresh(1_000, 0.01);
    assert!(found.pooled.points() < 0.0, "thrown together, a gain looks like a loss: {}", found.pooled);
    assert!((found.by_stage.points() - 1.0).abs() <= 0.15, "{}", found.by_stage);
    assert!(found.by_stage.covered.percent() >= 95.0, "{}", found.by_stage);
    assert!(found.by_stage.decided.percent() >= 60.0, "{}", found.by_stage);
}
