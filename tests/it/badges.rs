//! `POST /v1/goods/eligibility`: each item as if it were the whole order.

use serde_json::{Value, json};

use crate::fixture::*;

fn ask(huidu: &Huidu, user: &Value, goods: &Value) -> Answer {
    let body = json!({"placement": "checkout", "user": user, "goods": goods});
    huidu.post("/v1/goods/eligibility", &huidu.client, &body)
}

/// A flag that the user sees for orders of at least 100, by a rule on the order's amount.
fn for_large_orders() -> Value {
    json!({
        "key": "large", "placement": "checkout", "position": 99, "value_type": "boolean", "salt": "s",
        "variants": {"off": false, "on": true}, "off_variant": "off",
        "goods": {"exclude": [{"attribute": "goods.virtual", "op": "eq", "value": true}]},
        "rules": [{"id": "all", "when": {"attribute": "order.amount", "op": "gte", "value": 100}, "serve": {"variant": "on"}}],
    })
}

#[test]
fn each_item_is_decided_alone_and_agrees_with_an_order_of_it() {
    let huidu = Huidu::start();
    huidu.create_flag(&for_large_orders());
    let goods = json!([
        {"id": "g-1", "category": "shoes", "price": 60, "quantity": 2},
        {"id": "g-2", "category": "phone", "price": 99},
        {"id": "g-3", "category": "books", "price": 5000, "virtual": true},
        {"id": "g-4", "category": "books"},
        {"id": "g-1", "category": "shoes", "price": 1},
    ]);
    let user = json!({"id": "tester-1"});
    let answer = ask(&huidu, &user, &goods).expect(200).json();
    assert!(answer["snapshot"].is_i64() && answer.get("unavailable").is_none(), "{answer}");
    let entries = answer["goods"].as_array().unwrap();
    assert_eq!(entries.len(), 5);
    for (item, answer) in goods.as_array().unwrap().iter().zip(entries) {
        assert_eq!(answer["id"], item["id"]);
        for flag in ["wechat-scan-pay", "wechat-friend-pay", "large"] {
            let alone = huidu.entry(flag, &user, &json!([item]));
            let listed = answer["entries"].as_array().unwrap().contains(&json!(flag));
            assert_eq!(json!(listed), alone["visible"], "{flag} {item}");
        }
    }
    assert!(
        entries[0]["entries"].as_array().unwrap().contains(&json!("large")),
        "120 is a large order: {answer}"
    );
    let excluded = entries[2]["entries"].as_array().unwrap();
    assert!(!excluded.contains(&json!("large")) && !excluded.contains(&json!("wechat-scan-pay")), "{answer}");
}

#[test]
fn badges_are_neither_counted_nor_measured() {
    let huidu = Huidu::start();
    let answer =
        ask(&huidu, &json!({"id": "tester-1"}), &json!([{"id": "g-1", "category": "shoes"}])).expect(200);
    assert!(!answer.text.contains("token"), "{}", answer.text);
    let series = "huidu_decisions_total{environment=\"production\",flag=\"wechat-scan-pay\",reason=\"TARGETING_MATCH\",variant=\"on\"}";
    assert_eq!(huidu.metric(series), Some(0.0));
}

#[test]
fn a_thousand_goods_are_taken_and_what_is_wrong_is_named() {
    let huidu = Huidu::start();
    let many = |n: usize| -> Value {
        (0..n).map(|n| json!({"id": format!("g-{n}"), "category": "shoes"})).collect()
    };
    let user = json!({"id": "tester-1"});
    assert_eq!(ask(&huidu, &user, &many(1_000)).expect(200).json()["goods"].as_array().unwrap().len(), 1_000);
    ask(&huidu, &user, &many(1_001)).refused(400, "too_many_goods");
    assert_eq!(ask(&huidu, &user, &json!([])).expect(200).json()["goods"], json!([]));
    // Nobody asks: only what needs no unit is on an item.
    assert_eq!(ask(&huidu, &json!({}), &many(1)).expect(200).json()["goods"][0]["entries"], json!([]));
    for (body, code) in [
        (json!({"user": {}, "goods": []}), "context_invalid"),
        (json!({"placement": "checkout", "goods": []}), "context_invalid"),
        (json!({"placement": "checkout", "user": {}}), "context_invalid"),
        (json!({"placement": "checkout", "user": {}, "goods": {}}), "context_invalid"),
        (json!({"placement": "checkout", "user": {}, "goods": [{}]}), "id_invalid"),
        (json!({"placement": "checkout", "user": {"id": ""}, "goods": []}), "unit_invalid"),
        (json!({"placement": "checkout", "user": {}, "goods": [{"id": "g", "price": -1}]}), "out_of_range"),
        (
            json!({"placement": "checkout", "user": {}, "goods": [{"id": "g", "price": 9_007_199_254_740_991_i64, "quantity": 2}]}),
            "out_of_range",
        ),
    ] {
        huidu.post("/v1/goods/eligibility", &huidu.client, &body).refused(400, code);
    }
    let large = json!({"placement": "checkout", "user": {"x": "y".repeat(600_000)}, "goods": []});
    huidu.post("/v1/goods/eligibility", &huidu.client, &large).refused(413, "body_too_large");
}
