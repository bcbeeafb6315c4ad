//! What accepted events leave in the database.

use huidu::clock::{DAY_MS, HOUR_MS, MINUTE_MS};
use serde_json::{Value, json};

use super::{Sealer, accepted, exposures, fate, from_now, now_ms, shop, steps_of};

/// How far a stored time may lie from the one a test computed: what a slow machine takes for a call.
const NEAR_MS: i64 = 60_000;

fn near(got: i64, want: i64) -> bool {
    (got - want).abs() < NEAR_MS
}

#[test]
fn an_exposure_keeps_what_its_token_says() {
    let huidu = shop();
    accepted(&huidu, &json!({"type": "exposure", "token": Sealer::of(&huidu).token("u-1", 0)}));
    let rows = exposures(&huidu, "user.id", "u-1");
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.stage, &*row.rule, row.arm, &*row.variant, row.bucket), (1, "ramp", 1, "on", Some(7)));
    assert_eq!(row.captured.as_deref(), Some(r#"{"region":"CN-31"}"#));
    assert!(near(row.at, now_ms()), "{row:?}");
}

#[test]
fn the_first_exposure_by_event_time_is_kept_whole() {
    let huidu = shop();
    let shown = |ago: i64, vip: &str| {
        json!({"type": "exposure", "flag": "gift", "user_id": "u-1", "variant": "on", "at": from_now(-ago),
               "context": {"region": "CN-31", "note": vip}})
    };
    let at = || exposures(&huidu, "user.id", "u-1")[0].at;
    accepted(&huidu, &shown(HOUR_MS, "first"));
    assert!(near(at(), now_ms() - HOUR_MS));
    assert_eq!(fate(&huidu, &huidu.server, &shown(MINUTE_MS, "later")).0, "duplicate");
    assert!(near(at(), now_ms() - HOUR_MS));
    accepted(&huidu, &shown(3 * HOUR_MS, "earlier"));
    assert!(near(at(), now_ms() - 3 * HOUR_MS));
    assert_eq!(exposures(&huidu, "user.id", "u-1").len(), 1);
    // The earlier one replaces the whole row: another bucket and captured text come with it.
    let token = Sealer::of(&huidu).token("u-2", 0);
    accepted(&huidu, &json!({"type": "exposure", "token": token}));
    accepted(
        &huidu,
        &json!({"type": "exposure", "flag": "gift", "user_id": "u-2", "variant": "on",
        "at": from_now(-2 * DAY_MS), "context": {"region": "CN-31"}}),
    );
    let row = exposures(&huidu, "user.id", "u-2").remove(0);
    assert_eq!(row.captured.as_deref(), Some(r#"{"region":"CN-31"}"#));
    assert_ne!(row.bucket, Some(7), "{row:?}");
}

#[test]
fn times_are_taken_clamped_or_refused_by_their_distance_from_now() {
    let huidu = shop();
    let rows: [(&str, Value, Option<i64>); 9] = [
        ("none", json!({}), Some(0)),
        ("at", json!({"at": from_now(-HOUR_MS)}), Some(-HOUR_MS)),
        ("ago", json!({"ago_ms": 2 * HOUR_MS}), Some(-2 * HOUR_MS)),
        ("ahead-4", json!({"at": from_now(4 * MINUTE_MS)}), Some(4 * MINUTE_MS)),
        ("ahead-20", json!({"at": from_now(20 * MINUTE_MS)}), Some(0)),
        ("year-9999", json!({"at": "9999-01-01T00:00:00Z"}), Some(0)),
        ("days-30", json!({"ago_ms": 30 * DAY_MS}), Some(-30 * DAY_MS)),
        ("days-31", json!({"ago_ms": 31 * DAY_MS + 1}), None),
        ("at-days-32", json!({"at": from_now(-32 * DAY_MS)}), None),
    ];
    for (id, time, want) in rows {
        let mut event = json!({"id": id, "type": "step", "step": "order_paid", "user_id": "u-1"});
        for (name, value) in time.as_object().unwrap() {
            event[name] = value.clone();
        }
        let (got, _) = fate(&huidu, &huidu.server, &event);
        let stored = steps_of(&huidu, id);
        match want {
            None => assert_eq!((&*got, stored.len()), ("event_too_old", 0), "{id}"),
            Some(from_now) => {
                assert_eq!(got, "accepted", "{id}");
                assert!(near(stored[0].at, now_ms() + from_now), "{id}: {}", stored[0].at - now_ms());
            }
        }
    }
    assert_eq!(huidu.metric("huidu_events_clamped_total{environment=\"production\"}"), Some(2.0));
}

#[test]
fn an_exposure_is_never_earlier_than_the_day_of_its_token() {
    let huidu = shop();
    let token = Sealer::of(&huidu).token("u-1", 2);
    accepted(&huidu, &json!({"type": "exposure", "token": token, "ago_ms": 20 * DAY_MS}));
    let day = (now_ms().div_euclid(DAY_MS) - 2) * DAY_MS;
    assert_eq!(exposures(&huidu, "user.id", "u-1")[0].at, day);
    assert_eq!(huidu.metric("huidu_events_clamped_total{environment=\"production\"}"), Some(1.0));
}

#[test]
fn a_reported_exposure_has_the_rule_and_arm_of_its_decision_else_it_is_fixed() {
    let huidu = shop();
    let rows = [
        ("u-1", Value::Null, "on", ("(reported)", 2), r#"{"region":"(none)"}"#),
        (
            "u-2",
            json!({"region": "CN-31", "targetingKey": "other"}),
            "on",
            ("ramp", 1),
            r#"{"region":"CN-31"}"#,
        ),
        ("u-3", json!({"region": "CN-31"}), "off", ("(reported)", 2), r#"{"region":"CN-31"}"#),
        ("u-4", json!({"vip": true, "region": "HK"}), "on", ("vip", 2), r#"{"region":"HK"}"#),
    ];
    for (unit, context, variant, (rule, arm), captured) in rows {
        let mut event = json!({"type": "exposure", "flag": "gift", "user_id": unit, "variant": variant});
        if !context.is_null() {
            event["context"] = context;
        }
        accepted(&huidu, &event);
        let stored = exposures(&huidu, "user.id", unit).remove(0);
        assert_eq!((&*stored.rule, stored.arm, &*stored.variant), (rule, arm, variant), "{unit}");
        assert_eq!(stored.captured.as_deref(), Some(captured), "{unit}");
    }
    let event =
        json!({"type": "exposure", "flag": "device", "variant": "on", "units": {"user.device_id": "d-1"}});
    accepted(&huidu, &event);
    assert_eq!(exposures(&huidu, "user.device_id", "d-1").len(), 1);
    assert_eq!(exposures(&huidu, "user.id", "d-1").len(), 0);
}

#[test]
fn a_stop_by_user_id_belongs_to_the_latest_exposure_before_it_or_to_none() {
    let huidu = shop();
    let shown = |context: Value, ago: i64| {
        json!({"type": "exposure", "flag": "gift", "user_id": "u-1", "variant": "on", "context": context,
               "ago_ms": ago})
    };
    accepted(&huidu, &shown(json!({"region": "CN-31"}), 3 * HOUR_MS));
    accepted(&huidu, &shown(json!({"vip": true}), HOUR_MS));
    let rows = [
        ("before", 4 * HOUR_MS, None),
        ("between", 2 * HOUR_MS, Some("ramp")),
        ("after", MINUTE_MS, Some("vip")),
    ];
    for (id, ago, rule) in rows {
        accepted(
            &huidu,
            &json!({"id": id, "type": "step", "step": "gift_opened", "user_id": "u-1",
            "flag": "gift", "ago_ms": ago}),
        );
        let stored = steps_of(&huidu, id).remove(0);
        assert!(stored.flag.is_some(), "{id}");
        assert_eq!((stored.rule.as_deref(), stored.stage), (rule, rule.map(|_| 1)), "{id}");
    }
}

#[test]
fn a_metric_step_makes_a_row_for_each_unit_and_no_flag() {
    let huidu = shop();
    accepted(
        &huidu,
        &json!({"id": "m-1", "type": "step", "step": "order_paid", "user_id": "u-1", "order_id": "o-1",
        "units": {"user.device_id": "d-1"}, "value": 45900, "currency": "CNY"}),
    );
    let stored = steps_of(&huidu, "m-1");
    let units: Vec<_> = stored.iter().map(|s| (&*s.unit_attribute, &*s.unit)).collect();
    assert_eq!(units, [("user.device_id", "d-1"), ("user.id", "u-1")]);
    for row in stored {
        assert_eq!((row.flag, row.stage, row.rule), (None, None, None));
        assert_eq!(
            (row.value, row.currency.as_deref(), row.order_id.as_deref()),
            (Some(45900), Some("CNY"), Some("o-1"))
        );
    }
    // The same id is another event for another unit or step.
    for (user, step, want) in [
        ("u-1", "order_paid", "duplicate"),
        ("u-2", "order_paid", "accepted"),
        ("u-1", "complaint", "accepted"),
    ] {
        let event = json!({"id": "m-1", "type": "step", "step": step, "user_id": user});
        assert_eq!(fate(&huidu, &huidu.server, &event).0, want, "{user} {step}");
    }
    assert_eq!(steps_of(&huidu, "m-1").len(), 4);
}

#[test]
fn attributes_are_kept_only_as_some_flag_declares_them_and_cut_at_64_bytes() {
    let huidu = shop();
    let long = "付".repeat(30);
    let cut = format!(r#"{{"payment_method":"{}"}}"#, "付".repeat(21));
    let rows: [(&str, &str, Value, Option<&str>); 6] = [
        (
            "a-1",
            "order_paid",
            json!({"payment_method": "wechat", "secret": "x"}),
            Some(r#"{"payment_method":"wechat"}"#),
        ),
        ("a-2", "order_paid", json!({"payment_method": long}), Some(&cut)),
        ("a-3", "order_paid", json!({"payment_method": true}), Some(r#"{"payment_method":"true"}"#)),
        ("a-4", "order_paid", json!({"payment_method": null}), None),
        ("a-5", "order_paid", json!({"secret": "x"}), None),
        ("a-6", "gift_returned", json!({"payment_method": "wechat"}), None),
    ];
    for (id, step, attributes, want) in rows {
        accepted(
            &huidu,
            &json!({"id": id, "type": "step", "step": step, "user_id": "u-1", "attributes": attributes}),
        );
        assert_eq!(steps_of(&huidu, id)[0].attributes.as_deref(), want, "{id}");
    }
}

#[test]
fn a_killed_flag_still_counts_its_stops_and_metrics() {
    let huidu = shop();
    let token = Sealer::of(&huidu).of_environment(1, "gone", "u-1", 0);
    accepted(&huidu, &json!({"id": "k-1", "type": "step", "step": "gone_paid", "user_id": "u-1"}));
    accepted(&huidu, &json!({"id": "k-2", "type": "step", "step": "gone_opened", "token": token}));
    accepted(&huidu, &json!({"type": "exposure", "token": token}));
    assert_eq!(steps_of(&huidu, "k-1").len(), 1);
    let stop = steps_of(&huidu, "k-2").remove(0);
    assert_eq!((stop.stage, stop.rule.as_deref(), &*stop.unit), (Some(1), Some("ramp"), "u-1"));
}

#[test]
fn the_same_event_twice_in_one_call_counts_once() {
    let huidu = shop();
    let event = json!({"id": "t-1", "type": "step", "step": "order_paid", "user_id": "u-1"});
    let bad = json!({"id": "t-2", "type": "step", "step": "none", "user_id": "u-1"});
    let answer = huidu.events(&huidu.server, &json!([event, bad, event])).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(1)), "{answer}");
    assert_eq!(answer["rejected"][0]["index"], 1);
    assert_eq!(steps_of(&huidu, "t-1").len(), 1);
}

#[test]
fn a_repeated_exposure_is_a_duplicate_without_a_write_and_an_earlier_one_is_not() {
    let huidu = shop();
    let event = |ago_ms: i64| json!({"type": "exposure", "flag": "gift", "user_id": "u-1", "variant": "on", "ago_ms": ago_ms});
    let send = |ago_ms: i64| {
        huidu.events(&huidu.server, &json!([event(ago_ms)])).expect(200).json()["accepted"].clone()
    };
    let commits = || {
        let count = huidu.metric("huidu_event_commit_duration_seconds_count").unwrap_or(0.0);
        format!("{count:.0}").parse::<i64>().unwrap()
    };
    assert_eq!(send(60_000), 1);
    let written = commits();
    for ago_ms in [50_000, 1_000, 0] {
        assert_eq!(send(ago_ms), 0, "{ago_ms}");
    }
    assert_eq!(commits(), written, "what is known to be stored is not written again");
    assert_eq!(huidu.metric("huidu_cache_hits_total{cache=\"exposures\"}"), Some(3.0));
    assert_eq!(send(120_000), 1, "an earlier one moves the row");
    assert_eq!(commits(), written + 1);
    assert_eq!(send(90_000), 0);
    assert_eq!(commits(), written + 1);
    let rows = exposures(&huidu, "user.id", "u-1");
    assert_eq!(rows.len(), 1);
    assert!(near(rows[0].at, now_ms() - 120_000), "{rows:?}");
    // Beside what must be written it is left out, and told apart.
    let step = json!({"id": "s", "type": "step", "step": "order_paid", "user_id": "u-1"});
    let other = json!({"type": "exposure", "flag": "gift", "user_id": "u-2", "variant": "on"});
    let answer = huidu.events(&huidu.server, &json!([event(0), step, event(5), other])).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(2), &json!(2)), "{answer}");
}
