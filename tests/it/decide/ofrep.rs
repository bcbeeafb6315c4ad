//! The OpenFeature Remote Evaluation Protocol, held against its own OpenAPI file.

use serde_json::{Value, json};

use super::{item, kill, make_key, roll_out};
use crate::fixture::*;

const BULK: &str = "/ofrep/v1/evaluate/flags";

/// Fails unless `value` is what the protocol's file calls `schema`.
#[track_caller]
pub(crate) fn conforms(schema: &str, value: &Value) {
    let file: Value =
        serde_json::from_str(include_str!("../../data/ofrep-openapi-0.3.0.checkable.json")).unwrap();
    let root = json!({"$ref": format!("#/components/schemas/{schema}"), "components": file["components"]});
    let validator = jsonschema::validator_for(&root).unwrap();
    let faults: Vec<String> = validator.iter_errors(value).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "no {schema}: {faults:?} in {value}");
}

/// Fails unless it is a refusal that an OFREP client can read.
#[track_caller]
pub(crate) fn ofrep_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["errorCode"], code, "{answer:?}");
    assert!(!body["errorDetails"].as_str().unwrap().is_empty(), "{answer:?}");
    assert_eq!(body["metadata"], json!({}), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
}

fn single(huidu: &Huidu, key: &str, body: &Value) -> Answer {
    huidu.post(&format!("{BULK}/{key}"), &huidu.client, body)
}

fn context(user: &str) -> Value {
    json!({"context": {"targetingKey": user}})
}

/// A flag without rules: it needs no unit.
fn fixed(key: &str, value_type: &str, off: &Value, on: &Value) -> Value {
    json!({"key": key, "value_type": value_type, "variants": {"off": off, "on": on},
           "off_variant": "off", "default_variant": "on", "salt": key})
}

/// What the protocol fixes of every success, here.
#[track_caller]
fn check_success(flag: &Value) {
    conforms("serverEvaluationSuccess", flag);
    assert_ne!(flag["reason"], "DEFAULT", "{flag}");
    assert!(flag.get("value").is_some() && flag["variant"].is_string(), "{flag}");
    let metadata = flag["metadata"].as_object().unwrap();
    assert!(
        metadata.values().all(|value| !value.is_object() && !value.is_array() && !value.is_null()),
        "{flag}"
    );
    assert_eq!(metadata["flagSetId"], "production");
    assert!(metadata["version"].as_i64().unwrap() >= 1, "{flag}");
    assert!(!metadata.contains_key("snapshot"), "an unrelated change would mark every flag as changed");
}

#[test]
fn values_of_every_type_keep_it() {
    let huidu = Huidu::start();
    let rows = [
        ("boolean", json!(false), json!(true), "true"),
        ("string", json!(""), json!("\u{7070}\u{5ea6} \"x\""), "\"\u{7070}\u{5ea6} \\\"x\\\"\""),
        ("integer", json!(0), json!(1), "1"),
        ("float", json!(0.5), json!(1), "1.0"),
        ("object", json!({}), json!({"a": [1, {"b": null}]}), "{\"a\":[1,{\"b\":null}]}"),
    ];
    for (value_type, off, on, text) in &rows {
        let key = format!("of.{value_type}");
        huidu.create_flag(&fixed(&key, value_type, off, on));
        let answer = single(&huidu, &key, &context("u-1")).expect(200);
        assert!(answer.text.contains(&format!("\"value\":{text},")), "{}", answer.text);
        let flag = answer.json();
        check_success(&flag);
        let got = json!([flag["key"], flag["variant"], flag["reason"]]);
        assert_eq!(got, json!([key, "on", "STATIC"]));
        let bulk = huidu.post(BULK, &huidu.client, &context("u-1")).expect(200);
        assert!(bulk.text.contains(&answer.text), "bulk says the same: {}", bulk.text);
    }
}

#[test]
fn the_bulk_answer_is_the_protocols_own() {
    let huidu = Huidu::start();
    let answer = huidu.post(BULK, &huidu.client, &context("tester-1")).expect(200);
    let body = answer.json();
    conforms("bulkEvaluationSuccess", &body);
    body["flags"].as_array().unwrap().iter().for_each(check_success);
    assert_eq!(body["metadata"]["flagSetId"], "production");
    assert!(body["metadata"]["snapshot"].as_i64().unwrap() > 0);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("etag").unwrap().starts_with('"'));
}

#[test]
fn a_default_is_never_called_default() {
    let huidu = Huidu::start();
    let body = json!({"context": {"targetingKey": "u-1", "goods": [item("g-1", "shoes")]}});
    let flag = single(&huidu, "wechat-scan-pay", &body).expect(200).json();
    check_success(&flag);
    assert_eq!(json!([flag["reason"], flag["value"]]), json!(["UNKNOWN", false]));
}

#[test]
fn killed_and_archived_flags_answer_their_off_variant() {
    let huidu = Huidu::start();
    huidu.create_flag(&fixed("old", "boolean", &json!(false), &json!(true)));
    huidu.manage("POST", "/flags/old/archive", Some(1), &json!({})).expect(200);
    kill(&huidu, "wechat-scan-pay");
    let bulk = huidu.post(BULK, &huidu.client, &context("tester-1")).expect(200).json();
    for key in ["old", "wechat-scan-pay"] {
        let flag = single(&huidu, key, &context("tester-1")).expect(200).json();
        check_success(&flag);
        assert_eq!(
            json!([flag["reason"], flag["value"], flag["variant"]]),
            json!(["DISABLED", false, "off"])
        );
        assert!(flag["metadata"].get("exposureToken").is_none(), "{flag}");
        assert!(bulk["flags"].as_array().unwrap().contains(&flag), "{bulk}");
        // A flag that is shut needs no unit.
        single(&huidu, key, &json!({})).expect(200);
    }
}

#[test]
fn a_missing_flag_is_named() {
    let huidu = Huidu::start();
    for key in ["nobody", "a.b", "x%20y", "wechat-scan-pay.x"] {
        let answer = single(&huidu, key, &context("u-1"));
        ofrep_refused(&answer, 404, "FLAG_NOT_FOUND");
        conforms("flagNotFound", &answer.json());
    }
    assert_eq!(single(&huidu, "nobody", &json!({})).json()["key"], "nobody");
}

#[test]
fn a_missing_targeting_key_fails_only_the_flags_that_need_it() {
    let huidu = Huidu::start();
    huidu.create_flag(&fixed("plain", "boolean", &json!(false), &json!(true)));
    let bodies = [
        json!({}),
        json!({"context": {}}),
        json!({"context": {"targetingKey": ""}}),
        json!({"context": {"region": "CN-31"}}),
    ];
    for body in &bodies {
        let bulk = huidu.post(BULK, &huidu.client, body).expect(200).json();
        conforms("bulkEvaluationSuccess", &bulk);
        for flag in bulk["flags"].as_array().unwrap() {
            if flag["key"] == "plain" {
                check_success(flag);
                assert!(flag["metadata"].get("exposureToken").is_none(), "{flag}");
            } else {
                assert_eq!(flag["errorCode"], "TARGETING_KEY_MISSING", "{flag}");
                assert_eq!(flag["metadata"], json!({}), "{flag}");
            }
        }
        assert_eq!(bulk["flags"].as_array().unwrap().len(), 3);
        let answer = single(&huidu, "wechat-scan-pay", body);
        ofrep_refused(&answer, 400, "TARGETING_KEY_MISSING");
        conforms("evaluationFailure", &answer.json());
        assert_eq!(single(&huidu, "plain", body).expect(200).json()["value"], true);
    }
}

#[test]
fn a_bad_body_gets_the_protocols_error() {
    let huidu = Huidu::start();
    let rows: [(&[u8], &str); 5] = [
        (b"{", "PARSE_ERROR"),
        (b"", "PARSE_ERROR"),
        (b"{\"context\": 7}", "INVALID_CONTEXT"),
        (b"{\"context\": {\"targetingKey\": 7}}", "INVALID_CONTEXT"),
        (b"{\"context\": {\"targetingKey\": \"u\", \"goods\": [{}]}}", "INVALID_CONTEXT"),
    ];
    for (body, code) in rows {
        let json = [("content-type", "application/json")];
        let answer = huidu.call("POST", BULK, &huidu.client, &json, body);
        ofrep_refused(&answer, 400, code);
        conforms("bulkEvaluationFailure", &answer.json());
        let answer = huidu.call("POST", &format!("{BULK}/wechat-scan-pay"), &huidu.client, &json, body);
        ofrep_refused(&answer, 400, code);
        conforms("evaluationFailure", &answer.json());
    }
}

#[test]
fn keys_in_paths_are_decoded_once() {
    let huidu = Huidu::start();
    huidu.create_flag(&fixed("a.b-c_d", "boolean", &json!(false), &json!(true)));
    let rows = [
        ("/ofrep/v1/evaluate/flags/a.b-c_d", 200),
        ("/ofrep/v1/evaluate/flags/a%2Eb%2Dc_d", 200),
        ("/ofrep/v1/evaluate/flags/wechat%2Dscan-pay", 200),
        ("/ofrep/v1/evaluate/fl%61gs/wechat-scan-pay", 200),
        ("/ofrep/v1/evaluate/fl%61gs", 200),
        ("/ofrep/v1/evaluate/flags/wechat%252Dscan-pay", 404),
        ("/ofrep/v1/evaluate/flags/wechat-scan-pay/", 404),
        ("/ofrep/v1/evaluate/flags/", 404),
        ("/ofrep/v1/evaluate/flagsx", 404),
    ];
    for (path, status) in rows {
        let answer = huidu.post(path, &huidu.client, &context("tester-1"));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[test]
fn nested_and_flat_orders_and_goods_are_the_same_facts() {
    let huidu = Huidu::start();
    let mut document = ramp("big", 100.0, 0.0);
    document["rules"][0]["when"] = json!({"attribute": "order.amount", "op": "gte", "value": 500});
    huidu.create_flag(&document);
    let goods = json!([{"id": "g-1", "category": "shoes", "price": 250, "quantity": 2}]);
    let rows = [
        ("wechat-scan-pay", json!({"goods": goods}), true),
        ("wechat-scan-pay", json!({"goods.id": "g-1", "goods.category": "shoes"}), true),
        ("wechat-scan-pay", json!({"goods.id": "g-1", "goods.category": "phone"}), false),
        ("wechat-scan-pay", json!({"goods.category": "shoes"}), false),
        ("wechat-scan-pay", json!({}), false),
        ("big", json!({"order": {"id": "o-1", "amount": 500}}), true),
        ("big", json!({"order.amount": 500}), true),
        ("big", json!({"order": {"amount": 499}}), false),
        ("big", json!({"order.amount": 499}), false),
        ("big", json!({"goods": goods}), true),
        ("big", json!({"goods.id": "g-1", "goods.price": 499}), false),
        ("big", json!({}), false),
    ];
    for (flag, mut context, open) in rows {
        context["targetingKey"] = "tester-1".into();
        let body = json!({"context": context});
        assert_eq!(single(&huidu, flag, &body).expect(200).json()["value"], open, "{flag} {body}");
    }
}

/// A bulk call with an `If-None-Match` and a query.
fn conditional(huidu: &Huidu, key: &str, body: &Value, tag: &str, query: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("if-none-match", tag)];
    huidu.call("POST", &format!("{BULK}{query}"), key, &headers, body.to_string().as_bytes())
}

#[test]
fn the_same_question_of_an_unchanged_snapshot_is_not_answered_twice() {
    let huidu = Huidu::start();
    let (body, client) = (context("tester-1"), huidu.client.clone());
    let first = huidu.post(BULK, &client, &body).expect(200);
    let (tag, snapshot) =
        (first.header("etag").unwrap().to_owned(), first.json()["metadata"]["snapshot"].clone());
    let other = make_key(&huidu, "client", &json!("production"));
    let changed = json!({"context": {"targetingKey": "tester-1", "goods": [item("g-1", "shoes")]}});
    let rows = [
        (&client, &body, tag.clone(), String::new(), 304),
        (&client, &body, format!("W/{tag}"), String::new(), 304),
        (&client, &body, format!("\"x\", W/\"y\",{tag}"), String::new(), 304),
        (&client, &body, "*".to_owned(), String::new(), 304),
        (&client, &body, tag.clone(), format!("?flagConfigEtag={snapshot}"), 304),
        (&client, &body, tag.clone(), format!("?flagConfigEtag={snapshot}0"), 200),
        (&client, &body, "*".to_owned(), "?flagConfigEtag=abc".to_owned(), 200),
        (&client, &body, tag.trim_matches('"').to_owned(), String::new(), 200),
        (&client, &body, "\"x\"".to_owned(), String::new(), 200),
        (&client, &changed, tag.clone(), String::new(), 200),
        (&other, &body, tag.clone(), String::new(), 200),
    ];
    for (key, body, sent, query, status) in rows {
        let answer = conditional(&huidu, key, body, &sent, &query);
        assert_eq!(answer.status, status, "{sent} {query}: {answer:?}");
        assert_eq!(answer.text.is_empty(), status == 304, "{answer:?}");
    }
    let repeated = conditional(&huidu, &client, &body, &tag, "");
    assert_eq!(repeated.header("etag"), Some(&*tag));
    kill(&huidu, "wechat-friend-pay");
    let answer = conditional(&huidu, &client, &body, &tag, "").expect(200);
    assert_ne!(answer.header("etag"), Some(&*tag));
}

#[test]
fn a_body_that_cannot_be_read_is_never_not_modified() {
    let huidu = Huidu::start();
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    ofrep_refused(&huidu.call("POST", BULK, &huidu.client, &headers, b"{"), 400, "PARSE_ERROR");
}

#[test]
fn metadata_carries_the_same_token_as_a_decision() {
    let huidu = Huidu::start();
    roll_out(&huidu, "wechat-scan-pay", 100, 0);
    let body = json!({"context": {"targetingKey": "tester-1", "goods": [item("g-1", "shoes")]}});
    let flag = single(&huidu, "wechat-scan-pay", &body).expect(200).json();
    check_success(&flag);
    assert_eq!(flag["metadata"]["exposureToken"], huidu.tester_token());
    assert!(flag["metadata"].get("rule").is_none(), "{flag}");
    let flag = huidu.post(&format!("{BULK}/wechat-scan-pay"), &huidu.server, &body).expect(200).json();
    check_success(&flag);
    assert_eq!(flag["metadata"]["rule"], "invited");
}

#[test]
fn refusals_before_evaluation_are_the_protocols_too() {
    let huidu = Huidu::start_with(&[("FAILED_AUTH_PER_MINUTE", "2")]);
    let body = context("u-1");
    let large = json!({"context": {"targetingKey": "u-1", "x": "y".repeat(70_000)}});
    let analyst = make_key(&huidu, "analyst", &json!("production"));
    for path in [BULK.to_owned(), format!("{BULK}/wechat-scan-pay")] {
        ofrep_refused(&huidu.post(&path, "", &body), 401, "GENERAL");
        ofrep_refused(&huidu.post(&path, "wrong", &body), 401, "GENERAL");
        ofrep_refused(&huidu.post(&path, &analyst, &body), 403, "GENERAL");
        ofrep_refused(&huidu.post(&path, &huidu.client, &large), 413, "GENERAL");
        ofrep_refused(&huidu.get(&path, &huidu.client), 405, "GENERAL");
        let text = [("content-type", "text/plain")];
        ofrep_refused(&huidu.call("POST", &path, &huidu.client, &text, b"{}"), 415, "GENERAL");
    }
    let limited = huidu.post(BULK, "wrong", &body);
    ofrep_refused(&limited, 429, "GENERAL");
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
}
