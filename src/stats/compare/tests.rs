//! Every row of the table of edges, and the verdicts.

use super::{Better, Comparison, Question, Role, compare};
use crate::stats::counts::{Count, Pair, Strata, Stratum, Waiting};
use crate::stats::figures::{Note, Span, Verdict, Why};
use crate::stats::power::Pace;

/// A stratum of (converted, units) of treatment and control.
fn stratum(stage: u32, treatment: (u64, u64), control: (u64, u64)) -> Stratum {
    let count = |(converted, units)| Count { units, converted };
    Stratum { stage, treatment: count(treatment), control: count(control) }
}

fn question(strata: &[Stratum]) -> Question<'_> {
    Question {
        counts: Strata { strata, ..Strata::default() },
        maturing_users: 0,
        role: Role::Goal,
        better: Better::More,
        treatments: 1,
        srm_ok: true,
        margin: None,
        min_effect: 0.05,
        pace: Some(Pace { information_per_day: 250.0, users_per_day: 1_000.0 }),
        window_hours: 24,
    }
}

fn of(treatment: (u64, u64), control: (u64, u64)) -> Comparison {
    compare(&question(&[stratum(1, treatment, control)]))
}

fn has(found: &Comparison, field: &'static str, why: Why) -> bool {
    found.notes.contains(&Note { field, why })
}

fn near(found: Option<f64>, wanted: f64) {
    assert!(found.is_some_and(|found| (found - wanted).abs() < 1e-12), "{found:?} instead of {wanted}");
}

#[test]
fn without_two_arms_there_is_no_comparison() {
    for (strata, why) in [
        (vec![], Why::NothingExposed),
        (vec![stratum(1, (0, 0), (0, 0))], Why::NothingExposed),
        (vec![stratum(1, (5, 10), (0, 0)), stratum(2, (5, 10), (0, 0))], Why::NoControl),
        (vec![stratum(1, (0, 0), (5, 10))], Why::NoTreatment),
        (vec![stratum(1, (5, 10), (0, 0)), stratum(2, (0, 0), (5, 10))], Why::NoCommonStage),
    ] {
        let found = compare(&question(&strata));
        assert_eq!((found.verdict, found.why), (Verdict::NoComparison, Some(why)), "{strata:?}");
        assert!(found.absolute_lift.is_none() && has(&found, "absolute_lift", why));
    }
    let maturing = compare(&Question { maturing_users: 7, ..question(&[]) });
    assert_eq!(maturing.why, Some(Why::Maturing));
    // Control has come, its windows are open.
    let waiting = Waiting { control: 7, ..Waiting::default() };
    let waits = compare(&question(&[stratum(1, (5, 10), (0, 0))])).explained(|why| waiting.explains(why));
    assert_eq!((waits.why, waits.stages_left_out.as_slice()), (Some(Why::Maturing), &[1][..]));
    assert!(has(&waits, "always_valid_p", Why::Maturing) && has(&waits, "smallest_effect", Why::Maturing));
}

#[test]
fn nobody_converted() {
    let found = of((0, 1_000), (0, 100));
    near(found.absolute_lift, 0.0);
    near(found.p_value, 1.0);
    near(found.always_valid_p, 1.0);
    assert!(found.relative_lift.is_none() && has(&found, "relative_lift", Why::ControlZero));
    assert_eq!(found.relative_ci, Some(Span { low: Some(-1.0), high: None }));
    assert_eq!(found.always_valid_relative_ci, Some(Span { low: Some(-1.0), high: None }));
    let ci = found.always_valid_ci.unwrap();
    // VP = 1 / (N W), W = 1000 * 100 / 1100.
    near(found.se, (1.0 / (1_100.0 * (100_000.0 / 1_100.0_f64))).sqrt());
    assert!(ci.low < 0.0 && ci.high > 0.0);
    assert_eq!((found.verdict, found.look_again), (Verdict::Undecided, None));
    assert!(has(&found, "look_again", Why::ControlZero));
}

#[test]
fn one_arm_has_none() {
    let control_none = of((50, 1_000), (0, 100));
    assert!(control_none.relative_lift.is_none());
    let lift = control_none.always_valid_relative_ci.unwrap();
    assert!(lift.low.is_some() && lift.high.is_none());
    assert!(has(&control_none, "always_valid_relative_ci", Why::Unbounded));
    // Control without variance: the lower limit is finite all the same.
    let tiny = of((5_000, 10_000), (0, 1_000_000_000));
    assert!(tiny.always_valid_relative_ci.unwrap().low.is_some_and(|low| low > 0.0), "{tiny:?}");
    let treatment_none = of((0, 1_000), (10, 100));
    near(treatment_none.relative_lift, -1.0);
    near(treatment_none.relative_ci.unwrap().low, -1.0);
}

#[test]
fn everybody_converted() {
    let found = of((40, 40), (40, 40));
    near(found.absolute_lift, 0.0);
    near(found.relative_lift, 0.0);
    near(found.p_value, 1.0);
    assert!(found.se.unwrap() > 0.0);
}

#[test]
fn one_unit_in_an_arm_is_computed() {
    let found = of((1, 1), (0, 1));
    let ci = found.always_valid_ci.unwrap();
    near(Some(ci.low), -1.0);
    near(Some(ci.high), 1.0);
    assert_eq!(found.verdict, Verdict::Undecided);
}

#[test]
fn several_variants_share_the_level() {
    let strata = [stratum(1, (1_320, 10_000), (1_150, 10_000))];
    let of = |role, treatments| compare(&Question { role, treatments, ..question(&strata) });
    let (alone, three, metric) = (of(Role::Goal, 1), of(Role::Goal, 3), of(Role::Metric, 3));
    near(Some(three.confidence), 1.0 - 0.05 / 3.0);
    near(Some(metric.confidence), 0.95);
    for of in
        [|found: &Comparison| found.absolute_ci.unwrap(), |found: &Comparison| found.always_valid_ci.unwrap()]
    {
        let (narrow, wide) = (of(&alone), of(&three));
        assert!(wide.low < narrow.low && wide.high > narrow.high);
    }
    assert_eq!(alone.always_valid_ci, metric.always_valid_ci);
    assert!(metric.probability_better.is_none() && has(&metric, "probability_better", Why::NotTheGoal));
}

#[test]
fn only_the_always_valid_interval_decides() {
    let better = of((1_400, 10_000), (1_150, 10_000));
    assert_eq!((better.verdict, better.look_again), (Verdict::Better, None));
    assert_eq!(of((1_150, 10_000), (1_400, 10_000)).verdict, Verdict::Worse);
    // p = 0.003 at a single look, P(better) = 0.9986: not decided.
    let near_miss = of((1_320, 10_000), (1_180, 10_000));
    assert!(near_miss.p_value.unwrap() < 0.003 && near_miss.probability_better.unwrap() > 0.998);
    assert_eq!(near_miss.verdict, Verdict::Undecided);
    assert!(near_miss.look_again.is_some());
}

#[test]
fn other_shares_than_expected_conclude_nothing() {
    let strata = [stratum(1, (1_400, 10_000), (1_150, 10_000))];
    let found = compare(&Question { srm_ok: false, ..question(&strata) });
    assert_eq!((found.verdict, found.why), (Verdict::NoComparison, Some(Why::Srm)));
    assert!(found.always_valid_ci.is_some(), "figures are shown");
}

#[test]
fn where_less_is_better_the_verdict_turns() {
    let strata = [stratum(1, (1_400, 10_000), (1_150, 10_000))];
    let found = compare(&Question { better: Better::Less, ..question(&strata) });
    assert_eq!(found.verdict, Verdict::Worse);
    assert!(found.probability_better.unwrap() < 1e-6 && found.expected_loss.unwrap() > 0.02);
}

#[test]
fn not_worse_than_a_margin_is_said_where_it_is_proven() {
    let strata = [stratum(1, (12_000, 100_000), (12_000, 100_000))];
    let of = |margin, better| {
        compare(&Question { margin: Some(margin), better, ..question(&strata) }).not_worse_than
    };
    for better in [Better::More, Better::Less] {
        near(of(0.01, better), 0.01);
        assert_eq!(of(0.001, better), None);
    }
}

#[test]
fn stages_are_pooled_by_information_and_named() {
    // A rate that falls from stage to stage while the percentage grows: pooled counts would show a loss.
    let strata = [
        stratum(1, (12, 100), (600, 5_000)),
        stratum(2, (0, 0), (9, 90)),
        stratum(3, (3_500, 50_000), (350, 5_000)),
    ];
    let found = compare(&question(&strata));
    near(found.absolute_lift, 0.0);
    near(found.relative_lift, 0.0);
    assert_eq!((found.stages_pooled.as_slice(), found.stages_left_out.as_slice()), (&[1, 3][..], &[2][..]));
    assert!(has(&found, "stages_pooled", Why::StageLeftOut));
}

#[test]
fn units_of_two_stages_widen_the_interval() {
    let strata = [stratum(1, (100, 1_000), (100, 1_000)), stratum(2, (100, 1_000), (100, 1_000))];
    // All units are in both stages, and do the same in both.
    let pairs = [Pair {
        earlier: 0,
        later: 1,
        units: 1_000,
        earlier_converted: 100,
        later_converted: 100,
        both_converted: 100,
    }];
    let apart = compare(&question(&strata));
    let counts = Strata { strata: &strata, treatment_pairs: &pairs, control_pairs: &pairs };
    let together = compare(&Question { counts, ..question(&strata) });
    let once = of((100, 1_000), (100, 1_000));
    near(Some(together.se.unwrap() / (2.0 * 0.1 * 0.9 / 1_000.0_f64).sqrt()), 1.0);
    assert!(together.se > apart.se);
    assert!((together.probability_better.unwrap() - 0.5).abs() < 1e-9);
    let loss = |found: &Comparison| found.expected_loss.unwrap();
    assert!((loss(&together) / loss(&once) - 1.0).abs() < 1e-6, "counted as the thousand that they are");
}

#[test]
fn the_next_look_waits_for_the_declared_effect_not_the_seen_one() {
    let look = |min_effect| {
        let strata = [stratum(1, (120, 1_000), (120, 1_000))];
        compare(&Question { min_effect, ..question(&strata) }).look_again.map(|look| look.days)
    };
    assert!(look(0.05) > look(0.2), "{:?} {:?}", look(0.05), look(0.2));
    let strata = [stratum(1, (120, 1_000), (120, 1_000))];
    let still = compare(&Question { pace: None, ..question(&strata) });
    assert!(still.look_again.is_none() && has(&still, "look_again", Why::NoGrowth));
}

#[test]
fn only_the_goal_is_told_when_to_look_again() {
    for strata in [
        [stratum(1, (120, 1_000), (120, 1_000))],
        [stratum(1, (1_400, 10_000), (1_150, 10_000))],
        [stratum(1, (0, 1_000), (0, 1_000))],
    ] {
        for pace in [None, question(&[]).pace] {
            let found = compare(&Question { role: Role::Metric, pace, ..question(&strata) });
            assert!(found.look_again.is_none() && has(&found, "look_again", Why::NotTheGoal), "{found:?}");
            assert!(!found.notes.iter().any(|note| note.why == Why::NoGrowth), "{found:?}");
            let power = found.power.unwrap();
            assert!(power.mde_fixed.is_some() && power.mde_sequential.is_some());
            if power.days_sequential.is_none() {
                assert!(has(&found, "smallest_effect/days_always_valid", Why::NotTheGoal), "{found:?}");
            }
        }
    }
}

#[test]
fn the_days_of_the_smallest_effect_wait_for_the_window() {
    let strata = [stratum(1, (120, 1_000), (120, 1_000))];
    let found = |window_hours| compare(&Question { window_hours, ..question(&strata) });
    let days = |hours| found(hours).power.unwrap().days_sequential.unwrap();
    assert_eq!(days(72), days(24) + 2);
    assert_eq!(found(72).look_again.unwrap().days, days(72).min(365));
}
