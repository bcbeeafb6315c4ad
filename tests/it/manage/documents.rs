//! Documents: created, replaced, rolled back, refused.

use serde_json::{Value, json};

use super::{act, decided, everything, put, read, with};
use crate::fixture::*;

#[test]
fn a_put_creates_once_and_replaces_only_what_was_read() {
    let huidu = Huidu::start();
    let flag = ramp("f", 5.0, 5.0);
    put(&huidu, Some(1), &flag).refused(404, "not_found");
    let created = put(&huidu, None, &flag).expect(201);
    assert_eq!(created.header("etag"), Some("\"1\""));
    let answer = created.json();
    assert_eq!(
        (&answer["version"], &answer["state"], &answer["stage"]),
        (&json!(1), &json!("live"), &json!(1))
    );
    put(&huidu, None, &flag).refused(412, "flag_exists");
    let wider = ramp("f", 10.0, 5.0);
    let path = "/v1/environments/production/flags/f";
    let json_type = ("content-type", "application/json");
    for headers in [&[json_type][..], &[json_type, ("if-match", "*")][..]] {
        let answer = huidu.call("PUT", path, ADMIN, headers, wider.to_string().as_bytes());
        answer.refused(428, "precondition_required");
    }
    let weak = [json_type, ("if-match", "W/\"1\"")];
    huidu.call("PUT", path, ADMIN, &weak, wider.to_string().as_bytes()).refused(412, "version_conflict");
    let conflict = put(&huidu, Some(7), &wider).refused(412, "version_conflict");
    let detail = conflict.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("version 1") && detail.contains('7'), "{detail}");
    assert_eq!(read(&huidu, "/flags/f")["version"], 1);
    let replaced = put(&huidu, Some(1), &wider).expect(200);
    assert_eq!((replaced.header("etag"), &replaced.json()["stage"]), (Some("\"2\""), &json!(2)));
    act(&huidu, "f", "archive", Some(2), &json!({})).expect(200);
    put(&huidu, None, &flag).refused(412, "flag_exists");
}

#[test]
fn a_variant_that_another_flag_requires_may_go_with_a_warning() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 5.0, 5.0));
    let mut other = ramp("g", 5.0, 5.0);
    other["prerequisites"] = json!([{"flag": "f", "variants": ["on"]}]);
    huidu.create_flag(&other);
    let mut without = ramp("f", 5.0, 5.0);
    without["variants"] = json!({"off": false, "yes": true});
    let answer = put(&huidu, Some(1), &without).expect(200).json();
    assert_eq!(answer["warnings"][0]["code"], "variant_required", "{answer}");
    without["name"] = json!("\u{202e}hidden");
    let refused = put(&huidu, Some(2), &without).refused(422, "flag_invalid").json();
    assert_eq!(refused["errors"][0]["code"], "text_invalid", "{refused}");
}

#[test]
fn a_put_that_says_the_same_in_other_words_changes_nothing() {
    let huidu = Huidu::start();
    huidu.create_flag(&json!({
        "key": "f", "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off",
        "salt": "s", "rules": [{"id": "ramp", "serve": {"rollout": {"percent": 5}}}],
    }));
    let before = everything(&huidu, "f");
    let rest = r#""salt":"s","off_variant":"off","value_type":"boolean","variants":{"on":true,"off":false},"key":"f""#;
    let rule = |rollout: &str, when: &str| {
        format!(r#""rules":[{{"serve":{{"rollout":{rollout}}},{when}"id":"ramp"}}]"#)
    };
    for (what, body) in [
        ("key order", format!("{{{},{rest}}}", rule(r#"{"percent":5}"#, ""))),
        ("5.0 for 5", format!("{{{},{rest}}}", rule(r#"{"percent":5.0}"#, ""))),
        (
            "defaults written out",
            format!(
                r#"{{{},{rest},"name":"f","default_variant":"off","unit":"user.id","tags":[],"attribution_hours":24,"min_effect":0.05}}"#,
                rule(r#"{"percent":5,"control":0,"split":{"on":1}}"#, r#""when":{"all_of":[]},"#)
            ),
        ),
        (
            "without its salt",
            format!("{{{},{}}}", rule(r#"{"percent":5}"#, ""), rest.replace(r#""salt":"s","#, "")),
        ),
    ] {
        let headers = [("content-type", "application/json"), ("if-match", "\"1\"")];
        let path = "/v1/environments/production/flags/f";
        let answer = huidu.call("PUT", path, ADMIN, &headers, body.as_bytes()).expect(200);
        assert_eq!(answer.json()["version"], 1, "{what}");
    }
    assert_eq!(everything(&huidu, "f"), before);
    put(&huidu, Some(1), &ramp("f", 5.0001, 0.0)).expect(200);
    assert_eq!(read(&huidu, "/flags/f")["version"], 2, "a real difference is one");
}

#[test]
fn a_salt_is_filled_once_kept_on_replacing_and_comes_back_on_rollback() {
    let huidu = Huidu::start();
    let mut flag = ramp("f", 5.0, 0.0);
    flag.as_object_mut().unwrap().remove("salt");
    let salt = put(&huidu, None, &flag).expect(201).json()["flag"]["salt"].as_str().unwrap().to_owned();
    assert_eq!(salt.len(), 26);
    assert!(
        salt.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)),
        "{salt}"
    );
    put(&huidu, Some(1), &with(&flag, "/description", json!("d"))).expect(200);
    assert_eq!(read(&huidu, "/flags/f")["flag"]["salt"], salt.as_str());
    let reshuffled = put(&huidu, Some(2), &with(&flag, "/salt", json!("other"))).expect(200).json();
    assert!(
        reshuffled["warnings"].as_array().is_some_and(|w| w.iter().any(|w| w["pointer"] == "/salt")),
        "{reshuffled}"
    );
    act(&huidu, "f", "rollback", Some(3), &json!({"version": 1})).expect(200);
    assert_eq!(read(&huidu, "/flags/f")["flag"]["salt"], salt.as_str());
    let second = put(&huidu, None, &with(&flag, "/key", json!("g"))).expect(201).json();
    assert_ne!(second["flag"]["salt"], salt.as_str());
}

/// Documents with faults, and where each fault is.
fn faulty() -> Vec<(Value, Vec<(&'static str, &'static str)>)> {
    let flag = ramp("bad", 5.0, 5.0);
    let when = |condition| with(&flag, "/rules/0/when", condition);
    let percent = "/rules/0/serve/rollout/percent";
    vec![
        (with(&flag, "/value_type", json!(7)), vec![("/value_type", "wrong_type")]),
        (with(&flag, "/name", json!(["n"])), vec![("/name", "wrong_type")]),
        (with(&flag, "/colour", json!("red")), vec![("/colour", "unknown_field")]),
        (with(&flag, "/rules/0/a~1b", json!(1)), vec![("/rules/0/a~01b", "unknown_field")]),
        (with(&flag, "/variants/on", json!("yes")), vec![("/variants/on", "wrong_type")]),
        (with(&flag, percent, json!(5.00001)), vec![(percent, "out_of_range")]),
        (with(&flag, percent, json!(-1)), vec![(percent, "out_of_range")]),
        (with(&flag, percent, json!("5")), vec![(percent, "wrong_type")]),
        (with(&flag, percent, json!(101)), vec![(percent, "out_of_range")]),
        (when(json!({"audience": "nobody"})), vec![("/rules/0/when/audience", "unknown_audience")]),
        (
            when(json!({"any_of": [{"not": {"audience": "nobody"}}]})),
            vec![("/rules/0/when/any_of/0/not/audience", "unknown_audience")],
        ),
        (
            when(json!({"attribute": "user.a", "op": "matches", "value": "x".repeat(257)})),
            vec![("/rules/0/when/value", "pattern_too_large")],
        ),
        (
            when(json!({"attribute": "user.a", "op": "matches", "value": "(a{1000}){1000}"})),
            vec![("/rules/0/when/value", "pattern_too_large")],
        ),
        (
            with(&with(&flag, "/funnel", json!(["a-step"])), "/metrics", json!(["a-step"])),
            vec![("/metrics/0", "step_kind_conflict")],
        ),
        (with(&flag, "/funnel", json!(["order_paid"])), vec![("/funnel/0", "step_kind_conflict")]),
        (with(&flag, "/metrics", json!(["qr_shown"])), vec![("/metrics/0", "step_kind_conflict")]),
        (with(&flag, "/description", json!("a\u{0}b")), vec![("/description", "nul_character")]),
        (
            with(&with(&with(&flag, "/colour", json!(1)), "/owner", json!(2)), percent, json!(200)),
            vec![("/colour", "unknown_field"), ("/owner", "wrong_type"), (percent, "out_of_range")],
        ),
    ]
}

#[test]
fn every_fault_is_listed_with_its_place_and_nothing_stays_of_a_refusal() {
    let huidu = Huidu::start();
    let before = everything(&huidu, "wechat-scan-pay");
    for (document, expected) in faulty() {
        let problem = put(&huidu, None, &document).refused(422, "flag_invalid").json();
        let errors = problem["errors"].as_array().unwrap();
        for (pointer, code) in &expected {
            let found = errors.iter().find(|error| error["pointer"] == *pointer && error["code"] == *code);
            let found = found.unwrap_or_else(|| panic!("{pointer} {code} is not in {problem}"));
            assert!(found["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        }
        assert_eq!(errors.len(), expected.len(), "{problem}");
    }
    let missing = put(&huidu, None, &json!({"key": "bad"})).refused(422, "flag_invalid").json();
    for field in ["/value_type", "/variants", "/off_variant"] {
        assert!(
            missing["errors"].as_array().unwrap().iter().any(|e| e["pointer"] == field),
            "{field}: {missing}"
        );
    }
    let elsewhere =
        huidu.manage("PUT", "/flags/path", None, &ramp("other", 5.0, 0.0)).refused(422, "flag_invalid");
    assert_eq!(elsewhere.json()["errors"][0]["pointer"], "/key");
    let scan = read(&huidu, "/flags/wechat-scan-pay")["flag"].clone();
    put(&huidu, Some(1), &with(&scan, "/colour", json!(1))).refused(422, "flag_invalid");
    act(&huidu, "wechat-scan-pay", "rollout", Some(1), &json!({"percent": 1e9})).refused(422, "flag_invalid");
    assert_eq!(everything(&huidu, "wechat-scan-pay"), before);
    huidu.get("/v1/environments/production/flags/bad", ADMIN).refused(404, "not_found");
}

#[test]
fn text_that_is_no_plain_json_is_refused_with_its_place() {
    let huidu = Huidu::start();
    let before = everything(&huidu, "wechat-scan-pay");
    let deep = format!("{{\"rules\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let (nots, ends) = ("{\"not\":".repeat(10_000), "}".repeat(10_000));
    let nested = format!("{{\"rules\": [{{\"when\": {nots}{{}}{ends}}}]}}");
    for (body, code, line, pointer) in [
        ("{\"key\": \"f\",\n \"key\": \"g\"}", "json_duplicate_key", 2, Some("/key")),
        ("{\"variants\": {\"on\": true,\n\n\"on\": false}}", "json_duplicate_key", 3, Some("/variants/on")),
        (deep.as_str(), "json_too_deep", 1, None),
        (nested.as_str(), "json_too_deep", 1, None),
        ("{\"key\":\n}", "json_invalid", 2, None),
        ("{} {}", "json_invalid", 1, None),
        ("{\"min_effect\": NaN}", "json_invalid", 1, None),
        ("{\"name\": \"\\ud800\"}", "json_invalid", 1, None),
    ] {
        let headers = [("content-type", "application/json"), ("if-none-match", "*")];
        let path = "/v1/environments/production/flags/f";
        let problem = huidu.call("PUT", path, ADMIN, &headers, body.as_bytes()).refused(400, code).json();
        let what: String = body.chars().take(60).collect();
        assert_eq!(problem["line"], line, "{what}: {problem}");
        assert!(problem["column"].as_u64().is_some_and(|column| column > 0), "{what}: {problem}");
        assert!(problem["pointer"].is_string(), "{what}: {problem}");
        if let Some(pointer) = pointer {
            assert_eq!(problem["pointer"], pointer, "{what}");
        }
    }
    assert_eq!(everything(&huidu, "wechat-scan-pay"), before);
}

#[test]
fn a_rollout_moves_one_percentage_and_never_the_control() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("one", 5.0, 20.0));
    let roll = |version, body: Value| act(&huidu, "one", "rollout", version, &body);
    roll(None, json!({"percent": 10})).refused(428, "precondition_required");
    roll(Some(9), json!({"percent": 10})).refused(412, "version_conflict");
    let answer = roll(Some(1), json!({"percent": 10, "reason": "wider"})).expect(200).json();
    let rollout = &answer["flag"]["rules"][0]["serve"]["rollout"];
    assert_eq!((rollout["percent"].as_f64(), rollout["control"].as_f64()), (Some(10.0), Some(20.0)));
    let problem = roll(Some(2), json!({"percent": 90})).refused(422, "flag_invalid").json();
    assert!(problem["errors"].to_string().contains("80"), "says which percentage fits: {problem}");
    let problem = roll(Some(2), json!({"percent": 10.00001})).refused(422, "flag_invalid").json();
    assert_eq!(problem["errors"][0]["pointer"], "/rules/0/serve/rollout/percent");
    roll(Some(2), json!({"percent": 10, "rule": "none"})).refused(422, "flag_invalid");
    roll(Some(2), json!({"percent": 80})).expect(200);
    roll(Some(3), json!({"percent": 95, "control": 5})).expect(200);
    let two = json!([
        {"id": "a", "when": {"attribute": "user.x", "op": "eq", "value": 1}, "serve": {"rollout": {"percent": 1}}},
        {"id": "b", "serve": {"rollout": {"percent": 2}}},
    ]);
    huidu.create_flag(&with(&ramp("two", 1.0, 0.0), "/rules", two));
    let problem =
        act(&huidu, "two", "rollout", Some(1), &json!({"percent": 3})).refused(422, "flag_invalid").json();
    assert!(problem["errors"].to_string().contains("a, b"), "{problem}");
    let answer =
        act(&huidu, "two", "rollout", Some(1), &json!({"percent": 3, "rule": "b"})).expect(200).json();
    let percent = |at: usize| answer["flag"]["rules"][at]["serve"]["rollout"]["percent"].as_f64();
    assert_eq!((percent(0), percent(1)), (Some(1.0), Some(3.0)));
}

#[test]
fn rolling_back_brings_a_document_back_but_neither_the_state_nor_what_no_longer_fits() {
    let huidu = Huidu::start();
    huidu.create_flag(&with(&ramp("f", 100.0, 0.0), "/funnel", json!(["a-step"])));
    put(&huidu, Some(1), &ramp("f", 0.0, 0.0)).expect(200);
    act(&huidu, "f", "kill", None, &json!({})).expect(200);
    act(&huidu, "f", "rollback", None, &json!({"version": 1})).refused(428, "precondition_required");
    act(&huidu, "f", "rollback", Some(3), &json!({"version": 77})).refused(404, "not_found");
    let back =
        act(&huidu, "f", "rollback", Some(3), &json!({"version": 1, "reason": "back"})).expect(200).json();
    assert_eq!(
        (&back["version"], &back["state"], &back["stage"]),
        (&json!(4), &json!("killed"), &Value::Null)
    );
    assert_eq!(back["flag"]["rules"][0]["serve"]["rollout"]["percent"].as_f64(), Some(100.0));
    assert_eq!(decided(&huidu, "f", "u-1"), (false, "DISABLED".into()));
    put(&huidu, Some(4), &ramp("f", 0.0, 0.0)).expect(200);
    // Meanwhile another flag takes the step as a metric.
    huidu.create_flag(&with(&ramp("g", 0.0, 0.0), "/metrics", json!(["a-step"])));
    let problem =
        act(&huidu, "f", "rollback", Some(5), &json!({"version": 1})).refused(422, "flag_invalid").json();
    assert_eq!(problem["errors"][0]["code"], "step_kind_conflict");
    assert_eq!(read(&huidu, "/flags/f")["version"], 5);
}

#[test]
fn of_twenty_replaces_of_one_version_exactly_one_wins() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 1.0, 0.0));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let huidu = &huidu;
        let calls: Vec<_> = (2..22)
            .map(|n| scope.spawn(move || put(huidu, Some(1), &ramp("f", f64::from(n), 0.0)).status))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 19, "{statuses:?}");
    assert_eq!(read(&huidu, "/flags/f/versions")["items"].as_array().unwrap().len(), 2);
}
