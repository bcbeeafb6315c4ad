//! What Prometheus reads: complete from the start, bounded by the configuration, counted once.

use std::io::Write as _;
use std::process::{Command, Stdio};

use huidu::clock::{HOUR_MS, MINUTE_MS};
use serde_json::{Value, json};

use crate::events::{Sealer, accepted, gift, shop};
use crate::fixture::{ADMIN, Huidu, eventually, ramp};

fn text(huidu: &Huidu) -> String {
    huidu.get("/metrics", ADMIN).expect(200).text
}

/// The value of the series `name` of production and `flag` whose other labels are `labels`, in order of name.
fn value(huidu: &Huidu, name: &str, labels: &str) -> Option<f64> {
    huidu.metric(&format!("huidu_{name}{{{labels}}} "))
}

fn steps(huidu: &Huidu, flag: &str, variant: &str, arm: &str, step: &str) -> Option<f64> {
    let labels = format!(
        "arm=\"{arm}\",environment=\"production\",flag=\"{flag}\",step=\"{step}\",variant=\"{variant}\""
    );
    value(huidu, "steps_total", &labels)
}

fn exposed(huidu: &Huidu, name: &str, flag: &str, variant: &str, arm: &str) -> Option<f64> {
    let labels = format!("arm=\"{arm}\",environment=\"production\",flag=\"{flag}\",variant=\"{variant}\"");
    value(huidu, name, &labels)
}

fn shown(flag: &str, user: &str, ago: i64, context: &Value) -> Value {
    json!({"type": "exposure", "flag": flag, "user_id": user, "variant": "on", "ago_ms": ago, "context": context})
}

fn paid(id: &str, user: &str, ago: i64) -> Value {
    json!({"id": id, "type": "step", "step": "order_paid", "user_id": user, "ago_ms": ago,
           "value": 100, "currency": "CNY"})
}

#[test]
fn metrics_are_read_with_a_key_of_a_server_or_of_people_unless_they_are_public() {
    let huidu = Huidu::start();
    huidu.get("/metrics", "").refused(401, "unauthorized");
    huidu.get("/metrics", "huidu_server_unknown").refused(401, "unauthorized");
    huidu.get("/metrics", &huidu.client).refused(403, "forbidden");
    huidu.get("/metrics", &huidu.server).expect(200);
    huidu.get("/metrics", ADMIN).expect(200);
    for role in ["analyst", "editor"] {
        let body = json!({"name": role, "role": role, "environment": "production"});
        let key = huidu.post("/v1/keys", ADMIN, &body).expect(201).json()["key"].as_str().unwrap().to_owned();
        huidu.get("/metrics", &key).expect(200);
    }
    let open = Huidu::start_with(&[("METRICS_PUBLIC", "true")]);
    open.get("/metrics", "").expect(200);
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let huidu = shop();
    huidu.entry("wechat-scan-pay", &json!({"id": "u-1"}), &json!([]));
    accepted(&huidu, &shown("gift", "u-1", HOUR_MS, &json!({"region": "CN-31"})));
    accepted(&huidu, &paid("p-1", "u-1", 0));
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = started.expect("promtool is missing: install the Debian package prometheus");
    promtool.stdin.take().unwrap().write_all(text(&huidu).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && said.iter().all(String::is_empty), "{said:?}");
}

#[test]
fn a_shopper_who_paid_before_and_sees_the_entry_then_counts_from_there_on() {
    let huidu = Huidu::start();
    huidu.create_flag(&gift());
    // What the shopper saw, nothing, is remembered; the exposure must take that away.
    accepted(&huidu, &paid("before", "u-1", HOUR_MS));
    eventually("it is known that the shopper saw nothing", || {
        text(&huidu).contains("cache=\"exposures_of_unit\"} 1")
    });
    accepted(&huidu, &json!({"type": "exposure", "token": Sealer::of(&huidu).token("u-1", 0)}));
    accepted(&huidu, &paid("after", "u-1", 0));
    eventually("the order counts", || steps(&huidu, "gift", "on", "treatment", "order_paid") == Some(1.0));
}

#[test]
fn series_of_configured_flags_exist_as_0_and_archived_flags_have_none() {
    let huidu = Huidu::start();
    huidu.create_flag(&gift());
    for (variant, arm) in [("on", "fixed"), ("on", "treatment")] {
        for step in ["gift_opened", "gift_sent", "order_paid", "gift_returned"] {
            assert_eq!(steps(&huidu, "gift", variant, arm, step), Some(0.0), "{variant} {arm} {step}");
        }
        for name in ["exposures_total", "exposed_users"] {
            assert_eq!(exposed(&huidu, name, "gift", variant, arm), Some(0.0), "{name} {variant} {arm}");
        }
    }
    for (variant, reason) in
        [("on", "TARGETING_MATCH"), ("on", "SPLIT"), ("off", "DEFAULT"), ("off", "DISABLED")]
    {
        let labels =
            format!("environment=\"production\",flag=\"gift\",reason=\"{reason}\",variant=\"{variant}\"");
        assert_eq!(value(&huidu, "decisions_total", &labels), Some(0.0), "{labels}");
    }
    let token = Sealer::of(&huidu).token("u-1", 0);
    accepted(&huidu, &json!({"type": "exposure", "token": token}));
    accepted(&huidu, &paid("before", "u-1", 0));
    eventually("the step is counted", || steps(&huidu, "gift", "on", "treatment", "order_paid") == Some(1.0));
    huidu.manage("POST", "/flags/gift/archive", Some(1), &json!({})).expect(200);
    assert!(!text(&huidu).contains("flag=\"gift\""), "{}", text(&huidu));
    // What comes late is stored, and makes no series of an archived flag.
    accepted(&huidu, &json!({"id": "late", "type": "step", "step": "gift_opened", "token": token}));
    accepted(&huidu, &json!({"type": "exposure", "token": Sealer::of(&huidu).token("u-2", 0)}));
    accepted(&huidu, &paid("late", "u-1", 0));
    assert!(!text(&huidu).contains("flag=\"gift\""), "{}", text(&huidu));
}

#[test]
fn facts_of_a_document_are_there_to_join_with_and_follow_it() {
    let huidu = Huidu::start();
    let scan = |name: &str, label: &str| {
        value(&huidu, name, &format!("environment=\"production\",flag=\"wechat-scan-pay\",{label}"))
    };
    for (name, label, expected) in [
        ("variant_visible", "variant=\"on\"", Some(1.0)),
        ("variant_visible", "variant=\"off\"", Some(0.0)),
        ("funnel_position", "step=\"entry_clicked\"", Some(1.0)),
        ("funnel_position", "step=\"entry_paid\"", Some(5.0)),
        ("goal", "step=\"order_paid\"", Some(1.0)),
        ("goal", "step=\"complaint\"", None),
        ("guardrail_margin_ratio", "step=\"payment_failed\"", Some(0.002)),
        ("guardrail_limit_ratio", "step=\"payment_failed\"", None),
    ] {
        assert_eq!(scan(name, label), expected, "{name} {label}");
    }
    let change = json!({"goal": "complaint", "funnel": ["entry_clicked"],
                        "guardrails": [{"step": "payment_failed", "limit": 0.02}]});
    huidu.manage("PATCH", "/flags/wechat-scan-pay", Some(1), &change).expect(200);
    for (name, label, expected) in [
        ("funnel_position", "step=\"entry_clicked\"", Some(1.0)),
        ("funnel_position", "step=\"entry_paid\"", None),
        ("goal", "step=\"order_paid\"", None),
        ("goal", "step=\"complaint\"", Some(1.0)),
        ("guardrail_margin_ratio", "step=\"payment_failed\"", None),
        ("guardrail_margin_ratio", "step=\"complaint\"", None),
        ("guardrail_limit_ratio", "step=\"payment_failed\"", Some(0.02)),
    ] {
        assert_eq!(scan(name, label), expected, "{name} {label} after the change");
    }
    // What counts from 0 is there before it counts.
    for name in ["event_queue_full_total", "auth_failures_total", "event_queue_events", "event_queue_bytes"] {
        assert_eq!(huidu.metric(&format!("huidu_{name} ")), Some(0.0), "{name}");
    }
    assert_eq!(huidu.metric("huidu_event_queue_limit_events "), Some(100_000.0));
    assert_eq!(value(&huidu, "events_accepted_total", "environment=\"staging\""), Some(0.0));
}

#[test]
fn decisions_count_by_variant_and_reason_and_a_kill_shows_at_once() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("door", 75.0, 25.0));
    let ratio = |arm: &str| {
        let labels = format!("arm=\"{arm}\",environment=\"production\",flag=\"door\",rule=\"ramp\"");
        value(&huidu, "rollout_ratio", &labels)
    };
    let decided = |variant: &str, reason: &str| {
        let labels =
            format!("environment=\"production\",flag=\"door\",reason=\"{reason}\",variant=\"{variant}\"");
        value(&huidu, "decisions_total", &labels).unwrap_or(0.0)
    };
    let number = || value(&huidu, "snapshot_number", "environment=\"production\"").unwrap();
    assert_eq!((ratio("treatment"), ratio("control")), (Some(0.75), Some(0.25)));
    for n in 0..40 {
        huidu.entry("door", &json!({"id": format!("u-{n}")}), &json!([]));
    }
    assert_eq!(Some(decided("on", "SPLIT") + decided("off", "SPLIT")), Some(40.0));
    assert!(decided("on", "SPLIT") > decided("off", "SPLIT"), "three of four are on");
    let before = number();
    huidu.manage("POST", "/flags/door/kill", None, &json!({})).expect(200);
    assert_eq!(Some(number()), Some(before + 1.0));
    assert_eq!((ratio("treatment"), ratio("control")), (Some(0.0), Some(0.0)));
    huidu.entry("door", &json!({"id": "u-1"}), &json!([]));
    assert_eq!(Some(decided("off", "DISABLED")), Some(1.0));
}

#[test]
fn exposures_count_rows_added_and_stops_the_variant_of_their_token() {
    let huidu = shop();
    let token = Sealer::of(&huidu).token("u-1", 0);
    for _ in 0..3 {
        huidu.events(&huidu.client, &json!([{"type": "exposure", "token": token}])).expect(200);
        let stop = json!({"id": "s", "type": "step", "step": "gift_opened", "token": token});
        huidu.events(&huidu.client, &json!([stop])).expect(200);
    }
    // Earlier than the first: the row moves, none is added.
    accepted(
        &huidu,
        &json!({"type": "exposure", "flag": "gift", "user_id": "u-1", "variant": "on",
        "context": {"region": "CN-31"}, "ago_ms": 48 * HOUR_MS}),
    );
    assert_eq!(exposed(&huidu, "exposures_total", "gift", "on", "treatment"), Some(1.0));
    assert_eq!(steps(&huidu, "gift", "on", "treatment", "gift_opened"), Some(1.0));
}

#[test]
fn a_metric_step_counts_once_a_flag_for_the_latest_exposure_inside_the_window() {
    let huidu = shop();
    let mut other = gift();
    other["key"] = json!("other");
    other["funnel"] = json!([]);
    other["metrics"] = json!(["order_paid"]);
    huidu.create_flag(&other);
    accepted(&huidu, &shown("gift", "u-1", 90 * MINUTE_MS, &json!({"region": "CN-31"})));
    accepted(&huidu, &shown("gift", "u-1", 30 * MINUTE_MS, &json!({"vip": true})));
    accepted(&huidu, &shown("other", "u-1", 10 * MINUTE_MS, &json!({"region": "CN-31"})));
    accepted(&huidu, &shown("gift", "u-2", 3 * HOUR_MS, &json!({"region": "CN-31"})));
    for event in [
        paid("before", "u-1", 100 * MINUTE_MS),
        paid("treated", "u-1", 60 * MINUTE_MS),
        paid("vip", "u-1", 20 * MINUTE_MS),
        paid("both", "u-1", MINUTE_MS),
        paid("inside", "u-2", 90 * MINUTE_MS),
        paid("outside", "u-2", 30 * MINUTE_MS),
        paid("nobody", "u-3", 0),
    ] {
        accepted(&huidu, &event);
        // Once more: a duplicate counts nothing.
        huidu.events(&huidu.server, &json!([event])).expect(200);
    }
    // Counted after the answer, in order: when this last one is there, all the others are.
    accepted(&huidu, &shown("gift", "u-4", HOUR_MS, &json!({"region": "CN-31"})));
    accepted(&huidu, &paid("last", "u-4", MINUTE_MS));
    eventually("the last step is counted", || {
        steps(&huidu, "gift", "on", "treatment", "order_paid") >= Some(3.0)
    });
    assert_eq!(steps(&huidu, "gift", "on", "treatment", "order_paid"), Some(3.0), "treated, inside, last");
    assert_eq!(steps(&huidu, "gift", "on", "fixed", "order_paid"), Some(2.0), "vip, both");
    assert_eq!(steps(&huidu, "other", "on", "treatment", "order_paid"), Some(1.0), "both");
    let worth = "arm=\"treatment\",currency=\"CNY\",environment=\"production\",flag=\"gift\",step=\"order_paid\",variant=\"on\"";
    assert_eq!(value(&huidu, "step_value_total", worth), Some(300.0));
    let users = || exposed(&huidu, "exposed_users", "gift", "on", "treatment");
    let waits = jiff::Timestamp::now();
    while users() != Some(3.0) {
        let waited = jiff::Timestamp::now().as_second() - waits.as_second();
        assert!(waited <= 20, "exposed users: {:?} after {waited} s", users());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn events_are_counted_by_their_fate_and_what_is_unknown_makes_no_series() {
    let huidu = shop();
    let strange = "strange-label";
    let good = paid("g", "u-1", 0);
    let events = json!([good, good, paid("h", "u-1", 0),
        {"id": "x", "type": "step", "step": strange, "user_id": strange},
        {"id": "y", "type": "exposure", "flag": strange, "user_id": "u-1", "variant": strange}]);
    huidu.events(&huidu.server, &events).expect(200);
    let production = "environment=\"production\"";
    assert_eq!(value(&huidu, "events_accepted_total", production), Some(2.0));
    assert_eq!(value(&huidu, "events_duplicate_total", production), Some(1.0));
    for code in ["unknown_step", "event_invalid"] {
        let labels = format!("code=\"{code}\",{production}");
        assert_eq!(value(&huidu, "events_rejected_total", &labels), Some(1.0), "{code}");
    }
    for path in
        ["/strange-label", "/ofrep/v1/evaluate/flags/strange-label", "/v1/environments/strange-label/flags"]
    {
        huidu.post(path, &huidu.server, &json!({"context": {"targetingKey": strange}}));
        huidu.get(path, ADMIN);
    }
    huidu
        .post("/v1/decisions", &huidu.server, &json!({"placement": strange, "user": {"id": strange}}))
        .expect(200);
    huidu.call("PATCH", "/v1/events/strange-label", ADMIN, &[("x-request-id", strange)], b"{}");
    assert!(!text(&huidu).to_lowercase().contains(strange), "{}", text(&huidu));
}

#[test]
fn the_names_of_the_contract_are_there() {
    let huidu = shop();
    accepted(&huidu, &shown("gift", "u-1", HOUR_MS, &json!({"region": "CN-31"})));
    accepted(&huidu, &paid("p", "u-1", 0));
    accepted(&huidu, &paid("q", "u-1", 0));
    huidu.events(&huidu.server, &json!([paid("p", "u-1", 0), {"id": "x"}])).expect(200);
    eventually("the value is counted", || text(&huidu).contains("huidu_step_value_total{"));
    let text = text(&huidu);
    for name in [
        "decisions_total",
        "exposures_total",
        "steps_total",
        "step_value_total",
        "exposed_users",
        "rollout_ratio",
        "http_request_duration_seconds_bucket",
        "http_request_duration_seconds_count",
        "snapshot_number",
        "snapshot_timestamp_seconds",
        "cache_hits_total",
        "cache_misses_total",
        "events_accepted_total",
        "events_duplicate_total",
        "events_rejected_total",
        "propagation_seconds_count",
    ] {
        let there = text.lines().any(|line| {
            line.strip_prefix("huidu_")
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        assert!(there, "huidu_{name} is missing");
    }
}
