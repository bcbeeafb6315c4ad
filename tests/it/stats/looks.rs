//! A test of fixed percentages, looked at every day: which figures may be read daily, and which may not.

use super::draw::{Share, asked, binomial, decided, generator, metric, multinomial, stratum};
use huidu::stats::compare::{Comparison, Role};
use huidu::stats::counts::{Count, Strata};
use huidu::stats::guardrail::{self, State};
use huidu::stats::proportion::{newcombe, wilson};
use huidu::stats::special::{Z, chi_square_tail};
use huidu::stats::srm::{Split, check};

/// Treated and control a day, and the rate of both.
pub(crate) const SHAPES: [(u64, u64, f64); 4] =
    [(500, 500, 0.05), (500, 50, 0.05), (500, 50, 0.01), (500, 50, 0.001)];

/// Days of a test.
const DAYS: u64 = 100;

/// Runs in which a method said that there is a difference.
#[derive(Default, Clone, Copy)]
pub(crate) struct Repeated {
    /// The single-look p-value, read on the last day only.
    pub(crate) once: Share,
    /// The single-look p-value, daily.
    pub(crate) fixed: Share,
    /// Newcombe's interval, daily.
    pub(crate) newcombe: Share,
    /// Unpooled (Wald) z, daily.
    pub(crate) wald: Share,
    /// Probability better over 0.95 or under 0.05, daily, in a tenth of the runs.
    pub(crate) likely: Share,
    /// The same at 0.975.
    pub(crate) likelier: Share,
    /// The verdict, daily.
    pub(crate) verdict: Share,
    /// A guardrail's two-sided bounds leave 0 outside, daily.
    pub(crate) guardrail: Share,
    /// The verdict by day 40.
    pub(crate) by_day_40: Share,
    /// The always-valid interval holds the truth on all days.
    pub(crate) covered: Share,
}

/// Both arms, added up day by day: (treatment, control).
fn history(shape: (u64, u64, f64), effect: f64, days: u64, rng: &mut rand_pcg::Pcg64) -> Vec<(Count, Count)> {
    let (n1, n0, rate) = shape;
    let (mut y1, mut y0) = (0, 0);
    (1..=days)
        .map(|day| {
            y1 += binomial(rng, n1, rate + effect);
            y0 += binomial(rng, n0, rate);
            (Count { units: day * n1, converted: y1 }, Count { units: day * n0, converted: y0 })
        })
        .collect()
}

fn comparison(treatment: Count, control: Count, role: Role) -> Comparison {
    let strata = [stratum(1, (treatment.converted, treatment.units), (control.converted, control.units))];
    asked(Strata { strata: &strata, ..Strata::default() }, role)
}

/// Unpooled z over 1.96: what "the variance is p(1-p)/n of each arm" makes of it.
fn wald(treatment: Count, control: Count) -> bool {
    let variance = |count: Count| count.rate() * (1.0 - count.rate()) / count.units as f64;
    let difference = treatment.rate() - control.rate();
    difference.abs() > Z * (variance(treatment) + variance(control)).sqrt()
}

/// Looks at a test every day; `posterior`: also at the probability to be better, in a tenth of the runs (it is slow).
pub(crate) fn repeated(shape: (u64, u64, f64), effect: f64, runs: u32, posterior: bool) -> Repeated {
    let mut rng = generator("looks");
    let mut found = Repeated::default();
    for run in 0..runs {
        let days = history(shape, effect, DAYS, &mut rng);
        let of = |(treatment, control): &(Count, Count)| comparison(*treatment, *control, Role::Metric);
        let looks: Vec<Comparison> = days.iter().map(of).collect();
        let significant = |look: &Comparison| look.p_value.is_some_and(|p| p < 0.05);
        let covers =
            |look: &Comparison| look.always_valid_ci.is_some_and(|ci| ci.low <= effect && effect <= ci.high);
        found.once.add(looks.last().is_some_and(significant));
        found.fixed.add(looks.iter().any(significant));
        found.verdict.add(looks.iter().any(decided));
        found.by_day_40.add(looks.iter().take(40).any(decided));
        found.covered.add(looks.iter().all(covers));
        found.newcombe.add(days.iter().any(|(treatment, control)| {
            let ci = newcombe(*treatment, *control, Z);
            ci.low > 0.0 || ci.high < 0.0
        }));
        found.wald.add(days.iter().any(|(treatment, control)| wald(*treatment, *control)));
        found.guardrail.add(looks.iter().any(two_sided_guardrail));
        if posterior && run % 10 == 0 {
            let chances: Vec<f64> = days
                .iter()
                .filter_map(|(treatment, control)| {
                    comparison(*treatment, *control, Role::Goal).probability_better
                })
                .collect();
            let beyond = |level: f64| chances.iter().any(|chance| *chance > level || *chance < 1.0 - level);
            found.likely.add(beyond(0.95));
            found.likelier.add(beyond(0.975));
        }
    }
    found
}

/// Asymptotic confidence sequence with the guardrails' tuning, two-sided: for the table only.
fn two_sided_guardrail(found: &Comparison) -> bool {
    use huidu::stats::sequential::{ALPHA, GUARDRAIL_TUNING, c, r};
    let (difference, se) = (found.absolute_lift.unwrap(), found.se.unwrap());
    difference.abs() > c(r(found.information, GUARDRAIL_TUNING), ALPHA) * se
}

/// What a guardrail said on some day of 60.
#[derive(Default, Clone, Copy)]
pub(crate) struct Guarded {
    pub(crate) broken: Share,
    pub(crate) harmed: Share,
    pub(crate) holds: Share,
    /// The bare difference is over the margin on some day after the first.
    pub(crate) bare: Share,
}

/// Failures of 2 % in control, `harm` more in treatment; 500 treated and `control` control a day, margin 0.5 points.
pub(crate) fn guarded(control: u64, harm: f64, runs: u32) -> Guarded {
    let mut rng = generator("guardrails");
    let mut found = Guarded::default();
    for _ in 0..runs {
        let looks: Vec<_> = history((500, control, 0.02), harm, 60, &mut rng)
            .into_iter()
            .map(|(treatment, control)| {
                let strata =
                    [stratum(1, (treatment.converted, treatment.units), (control.converted, control.units))];
                guardrail::margin(&Strata { strata: &strata, ..Strata::default() }, 0.005)
            })
            .collect();
        let some = |state| looks.iter().any(|look| look.state == state);
        found.broken.add(some(State::Broken));
        found.harmed.add(some(State::Harmed) || some(State::Broken));
        found.holds.add(some(State::Holds));
        found.bare.add(
            looks.iter().skip(1).any(|look| look.difference.is_some_and(|difference| difference > 0.005)),
        );
    }
    found
}

/// "At most 3 %", 200 units a day, 60 days: (broken, holds, Wilson's lower limit over it, the bare rate over it).
pub(crate) fn limited(rate: f64, runs: u32) -> [Share; 4] {
    let mut rng = generator("limit");
    let mut found = [Share::default(); 4];
    for _ in 0..runs {
        let (mut said, mut converted) = ([false; 4], 0);
        for day in 1..=60 {
            converted += binomial(&mut rng, 200, rate);
            let count = Count { units: 200 * day, converted };
            let state = guardrail::limit(count, 0.03).state;
            said[0] |= state == State::Broken;
            said[1] |= state == State::Holds;
            said[2] |= wilson(count.converted, count.units).low > 0.03;
            said[3] |= count.rate() > 0.03;
        }
        found.iter_mut().zip(said).for_each(|(share, said)| share.add(said));
    }
    found
}

/// 1,000 exposures a day for 100 days, split as `truth` while `expected` is: alarms at 1 % of (the e-process, the
/// chi-square on the last day, the chi-square daily).
pub(crate) fn shares(expected: &[f64], truth: &[f64], runs: u32) -> [Share; 3] {
    let mut rng = generator("shares");
    let mut found = [Share::default(); 3];
    for _ in 0..runs {
        let mut observed = vec![0; expected.len()];
        let (mut sequential, mut daily, mut last) = (false, false, false);
        for _ in 0..DAYS {
            let today = multinomial(&mut rng, 1_000, truth);
            observed.iter_mut().zip(today).for_each(|(sum, today)| *sum += today);
            let checked = check(&[Split { shares: expected.to_vec(), observed: observed.clone() }]);
            // One stage uses half of the level.
            sequential |= !checked.ok;
            let chi_square = checked.per_stage[0].chi_square.unwrap();
            last = chi_square_tail(chi_square, (expected.len() - 1) as f64) < 0.01;
            daily |= last;
        }
        found.iter_mut().zip([sequential, last, daily]).for_each(|(share, said)| share.add(said));
    }
    found
}

/// Three variants by ten metrics without effect, 50 days: some always-valid p under 5 % on some day (as it stands,
/// adjusted).
pub(crate) fn many(runs: u32) -> [Share; 2] {
    use huidu::stats::multiple::adjust;
    let mut rng = generator("many");
    let mut found = [Share::default(); 2];
    for _ in 0..runs {
        let (mut variants, mut controls) = ([0_u64; 30], [0_u64; 10]);
        let mut said = [false; 2];
        for day in 1..=50 {
            variants.iter_mut().for_each(|sum| *sum += binomial(&mut rng, 500, 0.05));
            controls.iter_mut().for_each(|sum| *sum += binomial(&mut rng, 500, 0.05));
            let p: Vec<Option<f64>> = variants
                .iter()
                .enumerate()
                .map(|(at, converted)| {
                    let strata = [stratum(1, (*converted, 500 * day), (controls[at % 10], 500 * day))];
                    metric(Strata { strata: &strata, ..Strata::default() }).always_valid_p
                })
                .collect();
            let small = |p: &[Option<f64>]| p.iter().flatten().any(|p| *p < 0.05);
            said[0] |= small(&p);
            said[1] |= small(&adjust(&p));
        }
        found.iter_mut().zip(said).for_each(|(share, said)| share.add(said));
    }
    found
}

#[test]
fn a_verdict_may_be_read_every_day() {
    for shape in SHAPES {
        let found = repeated(shape, 0.0, 400, false);
        assert!(found.verdict.percent() <= 5.5, "{shape:?}: {}", found.verdict);
        assert!(found.guardrail.percent() <= 5.5, "{shape:?}: {}", found.guardrail);
        assert!(found.covered.percent() >= 95.0, "{shape:?}: {}", found.covered);
        // Fisher's test, which is used while there are few conversions, lies least.
        assert!(found.fixed.percent() >= 12.0, "{shape:?}: read daily, p lies: {}", found.fixed);
        assert!(
            shape.2 > 0.01 || found.wald.percent() >= 50.0,
            "the unpooled variance collapses: {}",
            found.wald
        );
    }
}

#[test]
fn a_real_difference_is_found() {
    let found = repeated((1_000, 1_000, 0.10), 0.01, 300, false);
    assert!(found.by_day_40.percent() >= 90.0, "{}", found.by_day_40);
    assert!(found.covered.percent() >= 95.0, "{}", found.covered);
}

#[test]
fn guardrails_at_the_margin_neither_break_nor_hold() {
    for control in [50, 500] {
        let found = guarded(control, 0.005, 1_000);
        assert!(
            found.broken.percent() <= 5.0 && found.holds.percent() <= 5.0,
            "{control}: {} {}",
            found.broken,
            found.holds
        );
        let harmless = guarded(control, 0.0, 300);
        assert!(harmless.bare.percent() >= 30.0, "a bare difference lies: {}", harmless.bare);
        assert!(harmless.harmed.percent() <= 5.0, "{control}: {}", harmless.harmed);
        let harmful = guarded(control, 0.02, 100);
        assert!(harmful.broken.percent() >= 85.0, "{control}: {}", harmful.broken);
    }
    let harmless = guarded(500, 0.0, 100);
    assert!(harmless.holds.percent() >= 80.0, "{}", harmless.holds);
}

#[test]
fn a_rate_at_its_limit_does_not_break_it() {
    let [broken, holds, wilson, bare] = limited(0.03, 400);
    assert!(broken.percent() <= 5.0 && holds.percent() <= 5.0, "{broken} {holds}");
    assert!(wilson.percent() >= 10.0 && bare.percent() >= 70.0, "read daily they lie: {wilson} {bare}");
    assert!(limited(0.06, 100)[0].percent() >= 95.0);
    assert!(limited(0.01, 100)[1].percent() >= 95.0);
}

#[test]
fn shares_that_are_right_raise_no_alarm() {
    for expected in [&[0.5, 0.5][..], &[10.0 / 11.0, 1.0 / 11.0], &[1.0 / 3.0; 3]] {
        let [sequential, _, daily] = shares(expected, expected, 500);
        assert!(sequential.percent() <= 1.0, "{expected:?}: {sequential}");
        assert!(daily.percent() >= 4.0, "read daily, the chi-square lies: {daily}");
    }
    assert!(shares(&[0.5, 0.5], &[0.48, 0.52], 100)[0].percent() >= 95.0);
}

#[test]
fn thirty_comparisons_find_nothing_where_nothing_is() {
    let [plain, adjusted] = many(100);
    assert!(plain.percent() >= 20.0, "unadjusted, something is always found: {plain}");
    assert!(adjusted.percent() <= 5.5, "{adjusted}");
}
