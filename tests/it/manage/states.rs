//! States, stages, versions, the audit, lists, and explaining.

use huidu::clock::{Clock as _, MachineClock, rfc3339};
use serde_json::{Value, json};

use super::{act, decided, put, read, with};
use crate::fixture::*;

#[test]
fn killing_restoring_and_archiving_move_the_state_and_the_very_next_decision() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 100.0, 0.0));
    assert_eq!(decided(&huidu, "f", "u-1"), (true, "SPLIT".into()));
    let state = |action: &str, version, expected: (&str, i64)| {
        let answer = act(&huidu, "f", action, version, &json!({})).expect(200).json();
        assert_eq!(
            (answer["state"].as_str(), answer["version"].as_i64()),
            (Some(expected.0), Some(expected.1)),
            "{action}"
        );
        assert_eq!(decided(&huidu, "f", "u-1").0, expected.0 == "live", "{action}");
    };
    for action in ["restore", "archive"] {
        act(&huidu, "f", action, None, &json!({})).refused(428, "precondition_required");
        act(&huidu, "f", action, Some(9), &json!({})).refused(412, "version_conflict");
        act(&huidu, "none", action, Some(1), &json!({})).refused(404, "not_found");
    }
    act(&huidu, "none", "kill", None, &json!({})).refused(404, "not_found");
    state("restore", Some(1), ("live", 1));
    state("kill", Some(99), ("killed", 2));
    state("kill", None, ("killed", 2));
    state("restore", Some(2), ("live", 3));
    state("archive", Some(3), ("archived", 4));
    state("archive", Some(4), ("archived", 4));
    state("kill", None, ("archived", 4));
    state("restore", Some(4), ("killed", 5));
    state("restore", Some(5), ("live", 6));
    let unknown = act(&huidu, "f", "kill", None, &json!({"why": "x"}));
    assert_eq!((unknown.status, decided(&huidu, "f", "u-1").0), (422, true));
}

#[test]
fn what_begins_a_stage_and_what_does_not() {
    let huidu = Huidu::start();
    let flag = ramp("f", 5.0, 0.0);
    huidu.create_flag(&flag);
    let stage = || read(&huidu, "/flags/f")["stage"].clone();
    assert_eq!(stage(), 1);
    put(&huidu, Some(1), &with(&flag, "/description", json!("d"))).expect(200);
    assert_eq!(stage(), 1, "a description begins none");
    act(&huidu, "f", "rollout", Some(2), &json!({"percent": 10})).expect(200);
    assert_eq!(stage(), 2, "a rollout begins one");
    act(&huidu, "f", "kill", None, &json!({})).expect(200);
    assert_eq!(stage(), Value::Null, "a kill closes it");
    act(&huidu, "f", "rollout", Some(4), &json!({"percent": 20})).expect(200);
    assert_eq!(stage(), Value::Null, "a change while shut begins none");
    act(&huidu, "f", "restore", Some(5), &json!({})).expect(200);
    assert_eq!(stage(), 3, "a restore opens the next");
    act(&huidu, "f", "archive", Some(6), &json!({})).expect(200);
    act(&huidu, "f", "restore", Some(7), &json!({})).expect(200);
    assert_eq!(stage(), Value::Null, "archived -> killed opens none");
}

#[test]
fn an_end_shuts_a_flag_without_any_call() {
    let huidu = Huidu::start();
    let at = |ms: i64| json!(rfc3339(MachineClock.now_ms() + ms));
    huidu.create_flag(&with(&ramp("past", 100.0, 0.0), "/expire_at", at(-60_000)));
    assert_eq!(decided(&huidu, "past", "u-1"), (false, "DISABLED".into()));
    assert_eq!(read(&huidu, "/flags/past")["stage"], Value::Null);
    let ending = with(&ramp("soon", 100.0, 0.0), "/expire_at", at(3_000));
    huidu.create_flag(&ending);
    assert_eq!(decided(&huidu, "soon", "u-1"), (true, "SPLIT".into()));
    eventually("the flag ends", || decided(&huidu, "soon", "u-1") == (false, "DISABLED".into()));
    let flag = read(&huidu, "/flags/soon");
    assert_eq!((&flag["version"], &flag["state"], &flag["stage"]), (&json!(1), &json!("live"), &Value::Null));
    put(&huidu, Some(1), &with(&ending, "/expire_at", at(3_600_000))).expect(200);
    assert_eq!((decided(&huidu, "soon", "u-1").0, &read(&huidu, "/flags/soon")["stage"]), (true, &json!(2)));
}

#[test]
fn a_required_flag_cannot_be_archived_and_prerequisites_never_lead_back() {
    let huidu = Huidu::start();
    let needs = |key: &str, flag: &str| {
        with(&ramp(key, 100.0, 0.0), "/prerequisites", json!([{"flag": flag, "variants": ["on"]}]))
    };
    huidu.create_flag(&ramp("a", 100.0, 0.0));
    huidu.create_flag(&needs("b", "a"));
    huidu.create_flag(&needs("c", "b"));
    let problem = act(&huidu, "a", "archive", Some(1), &json!({})).refused(409, "flag_in_use").json();
    assert_eq!(problem["flags"], json!(["b"]));
    for (document, version) in
        [(needs("a", "c"), Some(1)), (needs("d", "d"), None), (needs("a", "b"), Some(1))]
    {
        let problem = put(&huidu, version, &document).refused(422, "flag_invalid").json();
        assert!(problem["errors"].to_string().contains("prerequisite_cycle"), "{problem}");
    }
    assert!(decided(&huidu, "c", "u-1").0);
    act(&huidu, "a", "kill", None, &json!({})).expect(200);
    assert_eq!(decided(&huidu, "c", "u-1"), (false, "TARGETING_MATCH".into()));
    act(&huidu, "c", "archive", Some(1), &json!({})).expect(200);
    act(&huidu, "b", "archive", Some(1), &json!({})).refused(409, "flag_in_use");
}

#[test]
fn every_version_is_kept_with_who_when_and_why() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 1.0, 0.0));
    for percent in 2..=4 {
        let body = json!({"percent": percent, "reason": format!("to {percent}")});
        act(&huidu, "f", "rollout", Some(percent - 1), &body).expect(200);
    }
    let first = read(&huidu, "/flags/f/versions?limit=3");
    let numbers = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|item| item["version"].as_i64().unwrap()).collect()
    };
    assert_eq!(numbers(&first), [4, 3, 2]);
    let rest =
        read(&huidu, &format!("/flags/f/versions?limit=3&cursor={}", first["next_cursor"].as_str().unwrap()));
    assert_eq!((numbers(&rest), &rest["next_cursor"]), (vec![1], &Value::Null));
    let newest = &first["items"][0];
    assert_eq!(
        (&newest["reason"], &newest["action"], &newest["state"]),
        (&json!("to 4"), &json!("rollout"), &json!("live"))
    );
    assert!(newest["diff"].to_string().contains("/rules/0/serve/rollout/percent"), "{newest}");
    let old = read(&huidu, "/flags/f/versions/2");
    assert_eq!(old["flag"]["rules"][0]["serve"]["rollout"]["percent"].as_f64(), Some(2.0));
    for path in
        ["/flags/f/versions/5", "/flags/f/versions/x", "/flags/none/versions", "/flags/none/versions/1"]
    {
        huidu.get(&format!("/v1/environments/production{path}"), ADMIN).refused(404, "not_found");
    }
}

#[test]
fn the_audit_says_who_did_what_when_and_why() {
    let huidu = Huidu::start();
    let began = rfc3339(MachineClock.now_ms());
    let path = "/v1/environments/production/flags/f";
    let headers = [
        ("content-type", "application/json"),
        ("if-none-match", "*"),
        ("huidu-reason", "%E7%81%B0%E5%BA%A6%20test"),
    ];
    huidu.call("PUT", path, ADMIN, &headers, ramp("f", 1.0, 0.0).to_string().as_bytes()).expect(201);
    act(&huidu, "f", "kill", None, &json!({"reason": "from the body"})).expect(200);
    let key = json!({"name": "ann", "role": "editor", "environment": "production"});
    let editor = huidu.post("/v1/keys", ADMIN, &key).expect(201).json()["key"].as_str().unwrap().to_owned();
    let restored = huidu.call(
        "POST",
        &format!("{path}/restore"),
        &editor,
        &[("content-type", "application/json"), ("if-match", "\"2\"")],
        b"{}",
    );
    restored.clone().expect(200);
    let rows = read(&huidu, "/audit?flag=f")["items"].as_array().unwrap().clone();
    let column = |name: &str| -> Vec<Value> { rows.iter().map(|row| row[name].clone()).collect() };
    assert_eq!(column("action"), ["restore", "kill", "create"]);
    assert_eq!(column("reason"), [Value::Null, json!("from the body"), json!("灰度 test")]);
    assert_eq!(rows[0]["request_id"].as_str(), restored.header("x-request-id"));
    assert!(rows.iter().all(|row| row["at"].as_str().unwrap() >= began.as_str() && row["kind"] == "flag"));
    let actors = column("actor");
    assert!(
        actors[0].as_str().unwrap().contains("ann") && actors[1] != actors[0] && actors[1] == actors[2],
        "{actors:?}"
    );
    let count =
        |query: &str| read(&huidu, &format!("/audit?flag=f&{query}"))["items"].as_array().unwrap().len();
    let after = rfc3339(MachineClock.now_ms() + 60_000);
    let actor = actors[0].as_str().unwrap().replace(' ', "%20");
    for (query, expected) in [
        (format!("actor={actor}"), 1),
        ("actor=nobody".into(), 0),
        (format!("from={began}"), 3),
        (format!("to={began}"), 0),
        (format!("from={after}"), 0),
        (format!("to={after}"), 3),
    ] {
        assert_eq!(count(&query), expected, "{query}");
    }
    for (query, code) in
        [("from=yesterday", "query_invalid"), ("limit=0", "query_invalid"), ("who=me", "query_invalid")]
    {
        huidu.get(&format!("/v1/environments/production/audit?{query}"), ADMIN).refused(400, code);
    }
    let staging = huidu.get("/v1/environments/staging/audit?flag=f", ADMIN).expect(200).json();
    assert_eq!(staging["items"], json!([]));
}

#[test]
fn a_reason_is_bounded_and_must_be_readable() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 1.0, 0.0));
    let (fits, long) = ("灰".repeat(500), "灰".repeat(501));
    act(&huidu, "f", "kill", None, &json!({"reason": long})).refused(400, "out_of_range");
    for header in ["%zz", "%E7%81", "%ff"] {
        let headers = [("content-type", "application/json"), ("huidu-reason", header)];
        let answer = huidu.call("POST", "/v1/environments/production/flags/f/kill", ADMIN, &headers, b"{}");
        answer.refused(400, "header_invalid");
    }
    assert_eq!(read(&huidu, "/flags/f")["state"], "live");
    act(&huidu, "f", "kill", None, &json!({"reason": fits})).expect(200);
    assert_eq!(read(&huidu, "/audit?flag=f")["items"][0]["reason"], fits.as_str());
}

#[test]
fn lists_are_paged_completely_and_refuse_other_limits() {
    let huidu = Huidu::start();
    for key in ["z", "B", "a", "m_1"] {
        huidu.create_flag(&ramp(key, 1.0, 0.0));
    }
    for (list, name) in [("/flags", "/flag/key"), ("/audiences", "/key"), ("/audit", "/id")] {
        let all: Vec<Value> = read(&huidu, &format!("{list}?limit=200"))["items"].as_array().unwrap().clone();
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = read(&huidu, &format!("{list}?limit=1{cursor}"));
            paged.extend(page["items"].as_array().unwrap().clone());
            assert!(page["items"].as_array().unwrap().len() <= 1 && paged.len() <= all.len(), "{list}");
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let names = |items: &[Value]| -> Vec<Value> {
            items.iter().map(|i| i.pointer(name).unwrap().clone()).collect()
        };
        assert!(all.len() > 1, "{list}");
        assert_eq!(names(&paged), names(&all), "{list}");
        for limit in ["0", "201", "-1", "x", ""] {
            let path = format!("/v1/environments/production{list}?limit={limit}");
            huidu.get(&path, ADMIN).refused(400, "query_invalid");
        }
    }
}

#[test]
fn an_analyst_reads_and_changes_nothing() {
    let huidu = Huidu::start();
    let wish = json!({"name": "ana", "role": "analyst", "environment": "production"});
    let analyst = huidu.post("/v1/keys", ADMIN, &wish).expect(201).json()["key"].as_str().unwrap().to_owned();
    let production = "/v1/environments/production";
    for path in [
        "/flags",
        "/flags/wechat-scan-pay",
        "/flags/wechat-scan-pay/versions",
        "/flags/wechat-scan-pay/versions/1",
        "/audiences",
        "/audiences/wechat-testers",
        "/audit",
    ] {
        huidu.get(&format!("{production}{path}"), &analyst).expect(200);
        huidu.get(&format!("/v1/environments/staging{path}"), &analyst).refused(403, "forbidden");
        huidu.get(&format!("{production}{path}"), &huidu.client).refused(403, "forbidden");
        huidu.get(&format!("{production}{path}"), "").refused(401, "unauthorized");
    }
    huidu.get("/v1/environments", &analyst).refused(403, "forbidden");
    assert_eq!(huidu.get("/v1/environments", ADMIN).expect(200).json()["items"].as_array().unwrap().len(), 2);
    huidu
        .post(&format!("{production}/flags/wechat-scan-pay/kill"), &analyst, &json!({}))
        .refused(403, "forbidden");
    assert_eq!(read(&huidu, "/flags/wechat-scan-pay")["state"], "live");
}

/// The bucket by the published formula.
fn bucket(salt: &str, unit: &str) -> u64 {
    let hash = murmur3::murmur3_32(&mut std::io::Cursor::new(format!("{salt}:{unit}")), 0).unwrap();
    (u64::from(hash) * 1_000_000) >> 32
}

fn steps<'t>(trace: &'t Value, name: &str, found: &mut Vec<&'t Value>) {
    match trace {
        Value::Array(list) => list.iter().for_each(|inner| steps(inner, name, found)),
        Value::Object(map) => {
            if map.get("step").is_some_and(|step| step == name) {
                found.push(trace);
            }
            map.values().for_each(|inner| steps(inner, name, found));
        }
        _ => {}
    }
}

#[test]
fn explaining_shows_each_step_and_agrees_with_the_decision() {
    let huidu = Huidu::start();
    let rules = json!([
        {"id": "region", "when": {"attribute": "user.region", "op": "eq", "value": "CN-31"}, "serve": {"variant": "on"}},
        {"id": "ramp", "serve": {"rollout": {"percent": 40, "control": 30}}},
    ]);
    huidu.create_flag(&with(&ramp("f", 1.0, 0.0), "/rules", rules));
    let mut arms = std::collections::BTreeSet::new();
    for n in 0..40 {
        let unit = format!("u-{n}");
        let context = json!({"context": {"targetingKey": unit}});
        let answer =
            huidu.post("/v1/environments/production/flags/f/explain", ADMIN, &context).expect(200).json();
        let entry = huidu.entry("f", &json!({"id": unit}), &json!([]));
        for field in ["visible", "variant", "reason", "rule", "arm"] {
            assert_eq!(answer["decision"][field], entry[field], "{field} of {unit}: {answer} {entry}");
        }
        let (mut conditions, mut rollouts) = (Vec::new(), Vec::new());
        steps(&answer["trace"], "condition", &mut conditions);
        steps(&answer["trace"], "rollout", &mut rollouts);
        assert_eq!(
            (&conditions[0]["result"], &conditions[0]["attribute"]),
            (&json!("unknown"), &json!("user.region"))
        );
        assert!(conditions[0]["cause"].is_string(), "{answer}");
        let shown = &rollouts[0];
        assert_eq!(shown["bucket"], bucket("f", &unit), "{answer}");
        assert_eq!((&shown["treatment_below"], &shown["control_from"]), (&json!(400_000), &json!(700_000)));
        arms.insert(answer["decision"]["arm"].to_string());
    }
    assert_eq!(arms.len(), 3, "treatment, control and neither: {arms:?}");
    huidu.post("/v1/environments/production/flags/none/explain", ADMIN, &json!({})).refused(404, "not_found");
    huidu
        .post("/v1/environments/production/flags/f/explain", &huidu.client, &json!({}))
        .refused(403, "forbidden");
}
