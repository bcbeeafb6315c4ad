//! Signed units: where an environment demands them, a browser cannot name another shopper.

mod languages;
mod rotation;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use crate::fixture::*;

/// What the shop's backend sends for `user`.
pub(crate) fn sign(secret: &str, user: &str) -> String {
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(user.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a unit secret of `production`: id and text.
#[track_caller]
fn secret(huidu: &Huidu) -> (String, String) {
    let made = huidu.manage("POST", "/unit-secrets", None, &json!({})).expect(201).json();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

/// Makes `production` demand signed units, or not.
#[track_caller]
fn demand(huidu: &Huidu, required: bool) -> Value {
    huidu.manage("PATCH", "", None, &json!({"require_signed_units": required})).expect(200).json()
}

/// A flag that is open for everybody with a unit.
fn open(key: &str) -> Value {
    ramp(key, 100.0, 0.0)
}

/// The context of `user` with a signature.
fn user(id: &str, signature: Option<&str>) -> Value {
    let mut user = json!({ "id": id });
    if let Some(signature) = signature {
        user["unitSignature"] = json!(signature);
    }
    user
}

fn decide(huidu: &Huidu, key: &str, user: &Value) -> Answer {
    huidu.post("/v1/decisions", key, &json!({"placement": "checkout", "user": user}))
}

/// What a decision's entry of `flag` says in one word: its reason, or the code of its error.
fn entry(answer: &Answer, flag: &str) -> String {
    let answer = answer.json();
    let entries = answer["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["flag"] == flag).unwrap();
    let word = if entry["reason"] == "ERROR" { &entry["code"] } else { &entry["reason"] };
    assert_eq!(entry["visible"] == true, entry.get("exposure_token").is_some(), "{entry}");
    word.as_str().unwrap().to_owned()
}

fn ofrep(user: &Value) -> Value {
    let mut context = user.clone();
    let id = context.as_object_mut().unwrap().remove("id").unwrap();
    context["targetingKey"] = id;
    json!({ "context": context })
}

const BULK: &str = "/ofrep/v1/evaluate/flags";

#[test]
fn a_client_must_prove_its_unit_and_nobody_else() {
    let huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let (_, text) = secret(&huidu);
    demand(&huidu, true);
    let (good, others) = (sign(&text, "u-1"), sign(&text, "u-2"));
    let (upper, cut) = (good.to_uppercase(), good.split_at(62).0);
    let rows = [
        (Some(good.as_str()), 200, "SPLIT"),
        (Some(upper.as_str()), 200, "SPLIT"),
        (None, 200, "unit_missing"),
        (Some(""), 200, "unit_missing"),
        (Some(others.as_str()), 400, ""),
        (Some(cut), 400, ""),
        (Some("x"), 400, ""),
    ];
    for (signature, status, word) in rows {
        let user = user("u-1", signature);
        let decisions = decide(&huidu, &huidu.client, &user);
        let single = huidu.post(&format!("{BULK}/f"), &huidu.client, &ofrep(&user));
        let bulk = huidu.post(BULK, &huidu.client, &ofrep(&user));
        let goods = json!({"placement": "checkout", "user": user, "goods": [{"id": "g-1"}]});
        let badges = huidu.post("/v1/goods/eligibility", &huidu.client, &goods);
        if status == 400 {
            for refused in [&decisions, &single, &bulk, &badges] {
                refused.clone().refused(400, "unit_signature_invalid");
            }
            for refused in [&single, &bulk] {
                crate::decide::ofrep::ofrep_refused(refused, 400, "INVALID_CONTEXT");
            }
            assert_eq!(single.json()["key"], "f");
        } else {
            assert_eq!(entry(&decisions.expect(200), "f"), word, "{signature:?}");
            let open = word == "SPLIT";
            let flags = bulk.expect(200).json()["flags"].as_array().unwrap().clone();
            let f = flags.iter().find(|flag| flag["key"] == "f").unwrap().clone();
            assert_eq!(f["errorCode"], if open { json!(null) } else { json!("TARGETING_KEY_MISSING") });
            assert_eq!(single.status, if open { 200 } else { 400 }, "{single:?}");
            let badges = badges.expect(200).json()["goods"][0]["entries"].clone();
            assert_eq!(badges.as_array().unwrap().contains(&json!("f")), open, "{signature:?}");
        }
        // Who holds a server's key vouches for its users itself.
        for key in [huidu.server.as_str(), ADMIN] {
            assert_eq!(entry(&decide(&huidu, key, &user).expect(200), "f"), "SPLIT", "{signature:?}");
        }
    }
    // A guest has no id, so nothing is to be signed; an old signature beside it proves nothing.
    for guest in [json!({}), json!({"unitSignature": good})] {
        assert_eq!(entry(&decide(&huidu, &huidu.client, &guest).expect(200), "f"), "unit_missing");
    }
}

#[test]
fn what_nobody_demands_is_not_looked_at() {
    let huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    secret(&huidu);
    for signature in [None, Some("wrong")] {
        let answer = decide(&huidu, &huidu.client, &user("u-1", signature)).expect(200);
        assert_eq!(entry(&answer, "f"), "SPLIT");
    }
    demand(&huidu, true);
    decide(&huidu, &huidu.client, &user("u-1", Some("wrong"))).refused(400, "unit_signature_invalid");
    demand(&huidu, false);
    decide(&huidu, &huidu.client, &user("u-1", Some("wrong"))).expect(200);
    // Another environment demands for itself.
    demand(&huidu, true);
    let staging = crate::decide::make_key(&huidu, "client", &json!("staging"));
    decide(&huidu, &staging, &user("u-1", Some("wrong"))).expect(200);
}

#[test]
fn a_flag_of_another_unit_errs_alone_for_clients() {
    let huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let mut device = open("device");
    device["unit"] = json!("user.device_id");
    huidu.create_flag(&device);
    let mut above = open("above");
    above["prerequisites"] = json!([{"flag": "device", "variants": ["on"]}]);
    huidu.create_flag(&above);
    let (_, text) = secret(&huidu);
    demand(&huidu, true);
    let mut user = user("u-1", Some(&sign(&text, "u-1")));
    user["device_id"] = json!("d-1");
    let answer = decide(&huidu, &huidu.client, &user).expect(200);
    for (flag, word) in
        [("f", "SPLIT"), ("device", "unit_signature_invalid"), ("above", "unit_signature_invalid")]
    {
        assert_eq!(entry(&answer, flag), word, "{flag}");
    }
    let bulk = huidu.post(BULK, &huidu.client, &ofrep(&user)).expect(200);
    assert!(bulk.header("etag").is_some(), "{bulk:?}");
    for flag in bulk.json()["flags"].as_array().unwrap() {
        let alone = flag["key"] == "device" || flag["key"] == "above";
        assert_eq!(flag["errorCode"] == "INVALID_CONTEXT", alone, "{flag}");
    }
    let single = huidu.post(&format!("{BULK}/device"), &huidu.client, &ofrep(&user));
    crate::decide::ofrep::ofrep_refused(&single, 400, "INVALID_CONTEXT");
    assert_eq!((single.code(), &single.json()["key"]), ("unit_signature_invalid".into(), &json!("device")));
    let answer = decide(&huidu, &huidu.server, &user).expect(200);
    assert_eq!([entry(&answer, "device"), entry(&answer, "above")], ["SPLIT", "SPLIT"]);
    // What is shut says so first.
    huidu.manage("POST", "/flags/device/kill", None, &json!({})).expect(200);
    assert_eq!(entry(&decide(&huidu, &huidu.client, &user), "device"), "DISABLED");
    let series =
        r#"huidu_decision_errors_total{code="unit_signature_invalid",environment="production",flag="above"}"#;
    assert_eq!(huidu.metric(series), Some(2.0));
}

#[test]
fn conditions_on_an_unproven_id_are_unknown_and_others_hold() {
    let huidu = Huidu::start();
    let rule = |id: &str, attribute: &str, value: &str| json!({"id": id, "serve": {"variant": "on"}, "when": {"attribute": attribute, "op": "eq", "value": value}});
    for (flag, rule) in
        [("by-id", rule("r", "user.id", "u-1")), ("by-region", rule("r", "user.region", "CN-31"))]
    {
        let document = json!({"key": flag, "placement": "checkout", "value_type": "boolean", "salt": "s", "rules": [rule],
                              "variants": {"off": false, "on": true}, "off_variant": "off"});
        huidu.create_flag(&document);
    }
    secret(&huidu);
    demand(&huidu, true);
    let unproven = json!({"id": "u-1", "region": "CN-31"});
    for (key, by_id) in [(&huidu.client, "DEFAULT"), (&huidu.server, "TARGETING_MATCH")] {
        let body = json!({"placement": "checkout", "user": unproven});
        let answer = huidu.post("/v1/decisions", key, &body).expect(200).json();
        let reason = |flag: &str| {
            let entries = answer["entries"].as_array().unwrap();
            entries.iter().find(|entry| entry["flag"] == flag).unwrap()["reason"].clone()
        };
        assert_eq!((reason("by-id"), reason("by-region")), (json!(by_id), json!("TARGETING_MATCH")));
    }
}
