use super::*;
use crate::clock::HOUR_MS;
use crate::engine::flag::{Faults, read};
use serde_json::json;

const WINDOW: i64 = 24 * HOUR_MS;

fn plan() -> Plan {
    let document = json!({
        "key": "f", "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off", "salt": "s",
        "funnel": ["seen"], "goal": "paid",
        "metrics": [{"step": "paid", "by": "m", "values": ["a", "b"]}, {"step": "failed", "window_hours": 1}],
        "capture": ["user.region"],
    });
    Plan::of(&read(&document, &mut Faults::default()).unwrap())
}

fn shown(stage: i64, arm: u8, at: i64) -> Shown {
    let variant = if arm == CONTROL { "off" } else { "on" };
    let key = Key { rule: "ramp".into(), arm, variant: variant.into(), stage };
    Shown { key, at, captured: vec!["CN".into()] }
}

fn paid(at: i64, by: usize, value: Option<(&str, u64)>) -> MetricEvent {
    MetricEvent { metric: 0, at, by, value: value.map(|(currency, value)| (currency.into(), value)) }
}

fn all(unit: &mut Unit) -> Vec<Fact> {
    facts(&plan(), unit, Span { from_ms: 0, to_ms: i64::MAX }, 0, Level::Windows(2))
}

#[test]
fn a_metric_counts_from_the_exposure_up_to_before_its_windows_end() {
    let events = |times: &[i64]| {
        let mut unit = Unit { shown: vec![shown(1, TREATMENT, 100)], ..Unit::default() };
        unit.metrics = times.iter().map(|at| paid(*at, 0, None)).collect();
        all(&mut unit)[0].metrics[0].events
    };
    for (times, count) in
        [(&[99][..], 0), (&[100], 1), (&[100 + WINDOW - 1], 1), (&[100 + WINDOW], 0), (&[100, 200, 99], 2)]
    {
        assert_eq!(events(times), count, "{times:?}");
    }
    let mut unit = Unit { shown: vec![shown(1, TREATMENT, 0)], ..Unit::default() };
    unit.metrics = vec![MetricEvent { metric: 1, ..paid(HOUR_MS, 0, None) }];
    assert_eq!(all(&mut unit)[0].metrics[1].events, 0, "each metric by its own window");
}

#[test]
fn values_are_summed_by_currency_and_users_split_by_value() {
    let mut unit = Unit { shown: vec![shown(1, TREATMENT, 0)], ..Unit::default() };
    unit.metrics =
        vec![paid(1, 2, Some(("USD", 3))), paid(2, 0, Some(("CNY", 5))), paid(3, 0, Some(("CNY", 7)))];
    let outcome = all(&mut unit)[0].metrics[0].clone();
    assert_eq!(outcome.by, [0, 2]);
    assert_eq!(
        outcome.values,
        [("CNY".into(), Worth { sum: 12, orders: 2 }), ("USD".into(), Worth { sum: 3, orders: 1 })]
    );
}

#[test]
fn a_stop_counts_for_its_own_stage_and_rule_only() {
    let mut unit = Unit { shown: vec![shown(1, TREATMENT, 10), shown(2, TREATMENT, 20)], ..Unit::default() };
    unit.stops = vec![StopEvent { stop: Some(0), at: 25, stage: 2, rule: "ramp".into() }];
    let facts = all(&mut unit);
    assert_eq!(facts.iter().map(|fact| fact.stops[0].reached).collect::<Vec<_>>(), [false, true]);
    unit.stops[0].rule = "other".into();
    assert!(all(&mut unit).iter().all(|fact| !fact.stops[0].reached));
}

#[test]
fn earlier_exposures_are_those_of_the_same_row() {
    let mut unit = Unit {
        shown: vec![
            shown(3, TREATMENT, 30),
            shown(1, TREATMENT, 10),
            shown(2, CONTROL, 20),
            shown(4, TREATMENT, 30),
        ],
        ..Unit::default()
    };
    unit.shown[3].captured = vec!["HK".into()];
    let facts = all(&mut unit);
    let earlier = |at: usize| facts[at].earlier.iter().map(|e| (e.stage, e.same[0])).collect::<Vec<_>>();
    let stages: Vec<_> = facts.iter().map(|fact| fact.key.stage).collect();
    assert_eq!(stages, [1, 2, 3, 4], "of equal times by stage");
    assert_eq!((earlier(0), earlier(1), earlier(2)), (vec![], vec![], vec![(1, true)]));
    assert_eq!(earlier(3), [(1, false), (3, false)]);
}

#[test]
fn a_unit_switches_once_whatever_the_range_begins_with() {
    let arms = [(TREATMENT, 10), (TREATMENT, 20), (CONTROL, 30), (CONTROL, 40), (TREATMENT, 50), (FIXED, 60)];
    let list: Vec<_> = arms.iter().zip(1..).map(|((arm, at), stage)| shown(stage, *arm, *at)).collect();
    let mut unit = Unit { shown: list, ..Unit::default() };
    let facts = all(&mut unit);
    for from in 0..65 {
        let switched = facts.iter().filter(|fact| {
            fact.at >= from && fact.switched.is_some_and(|(after, last)| after < from && from <= last)
        });
        let inside: std::collections::BTreeSet<u8> =
            arms.iter().filter(|(arm, at)| *at >= from && *arm != FIXED).map(|(arm, _)| *arm).collect();
        assert_eq!(switched.count(), usize::from(inside.len() > 1), "from {from}");
    }
}

#[test]
fn stops_from_before_the_span_are_claimed() {
    let mut unit = Unit { shown: vec![shown(1, TREATMENT, 100)], ..Unit::default() };
    let stop = |stop, at, stage| StopEvent { stop, at, stage, rule: "ramp".into() };
    unit.stops = vec![stop(Some(0), 40, 1), stop(None, 49, 1), stop(Some(0), 50, 1), stop(Some(0), 40, 2)];
    let found = facts(&plan(), &mut unit, Span { from_ms: 100, to_ms: 101 }, 50, Level::Windows(0));
    assert_eq!(found[0].claimed, [40, 49], "whether or not the funnel still has them");
}

#[test]
fn another_flag_was_seen_if_it_was_seen_before_the_first_window_ended() {
    let mut unit = Unit { shown: vec![shown(1, TREATMENT, 0)], ..Unit::default() };
    unit.others = vec![(7, HOUR_MS - 1), (7, 5), (8, HOUR_MS), (9, -5)];
    assert_eq!(all(&mut unit)[0].others, [7, 9]);
}
