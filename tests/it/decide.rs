//! Decisions over HTTP: who sees which entry, what an answer says, and what its token proves.

pub(crate) mod ofrep;

use serde_json::{Value, json};

use crate::fixture::*;

const SCAN: &str = "wechat-scan-pay";
const FRIEND: &str = "wechat-friend-pay";

/// An item of a category.
fn item(id: &str, category: &str) -> Value {
    json!({"id": id, "category": category, "price": 100})
}

fn body(user: &Value, goods: &Value) -> Value {
    json!({"placement": "checkout", "user": user, "order": {"id": "o-1", "currency": "CNY", "goods": goods}})
}

/// Sets the percentages of the rollout of a flag that is at version 1.
#[track_caller]
fn roll_out(huidu: &Huidu, flag: &str, percent: u32, control: u32) {
    let wish = json!({"rule": "ramp", "percent": percent, "control": control});
    huidu.manage("POST", &format!("/flags/{flag}/rollout"), Some(1), &wish).expect(200);
}

#[track_caller]
fn kill(huidu: &Huidu, flag: &str) {
    huidu.manage("POST", &format!("/flags/{flag}/kill"), None, &json!({})).expect(200);
}

/// The keys of the flags in the order of an answer.
fn listed(answer: &Value) -> Vec<String> {
    let entries = answer["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["flag"].as_str().unwrap().to_owned()).collect()
}

/// Makes a key of a role, in an environment or (`null`) in all.
#[track_caller]
pub(crate) fn make_key(huidu: &Huidu, role: &str, environment: &Value) -> String {
    let wish = json!({"name": format!("test {role}"), "role": role, "environment": environment});
    let answer = huidu.post("/v1/keys", ADMIN, &wish).expect(201).json();
    answer["key"].as_str().unwrap().to_owned()
}

#[track_caller]
fn check(entry: &Value, visible: bool, variant: &str, reason: &str, rule: &Value, arm: &Value) {
    let expected = json!([visible, variant, reason, rule, arm]);
    let got = json!([entry["visible"], entry["variant"], entry["reason"], entry["rule"], entry["arm"]]);
    assert_eq!(got, expected, "{entry}");
    // Exactly what is measured carries a token.
    assert_eq!(entry.get("exposure_token").is_some(), !arm.is_null(), "{entry}");
}

#[test]
fn only_testers_with_eligible_goods_see_the_scan_entry() {
    let huidu = Huidu::start();
    let excluded = "/v1/environments/production/audiences/wechat-excluded-goods?kind=goods";
    let headers = [("content-type", "text/plain"), ("if-match", "\"1\"")];
    huidu.call("PUT", excluded, ADMIN, &headers, b"g-ex\n").expect(200);
    let (tester, stranger) = (json!({"id": "tester-1"}), json!({"id": "stranger"}));
    let shoes = item("g-1", "shoes");
    let rows = [
        (&tester, json!([shoes]), Some("invited"), "TARGETING_MATCH"),
        (&tester, json!([item("g-1", "phone")]), None, "TARGETING_MATCH"),
        (&tester, json!([shoes, item("g-2", "phone")]), None, "TARGETING_MATCH"),
        (&tester, json!([{"id": "g-1", "price": 100}]), None, "TARGETING_MATCH"),
        (&tester, json!([item("g-ex", "shoes")]), None, "TARGETING_MATCH"),
        (&tester, json!([{"id": "g-1", "category": "shoes", "virtual": true}]), None, "TARGETING_MATCH"),
        (
            &tester,
            json!([{"id": "g-1", "category": "shoes", "virtual": false}]),
            Some("invited"),
            "TARGETING_MATCH",
        ),
        (&tester, json!([]), None, "TARGETING_MATCH"),
        (&stranger, json!([shoes]), None, "DEFAULT"),
    ];
    for (user, goods, rule, reason) in rows {
        let entry = huidu.entry(SCAN, user, &goods);
        let variant = if rule.is_some() { "on" } else { "off" };
        check(&entry, rule.is_some(), variant, reason, &json!(rule), &json!(rule.map(|_| "fixed")));
        assert_eq!(entry["value"], json!(rule.is_some()), "{entry}");
    }
    let entry =
        huidu.entry(SCAN, &tester, &json!([item("b", "shoes"), item("z", "phone"), item("a", "books")]));
    assert_eq!(entry["goods"], json!({"eligible": ["b", "a"], "ineligible": ["z"]}), "in the order sent");
}

#[test]
fn a_full_ramp_opens_by_version_and_region_and_never_for_what_nobody_sent() {
    let huidu = Huidu::start();
    roll_out(&huidu, SCAN, 100, 0);
    let rows = [
        (json!({"app_version": "10.9.0", "region": "CN-31"}), true),
        (json!({"app_version": "11", "region": "CN-31"}), true),
        (json!({"app_version": "10.8.9", "region": "CN-31"}), false),
        (json!({"app_version": "10.10.0", "region": "HK"}), false),
        (json!({"app_version": "10.10.0"}), false),
        (json!({"region": "CN-31"}), false),
        (json!({"app_version": 11, "region": "CN-31"}), false),
        (json!({"app_version": null, "region": "CN-31"}), false),
    ];
    for (mut user, open) in rows {
        user["id"] = "u-1".into();
        let entry = huidu.entry(SCAN, &user, &json!([item("g-1", "shoes")]));
        let (reason, rule, arm) = match open {
            true => ("SPLIT", json!("ramp"), json!("treatment")),
            false => ("DEFAULT", json!(null), json!(null)),
        };
        check(&entry, open, if open { "on" } else { "off" }, reason, &rule, &arm);
    }
}

#[test]
fn control_is_measured_and_sees_nothing() {
    let huidu = Huidu::start();
    roll_out(&huidu, SCAN, 0, 100);
    let user = json!({"id": "u-1", "app_version": "10.9.1", "region": "CN-31"});
    let entry = huidu.entry(SCAN, &user, &json!([item("g-1", "shoes")]));
    check(&entry, false, "off", "SPLIT", &json!("ramp"), &json!("control"));
    let entry = huidu.entry(SCAN, &user, &json!([item("g-1", "phone")]));
    check(&entry, false, "off", "TARGETING_MATCH", &json!(null), &json!(null));
}

#[test]
fn the_friend_entry_splits_its_cohort_into_both_variants() {
    let huidu = Huidu::start();
    roll_out(&huidu, FRIEND, 100, 0);
    let goods: Vec<Value> = (0..60).map(|n| item(&format!("g-{n}"), "shoes")).collect();
    let mut seen = std::collections::BTreeMap::new();
    for n in 0..60 {
        let user = json!({"id": format!("u-{n}"), "app_version": "10.9.1"});
        let entry = huidu.entry(FRIEND, &user, &json!(goods));
        assert_eq!((&entry["visible"], &entry["value"]), (&json!(true), &entry["variant"]), "{entry}");
        *seen.entry(entry["variant"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["copy_link", "share_card"]);
    assert!(seen.values().all(|users| *users >= 10), "{seen:?}");
    let tester = huidu.entry(FRIEND, &json!({"id": "tester-1"}), &json!(goods));
    check(&tester, true, "copy_link", "TARGETING_MATCH", &json!("invited"), &json!("fixed"));
    let eligible = tester["goods"]["eligible"].as_array().unwrap().len();
    assert!((10..=50).contains(&eligible), "half of the goods: {eligible}");
}

#[test]
fn entries_stand_in_order_and_archived_ones_not_at_all() {
    let huidu = Huidu::start();
    for (key, position) in [("last", Some(30)), ("b-10", Some(10)), ("first", Some(5)), ("gone", Some(1))] {
        let mut document = ramp(key, 100.0, 0.0);
        document["position"] = json!(position);
        huidu.create_flag(&document);
    }
    let mut elsewhere = ramp("elsewhere", 100.0, 0.0);
    elsewhere["placement"] = "cart".into();
    huidu.create_flag(&elsewhere);
    huidu.manage("POST", "/flags/gone/archive", Some(1), &json!({})).expect(200);
    let ask = |placement: &str| {
        let body = json!({"placement": placement, "user": {"id": "u-1"}});
        huidu.post("/v1/decisions", &huidu.client, &body).expect(200).json()
    };
    let answer = ask("checkout");
    assert_eq!(listed(&answer), ["first", "b-10", SCAN, FRIEND, "last"]);
    assert_eq!(answer["environment"], "production");
    assert!(answer["snapshot"].as_i64().unwrap() > 0);
    assert_eq!(listed(&ask("cart")), ["elsewhere"]);
    assert!(listed(&ask("nowhere")).is_empty() && listed(&ask("")).is_empty());
    let entries = answer["entries"].as_array().unwrap();
    for entry in entries {
        let gated = entry["flag"] == SCAN || entry["flag"] == FRIEND;
        assert_eq!(entry.get("goods").is_some(), gated, "{entry}");
    }
}

#[test]
fn a_client_key_reads_nothing_of_the_rollout() {
    let huidu = Huidu::start();
    roll_out(&huidu, SCAN, 100, 0);
    let user = json!({"id": "u-1", "app_version": "10.9.1", "region": "CN-31"});
    let goods = json!([item("g-1", "shoes")]);
    let ofrep = json!({"context": {"targetingKey": "u-1", "app_version": "10.9.1", "region": "CN-31", "goods": goods}});
    let calls = [
        ("/v1/decisions", body(&user, &goods)),
        ("/ofrep/v1/evaluate/flags", ofrep.clone()),
        ("/ofrep/v1/evaluate/flags/wechat-scan-pay", ofrep),
    ];
    for (path, body) in calls {
        let client = huidu.post(path, &huidu.client, &body).expect(200).text;
        for word in [
            "rule",
            "ramp",
            "invited",
            "arm\"",
            "percent",
            "salt",
            "wechat-testers",
            "wechat-excluded",
            "stage",
        ] {
            assert!(!client.contains(word), "{path} tells a client `{word}`: {client}");
        }
        for key in [&huidu.server, ADMIN] {
            let text = huidu.post(path, key, &body).expect(200).text;
            assert!(text.contains("\"rule\":\"ramp\""), "{path}: {text}");
        }
    }
    let entries = huidu.post("/v1/decisions", &huidu.client, &body(&user, &goods)).json();
    let entry = &entries["entries"][0];
    assert_eq!((&entry["visible"], &entry["reason"]), (&json!(true), &json!("SPLIT")), "{entry}");
}

#[test]
fn a_killed_entry_is_off_for_everybody_and_carries_no_token() {
    let huidu = Huidu::start();
    kill(&huidu, SCAN);
    for user in ["tester-1", "stranger"] {
        let entry = huidu.entry(SCAN, &json!({"id": user}), &json!([item("g-1", "shoes")]));
        check(&entry, false, "off", "DISABLED", &json!(null), &json!(null));
        assert!(entry.get("goods").is_none(), "no gate was evaluated: {entry}");
    }
}

#[test]
fn without_a_unit_only_the_flags_that_need_it_fail() {
    let huidu = Huidu::start();
    let mut plain = ramp("plain", 0.0, 0.0);
    plain["rules"] = json!([]);
    plain["default_variant"] = "on".into();
    huidu.create_flag(&plain);
    let body = json!({"placement": "checkout", "user": {}});
    let answer = huidu.post("/v1/decisions", &huidu.client, &body).expect(200).json();
    for entry in answer["entries"].as_array().unwrap() {
        let expected = match entry["flag"].as_str().unwrap() {
            "plain" => json!([true, "STATIC", null]),
            _ => json!([false, "ERROR", "unit_missing"]),
        };
        assert_eq!(json!([entry["visible"], entry["reason"], entry["code"]]), expected, "{entry}");
        assert!(entry.get("exposure_token").is_none(), "{entry}");
    }
    assert_eq!(answer["entries"].as_array().unwrap().len(), 3);
}

#[test]
fn a_token_is_the_same_on_every_call_and_differs_by_user() {
    let huidu = Huidu::start();
    roll_out(&huidu, SCAN, 100, 0);
    let token = |user: &str, key: &str| {
        let user = json!({"id": user, "app_version": "10.9.1", "region": "CN-31"});
        let answer = huidu.post("/v1/decisions", key, &body(&user, &json!([item("g-1", "shoes")]))).json();
        answer["entries"][0]["exposure_token"].as_str().unwrap().to_owned()
    };
    let first = token("u-1", &huidu.client);
    assert_eq!(first, token("u-1", &huidu.client));
    assert_eq!(first, token("u-1", &huidu.server));
    assert_ne!(first, token("u-2", &huidu.client));
    assert!(!first.contains("u-1"));
}

#[test]
fn a_token_proves_what_was_shown() {
    let huidu = Huidu::start();
    let token = huidu.tester_token();
    let verify = |key: &str, token: &str| huidu.post("/v1/tokens/verify", key, &json!({"token": token}));
    let answer = verify(&huidu.server, &token).expect(200).json();
    let expected = json!({
        "valid": true, "environment": "production", "flag": SCAN, "stage": 1, "current_stage": 1,
        "state": "live", "open": true, "arm": "fixed", "variant": "on", "visible": true, "unit": "tester-1",
        "day": answer["day"],
    });
    assert_eq!(answer, expected);
    assert_eq!(answer["day"].as_str().unwrap().len(), "2026-11-24".len());
    verify(&huidu.client, &token).refused(403, "forbidden");
    for (at, _) in token.char_indices() {
        let (before, rest) = token.split_at(at);
        let (here, after) = rest.split_at(1);
        let other = if here == "A" { "B" } else { "A" };
        let tampered = format!("{before}{other}{after}");
        let answer = verify(&huidu.server, &tampered).expect(200).json();
        assert_eq!(answer["valid"], false, "character {at}: {answer}");
    }
    let (short, _) = token.split_at(token.len() - 1);
    for bad in ["", "x", short, &format!("{token}A"), &format!("{token} ")] {
        assert_eq!(
            verify(&huidu.server, bad).expect(200).json(),
            json!({"valid": false, "code": "token_invalid"})
        );
    }
    let foreign = make_key(&huidu, "server", &json!("staging"));
    assert_eq!(verify(&foreign, &token).expect(200).json(), json!({"valid": false, "code": "token_foreign"}));
    // Whatever becomes of the variants: control was never shown the entry.
    huidu.create_flag(&ramp("held-back", 0.0, 100.0));
    let entry = huidu.entry("held-back", &json!({"id": "u-1"}), &json!([]));
    let control = entry["exposure_token"].as_str().unwrap();
    let mut turned = ramp("held-back", 0.0, 100.0);
    turned["variants"] = json!({"off": false, "never": false, "on": true});
    turned["off_variant"] = json!("never");
    turned["rules"][0]["serve"]["rollout"]["split"] = json!({"on": 1});
    huidu.manage("PUT", "/flags/held-back", Some(1), &turned).expect(200);
    let answer = verify(&huidu.server, control).expect(200).json();
    assert_eq!(json!([answer["arm"], answer["visible"]]), json!(["control", false]));
    kill(&huidu, SCAN);
    let answer = verify(&huidu.server, &token).expect(200).json();
    assert_eq!(json!([answer["valid"], answer["open"], answer["state"]]), json!([true, false, "killed"]));
}
