//! What holds for any counts: nothing but finite numbers, estimates inside their intervals, verdict, interval and p-value
//! in agreement.

use crate::stats::compare::{Better, Comparison, Question, Role, compare};
use crate::stats::counts::{Count, Pair, Strata, Stratum};
use crate::stats::figures::{Interval, Note, Span, Verdict};
use crate::stats::mean::{self, Sums, ValueComparison, ValuePair, ValueStratum, Values};
use crate::stats::ratio::{self, RatioStratum, RatioSums};
use crate::stats::srm::{Split, check};
use crate::stats::{guardrail, power::Pace};
use proptest::prelude::*;

const UNITS: [u64; 6] = [0, 1, 2, 10, 10_000, 1_000_000_000];

/// Every count of the grid.
fn counts() -> Vec<Count> {
    let mut all = Vec::new();
    for units in UNITS {
        let mut converted = vec![0, 1.min(units), units / 2, units.saturating_sub(1), units];
        converted.sort_unstable();
        converted.dedup();
        all.extend(converted.into_iter().map(|converted| Count { units, converted }));
    }
    all
}

fn question<'a>(strata: &'a [Stratum], treatments: u32) -> Question<'a> {
    Question {
        counts: Strata { strata, ..Strata::default() },
        maturing_users: 0,
        role: Role::Goal,
        better: Better::More,
        treatments,
        srm_ok: true,
        margin: Some(0.01),
        min_effect: 0.05,
        pace: Some(Pace { information_per_day: 100.0, users_per_day: 400.0 }),
        window_hours: 24,
    }
}

fn numbers(found: &Comparison) -> Vec<f64> {
    let interval = |ci: Option<Interval>| ci.into_iter().flat_map(|ci| [ci.low, ci.high]);
    let span = |ci: Option<Span>| ci.into_iter().flat_map(|ci| [ci.low, ci.high]).flatten();
    let power = found.power.into_iter().flat_map(|power| [power.mde_fixed, power.mde_sequential]).flatten();
    let plain = [
        found.treatment_rate,
        found.control_rate,
        found.absolute_lift,
        found.relative_lift,
        found.p_value,
        found.always_valid_p,
        found.probability_better,
        found.expected_loss,
        found.se,
        found.not_worse_than,
        Some(found.confidence),
        Some(found.information),
    ];
    let intervals = interval(found.absolute_ci).chain(interval(found.always_valid_ci));
    let spans = span(found.relative_ci).chain(span(found.always_valid_relative_ci));
    plain.into_iter().flatten().chain(intervals).chain(spans).chain(power).collect()
}

fn inside(low: Option<f64>, value: f64, high: Option<f64>) -> bool {
    let slack = 1e-12 * (1.0 + value.abs());
    low.is_none_or(|low| low <= value + slack) && high.is_none_or(|high| value <= high + slack)
}

/// Whatever is missing has a note.
fn noted(notes: &[Note], missing: &[(&str, bool)]) {
    for (field, _) in missing.iter().filter(|(_, is_missing)| *is_missing) {
        assert!(notes.iter().any(|note| note.field == *field), "{field} has no note: {notes:?}");
    }
}

/// What holds for every comparison.
fn holds(found: &Comparison) {
    assert!(numbers(found).iter().all(|number| number.is_finite()), "{found:?}");
    for (estimate, ci) in
        [(found.absolute_lift, found.absolute_ci), (found.absolute_lift, found.always_valid_ci)]
    {
        let Some((estimate, ci)) = estimate.zip(ci) else { continue };
        assert!(inside(Some(ci.low), estimate, Some(ci.high)), "{found:?}");
    }
    for (estimate, ci) in
        [(found.relative_lift, found.relative_ci), (found.relative_lift, found.always_valid_relative_ci)]
    {
        let Some((estimate, ci)) = estimate.zip(ci) else { continue };
        assert!(inside(ci.low, estimate, ci.high), "{found:?}");
    }
    let power = found.power.unwrap_or_default();
    let told = found.power.is_some();
    let undecided = found.verdict == Verdict::Undecided;
    let open = |span: Option<Span>| span.is_none_or(Span::is_open);
    noted(
        &found.notes,
        &[
            ("treatment_rate", found.treatment_rate.is_none()),
            ("control_rate", found.control_rate.is_none()),
            ("absolute_lift", found.absolute_lift.is_none()),
            ("absolute_ci", found.absolute_ci.is_none()),
            ("relative_lift", found.relative_lift.is_none()),
            ("relative_ci", open(found.relative_ci)),
            ("p_value", found.p_value.is_none()),
            ("always_valid_ci", found.always_valid_ci.is_none()),
            ("always_valid_relative_ci", open(found.always_valid_relative_ci)),
            ("always_valid_p", found.always_valid_p.is_none()),
            ("probability_better", found.probability_better.is_none()),
            ("expected_loss", found.expected_loss.is_none()),
            ("smallest_effect", !told),
            ("smallest_effect/fixed", told && power.mde_fixed.is_none()),
            ("smallest_effect/always_valid", told && power.mde_sequential.is_none()),
            ("smallest_effect/days_fixed", told && power.days_fixed.is_none()),
            ("smallest_effect/days_always_valid", told && power.days_sequential.is_none()),
            ("look_again", undecided && found.look_again.is_none()),
        ],
    );
    let Some(ci) = found.always_valid_ci else {
        assert_eq!(found.verdict, Verdict::NoComparison);
        assert!(found.why.is_some());
        return;
    };
    let outside = ci.low > 0.0 || ci.high < 0.0;
    let decided = matches!(found.verdict, Verdict::Better | Verdict::Worse);
    assert_eq!(outside, decided, "{found:?}");
    assert_eq!(outside, found.always_valid_p.unwrap() < 1.0 - found.confidence, "{found:?}");
    let lift = found.always_valid_relative_ci.unwrap();
    assert_eq!(outside, !inside_strictly(lift), "{found:?}");
}

/// 0 is inside a lift's interval, its ends counted.
fn inside_strictly(lift: Span) -> bool {
    lift.low.is_none_or(|low| low <= 0.0) && lift.high.is_none_or(|high| high >= 0.0)
}

/// Swapping the arms swaps every sign; what holds, holds then too.
fn swapped(found: &Comparison, strata: &[Stratum], treatments: u32) {
    let other: Vec<Stratum> = strata
        .iter()
        .map(|stratum| Stratum { treatment: stratum.control, control: stratum.treatment, ..*stratum })
        .collect();
    let back = compare(&question(&other, treatments));
    holds(&back);
    let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
    if let Some((one, other)) = found.absolute_lift.zip(back.absolute_lift) {
        assert!(near(one, -other), "{found:?} {back:?}");
    }
    for (one, other) in [(found.absolute_ci, back.absolute_ci), (found.always_valid_ci, back.always_valid_ci)]
    {
        let Some((one, other)) = one.zip(other) else { continue };
        assert!(near(one.low, -other.high) && near(one.high, -other.low), "{found:?} {back:?}");
    }
    if let Some((one, other)) = found.probability_better.zip(back.probability_better) {
        assert!(near(one, 1.0 - other), "{found:?} {back:?}");
    }
    let mirrored = match found.verdict {
        Verdict::Better => Verdict::Worse,
        Verdict::Worse => Verdict::Better,
        same => same,
    };
    assert_eq!(back.verdict, mirrored);
}

/// Where less is better, the same figures make the opposite verdict.
fn turned(found: &Comparison, strata: &[Stratum], treatments: u32) {
    let less = compare(&Question { better: Better::Less, ..question(strata, treatments) });
    assert_eq!(less.always_valid_ci, found.always_valid_ci);
    assert_eq!(less.verdict == Verdict::Worse, found.verdict == Verdict::Better);
    if let Some((one, other)) = found.probability_better.zip(less.probability_better) {
        assert!((one + other - 1.0).abs() < 1e-9, "{found:?} {less:?}");
    }
}

fn doubled(found: &Comparison, strata: &[Stratum], treatments: u32) {
    let double = |count: Count| Count { units: 2 * count.units, converted: 2 * count.converted };
    let more: Vec<Stratum> = strata
        .iter()
        .map(|stratum| Stratum {
            treatment: double(stratum.treatment),
            control: double(stratum.control),
            ..*stratum
        })
        .collect();
    let narrow = compare(&question(&more, treatments));
    let Some((wide, narrow)) = found.absolute_ci.zip(narrow.absolute_ci) else { return };
    let clipped = wide.low <= -1.0 || wide.high >= 1.0;
    let (before, after) = (wide.high - wide.low, narrow.high - narrow.low);
    assert!(after < before || (clipped && after <= before), "{found:?}");
}

fn everything(strata: &[Stratum], treatments: u32) {
    let found = compare(&question(strata, treatments));
    holds(&found);
    swapped(&found, strata, treatments);
    turned(&found, strata, treatments);
    doubled(&found, strata, treatments);
    let mut longer = strata.to_vec();
    longer.insert(strata.len() / 2, Stratum { stage: 77, ..Stratum::default() });
    assert_eq!(compare(&question(&longer, treatments)), found);
}

fn finite(found: &ValueComparison) -> bool {
    noted(
        &found.notes,
        &[
            ("treatment_mean", found.treatment_mean.is_none()),
            ("control_mean", found.control_mean.is_none()),
            ("difference", found.difference.is_none()),
            ("difference_ci", found.difference_ci.is_none()),
            ("ratio_lift", found.ratio_lift.is_none()),
            ("ratio_lift_ci", found.ratio_lift_ci.is_none_or(Span::is_open)),
            ("p_value", found.p_value.is_none()),
            ("always_valid_ci", found.always_valid_ci.is_none()),
            ("always_valid_p", found.always_valid_p.is_none()),
        ],
    );
    let interval = |ci: Option<Interval>| ci.into_iter().flat_map(|ci| [ci.low, ci.high]);
    let plain = [
        found.treatment_mean,
        found.control_mean,
        found.difference,
        found.ratio_lift,
        found.p_value,
        found.always_valid_p,
    ];
    let spans = found.ratio_lift_ci.into_iter().flat_map(|ci| [ci.low, ci.high]).flatten();
    let all = plain
        .into_iter()
        .flatten()
        .chain(interval(found.difference_ci))
        .chain(interval(found.always_valid_ci));
    all.chain(spans).all(f64::is_finite)
}

#[test]
fn one_stratum_of_every_pair_of_counts() {
    let all = counts();
    for (at, treatment) in all.iter().enumerate() {
        // The other way round is compared with it.
        for control in all.iter().skip(at) {
            everything(&[Stratum { stage: 1, treatment: *treatment, control: *control }], 1);
        }
    }
}

#[test]
fn guardrails_of_every_pair_of_counts() {
    let all = counts();
    for treatment in &all {
        for control in &all {
            let strata = [Stratum { stage: 1, treatment: *treatment, control: *control }];
            for margin in [0.0, 0.005, 0.5] {
                let found = guardrail::margin(&Strata { strata: &strata, ..Strata::default() }, margin);
                let bounds = found.always_valid_bounds;
                let numbers =
                    [found.difference, bounds.map(|b| b.low), bounds.map(|b| b.high), found.provable_margin];
                assert!(numbers.iter().flatten().all(|number| number.is_finite()), "{found:?}");
                assert_eq!(found.difference.is_none(), !found.notes.is_empty());
                noted(
                    &found.notes,
                    &[
                        ("treatment_rate", found.treatment_rate.is_none()),
                        ("control_rate", found.control_rate.is_none()),
                        ("difference", found.difference.is_none()),
                        ("always_valid_bounds", found.always_valid_bounds.is_none()),
                        ("provable_margin", found.provable_margin.is_none()),
                    ],
                );
            }
        }
        for limit in [0.0, 1e-9, 0.03, 0.999_999, 1.0, 2.0] {
            let found = guardrail::limit(*treatment, limit);
            let numbers = [found.rate, found.e_value];
            assert!(numbers.iter().flatten().all(|number| number.is_finite()), "{found:?}");
            noted(&found.notes, &[("rate", found.rate.is_none()), ("e_value", found.e_value.is_none())]);
        }
    }
}

fn any_count() -> impl Strategy<Value = Count> {
    proptest::sample::select(counts())
}

prop_compose! {
    fn any_stratum()(treatment in any_count(), control in any_count()) -> Stratum {
        Stratum { stage: 1, treatment, control }
    }
}

fn any_pair() -> impl Strategy<Value = Pair> {
    let few = || 0..20_u64;
    (0..4_usize, 0..4_usize, few(), few(), few(), few()).prop_map(
        |(earlier, later, units, one, two, both)| Pair {
            earlier,
            later,
            units,
            earlier_converted: one,
            later_converted: two,
            both_converted: both,
        },
    )
}

fn any_sums() -> impl Strategy<Value = Sums> {
    let values = proptest::collection::vec(prop_oneof![Just(0.0), 0.0..1e4, Just(9e15)], 0..6);
    values.prop_map(|values| Sums {
        units: values.len() as u64,
        sum: values.iter().sum(),
        squares: values.iter().map(|value| value * value).sum(),
    })
}

prop_compose! {
    fn any_value_stratum()(treatment in any_sums(), control in any_sums()) -> ValueStratum {
        ValueStratum { stage: 1, treatment, control }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn several_strata_and_variants(
        strata in proptest::collection::vec(any_stratum(), 0..=3),
        treatments in 0..=3_u32,
    ) {
        everything(&strata, treatments);
    }

    #[test]
    fn pairs_that_do_not_fit_break_nothing(
        strata in proptest::collection::vec(any_stratum(), 0..=3),
        pairs in proptest::collection::vec(any_pair(), 0..=4),
    ) {
        let counts = Strata { strata: &strata, treatment_pairs: &pairs, control_pairs: &pairs };
        holds(&compare(&Question { counts, ..question(&strata, 1) }));
    }

    #[test]
    fn values_and_ratios(
        strata in proptest::collection::vec(any_value_stratum(), 0..=3),
        units in 0..9_u64,
    ) {
        let pairs = [ValuePair { earlier: 0, later: 1, units, earlier_sum: 3.0, later_sum: 4.0, products: 5.0 }];
        let values = Values { strata: &strata, treatment_pairs: &pairs, control_pairs: &pairs };
        let found = mean::compare(&values);
        prop_assert!(finite(&found), "{found:?}");
        let sums = |sums: &Sums| {
            let Sums { units, sum, squares } = *sums;
            RatioSums { units, y: sum, x: units as f64, yy: squares, xy: sum, xx: units as f64 }
        };
        let strata: Vec<RatioStratum> = strata
            .iter()
            .map(|stratum| RatioStratum {
                stage: stratum.stage,
                treatment: sums(&stratum.treatment),
                control: sums(&stratum.control),
            })
            .collect();
        let found = ratio::compare(&strata, &[], &[]);
        prop_assert!(finite(&found), "{found:?}");
    }

    #[test]
    fn shares(
        observed in proptest::collection::vec(proptest::sample::select(UNITS.to_vec()), 0..=4),
        percent in proptest::collection::vec(0..=100_u32, 0..=4),
    ) {
        let total: u32 = percent.iter().sum();
        let shares: Vec<f64> = percent.iter().map(|share| f64::from(*share) / f64::from(total)).collect();
        let found = check(&[Split { shares, observed }]);
        prop_assert!((0.0..=1.0).contains(&found.sequential_p), "{found:?}");
        let numbers = found.per_stage.iter().flat_map(|stage| [stage.chi_square, stage.p_value, stage.ln_e]);
        prop_assert!(numbers.flatten().all(f64::is_finite), "{found:?}");
    }
}
