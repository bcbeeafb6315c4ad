//! Reports of a running service.

use serde_json::json;

use crate::fixture::*;
use crate::report::row;

pub(crate) const REPORT: &str = "/v1/environments/production/flags/shown/report";
const SERIES: &str = "/v1/environments/production/flags/shown/timeseries";

/// A flag with a goal, a stop and a captured attribute.
pub(crate) fn document() -> serde_json::Value {
    let mut document = ramp("shown", 50.0, 50.0);
    for (name, value) in [
        ("metrics", json!([{"step": "order_paid", "by": "payment_method", "values": ["wechat"]}])),
        ("funnel", json!(["entry_clicked"])),
        ("goal", json!("order_paid")),
        ("attribution_hours", json!(1)),
        ("capture", json!(["user.region"])),
    ] {
        document[name] = value;
    }
    document
}

/// Shows the flag to 40 users `hours` ago; a third of the treated pay.
pub(crate) fn shoppers(huidu: &Huidu, hours: i64) {
    let ago = hours * 3_600_000;
    let mut events = Vec::new();
    for user in 0..40 {
        let user = format!("u-{user}");
        let entry = huidu.entry("shown", &json!({"id": user, "region": "CN-31"}), &json!([]));
        let token = entry["exposure_token"].as_str().unwrap();
        let visible = entry["visible"] == true;
        // By ids, since a token's day is today.
        events.push(json!({"type": "exposure", "flag": "shown", "user_id": user, "variant": if visible { "on" } else { "off" },
            "context": {"region": "CN-31"}, "ago_ms": ago}));
        if visible {
            events.push(json!({"id": format!("c-{user}"), "type": "step", "step": "entry_clicked", "token": token, "ago_ms": ago - 9_000}));
        }
        if visible && events.len() % 3 == 0 {
            events.push(json!({"id": format!("o-{user}"), "type": "step", "step": "order_paid", "user_id": user, "ago_ms": ago - 60_000,
                "value": 100, "currency": "CNY", "attributes": {"payment_method": "wechat"}}));
        }
    }
    let answer = huidu.events(&huidu.server, &json!(events)).expect(200).json();
    assert_eq!(answer["accepted"], events.len(), "{answer}");
}

#[test]
fn a_report_tells_what_was_just_stored_and_survives_a_kill() {
    let mut huidu = Huidu::start();
    huidu.create_flag(&document());
    let empty = huidu.get(REPORT, ADMIN).expect(200).json();
    assert_eq!(row(&empty["variants"], &[("arm", "treatment")])["exposed_users"], 0);
    shoppers(&huidu, 5);
    let report = huidu.get(REPORT, ADMIN).expect(200).json();
    let on = row(&report["variants"], &[("arm", "treatment")]);
    let off = row(&report["variants"], &[("arm", "control")]);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(number(&on["exposed_users"]) + number(&off["exposed_users"]), 40, "{report:#}");
    assert!(number(&on["converted_users"]) > 0 && number(&off["converted_users"]) == 0);
    assert_eq!(on["value"]["CNY"], number(&on["converted_users"]) * 100);
    assert_eq!(on["funnel"][0]["users"], on["exposed_users"]);
    assert_eq!(row(&on["metrics"], &[("step", "order_paid")])["by"]["wechat"], on["converted_users"]);
    let goal = row(&report["comparisons"], &[("metric", "order_paid")]);
    assert_eq!((&goal["baseline"], &goal["rule"]), (&json!("off"), &json!("ramp")));
    assert_eq!(report["srm"]["per_stage"][0]["expected"], json!({"off": 0.5, "on": 0.5}));
    assert_eq!(huidu.metric("huidu_cache_hits_total{cache=\"reports\"}"), None);
    let cached = huidu.get(REPORT, ADMIN).expect(200).json();
    assert_eq!(cached["computed_at"], report["computed_at"], "the same answer, for a moment");
    assert_eq!(huidu.metric("huidu_cache_hits_total{cache=\"reports\"}"), Some(1.0));
    assert!(huidu.metric("huidu_report_hours_total").unwrap() >= 1.0);

    huidu.kill();
    huidu.start_again();
    let again = huidu.get(REPORT, ADMIN).expect(200).json();
    for part in ["variants", "comparisons", "stages", "srm", "guardrails"] {
        assert_eq!(again[part], report[part], "{part}");
    }
}

#[test]
fn ranges_splits_and_forms() {
    let huidu = Huidu::start();
    huidu.create_flag(&document());
    shoppers(&huidu, 5);
    let split = huidu.get(&format!("{REPORT}?by=user.region"), ADMIN).expect(200).json();
    assert_eq!(split["segments"][0]["value"], "CN-31");
    assert_eq!(split["segments"][0]["comparisons"][0]["why"], "exploratory");
    let future = huidu.get(&format!("{REPORT}?from=2100-01-01T00:00:00Z"), ADMIN).expect(200).json();
    assert_eq!(row(&future["variants"], &[("arm", "treatment")])["exposed_users"], 0);
    let csv = huidu.call("GET", REPORT, ADMIN, &[("accept", "text/csv")], b"").expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut lines = csv.text.lines();
    assert!(
        lines.next().unwrap().starts_with("rule,variant,arm,exposed_users,maturing_users,"),
        "{}",
        csv.text
    );
    assert!(lines.next().unwrap().starts_with("ramp,on,treatment,"), "{}", csv.text);
    let worth = huidu.get(REPORT, ADMIN).expect(200).json()["values"][0].clone();
    assert_eq!(
        worth["per_order"].get("treatment_per_order"),
        Some(&json!(null)),
        "control ordered nothing: {worth}"
    );
    assert!(worth.get("capped").is_none(), "only where it was asked for: {worth}");
    let capped =
        huidu.get(&format!("{REPORT}?cap=0.999"), ADMIN).expect(200).json()["values"][0]["capped"].clone();
    assert_eq!(capped["quantile"], 0.999);
    assert!(capped["cap"].as_f64().unwrap() > 0.0 && capped["removed_share"].as_f64().is_some(), "{capped}");
    let values = huidu.get(&format!("{REPORT}?cap=0.95&format=csv&table=values"), ADMIN).expect(200).text;
    for column in ["capped.cap", "capped.always_valid_ci.low", "per_order.treatment_per_order"] {
        assert!(values.lines().next().unwrap().split(',').any(|own| own == column), "{column}: {values}");
    }
    let stages = huidu.get(&format!("{REPORT}?format=csv&table=stages"), ADMIN).expect(200).text;
    assert!(stages.starts_with("stage,from,to,rule,"), "{stages}");
    let series = huidu.get(&format!("{SERIES}?by=hour"), ADMIN).expect(200).json();
    assert_eq!((&series["by"], series["points"].as_array().unwrap().len()), (&json!("hour"), 1));
    let days = huidu.get(&format!("{SERIES}?tz=Asia/Shanghai"), ADMIN).expect(200).json();
    assert_eq!((&days["by"], &days["tz"]), (&json!("day"), &json!("Asia/Shanghai")));
    assert!(days["points"][0]["from"].as_str().unwrap().ends_with("T16:00:00.000Z"), "{days}");
}

#[test]
fn what_is_asked_wrongly_is_refused_by_name() {
    let huidu = Huidu::start();
    huidu.create_flag(&document());
    for (path, code, named) in [
        (format!("{REPORT}?form=csv"), "query_invalid", "\"form\""),
        (format!("{REPORT}?from=yesterday"), "query_invalid", "`from`"),
        (format!("{REPORT}?by=user.age"), "query_invalid", "user.region"),
        (format!("{REPORT}?cap=0.89"), "query_invalid", "`cap`"),
        (format!("{REPORT}?cap=1"), "query_invalid", "`cap`"),
        (format!("{REPORT}?cap=most"), "query_invalid", "`cap`"),
        (format!("{SERIES}?cap=0.99"), "query_invalid", "\"cap\""),
        (format!("{REPORT}?format=xml"), "query_invalid", "`format`"),
        (format!("{REPORT}?table=stages"), "query_invalid", "`table`"),
        (format!("{REPORT}?format=csv&table=points"), "query_invalid", "variants"),
        (format!("{SERIES}?by=week"), "query_invalid", "`by`"),
        (format!("{SERIES}?tz=Mars/Olympus"), "query_invalid", "`tz`"),
    ] {
        let refused = huidu.get(&path, ADMIN).refused(400, code);
        assert!(refused.json()["detail"].as_str().unwrap().contains(named), "{path}: {refused:?}");
    }
    huidu.get("/v1/environments/production/flags/none/report", ADMIN).refused(404, "not_found");
    huidu.get(REPORT, &huidu.server).refused(403, "forbidden");
}
