mod faults;

use serde_json::{Value, json};

use super::*;
use crate::engine::fixture::{document, flag_json};

/// A flag that uses every field.
fn full() -> Value {
    json!({
        "key": "flag", "name": "Flag", "description": "d", "owner": "o", "tags": ["t"],
        "placement": "checkout", "position": 5, "value_type": "string",
        "variants": {"off": "", "a": "a", "b": "b"}, "off_variant": "off", "default_variant": "off",
        "salt": "salt", "unit": "user.device", "layer": {"key": "l", "from": 0, "to": 50},
        "prerequisites": [{"flag": "other", "variants": ["on", "off"]}],
        "goods": {
            "match": "value_share", "share_percent": 50, "required": false, "rollout_percent": 25,
            "include": [{"attribute": "goods.category", "op": "in", "value": ["x", "y"]}],
            "exclude": [{"audience": "excluded"}],
        },
        "rules": [
            {"id": "a", "description": "first", "when": {"audience": "testers"}, "serve": {"variant": "a"}},
            {"id": "b", "serve": {"rollout": {"percent": 5, "control": 5, "split": {"a": 1, "b": 2}}}},
        ],
        "funnel": ["clicked", {"step": "shown", "optional": true}], "goal": "paid",
        "metrics": [{"step": "paid", "by": "method", "values": ["x"], "window_hours": 48}, "failed"],
        "attribution_hours": 72, "capture": ["user.region"], "min_effect": 0.1,
        "guardrails": [{"step": "failed", "margin": 0.002}], "expire_at": "2027-01-01T00:00:00Z",
    })
}

/// `json` with `value` at `pointer`; `null` takes a field away.
fn with(json: &Value, pointer: &str, value: &Value) -> Value {
    let mut json = json.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let place = json.pointer_mut(parent).unwrap();
    match (place, field.parse::<usize>()) {
        (Value::Array(items), Ok(at)) if at < items.len() => items[at] = value.clone(),
        (Value::Array(items), _) => items.push(value.clone()),
        (Value::Object(fields), _) if value.is_null() => {
            fields.remove(field);
        }
        (place, _) => place[field] = value.clone(),
    }
    json
}

#[test]
fn every_field_is_read() {
    let read = document(&full());
    assert_eq!(read.key.as_str(), "flag");
    assert_eq!((read.position, read.attribution_hours), (5, 72));
    assert_eq!(read.unit.to_string(), "user.device");
    assert_eq!(
        read.variants.values().map(VariantValue::json).collect::<Vec<_>>(),
        ["\"a\"", "\"b\"", "\"\""]
    );
    assert_eq!(read.window_hours(read.metric("paid").unwrap()), 48);
    assert_eq!(read.window_hours(read.metric("failed").unwrap()), 72);
    assert!(read.metric("clicked").is_none());
    assert_eq!(read.expire_at, crate::clock::parse_rfc3339("2027-01-01T00:00:00Z"));
    let Serve::Rollout(rollout) = &read.rules[1].serve else { panic!("a rollout") };
    assert_eq!((rollout.percent.ppm(), rollout.control.ppm()), (50_000, 50_000));
    assert_eq!(read.conditions().count(), 4);
}

#[test]
fn defaults_written_out_are_the_same_document() {
    let short = json!({
        "key": "flag", "value_type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "goods": {}, "rules": [{"id": "r", "serve": {"rollout": {"percent": 5}}}],
        "funnel": ["clicked"], "metrics": ["paid"], "guardrails": [],
    });
    let long = json!({
        "key": "flag", "name": "flag", "description": "", "owner": "", "tags": [], "position": 0,
        "value_type": "boolean", "variants": {"off": false, "on": true},
        "off_variant": "off", "default_variant": "off", "unit": "user.id", "prerequisites": [],
        "goods": {"match": "all", "required": true, "include": [], "exclude": [], "rollout_percent": 100},
        "rules": [{
            "id": "r", "description": "", "when": {"all_of": []},
            "serve": {"rollout": {"percent": 5.0, "control": 0, "split": {"on": 1}}},
        }],
        "funnel": [{"step": "clicked", "optional": false}], "metrics": [{"step": "paid"}],
        "attribution_hours": 24, "capture": [], "min_effect": 0.05, "guardrails": [],
    });
    assert_eq!(document(&short), document(&long));
}

#[test]
fn equal_values_are_equal_however_written() {
    let same = |pointer: &str, value: Value| {
        let changed = with(&full(), pointer, &value);
        assert_eq!(document(&full()), document(&changed), "{pointer} {value}");
        assert!(document(&full()).decides_like(&document(&changed)), "{pointer}");
    };
    same("/position", json!(5.0));
    same("/layer/to", json!(50.0));
    same("/goods/include/0/value", json!(["y", "x", "y"]));
    same("/prerequisites/0/variants", json!(["off", "on", "on"]));
    same("/expire_at", json!("2027-01-01T08:00:00+08:00"));
    same("/rules/0/when", json!({"audience": "testers"}));
    same("/rules/1/when", json!({"all_of": []}));
    same("/rules/1/serve/rollout/split", json!({"b": 2.0, "a": 1}));
    // Keys of objects in another order.
    let text =
        r#"{"variants":{"x":{"b":1,"a":2},"off":{}},"off_variant":"off","value_type":"object","key":"k"}"#;
    let turned =
        r#"{"key":"k","value_type":"object","off_variant":"off","variants":{"off":{},"x":{"a":2,"b":1}}}"#;
    let parse = |text| document(&crate::engine::json::parse(str::as_bytes(text)).unwrap());
    assert_eq!(parse(text), parse(turned));
}

#[test]
fn numbers_keep_the_type_of_the_flag() {
    for (value_type, sent, json) in [
        ("integer", json!(1.0), "1"),
        ("integer", json!(i64::MAX), "9223372036854775807"),
        ("integer", json!(-0.0), "0"),
        ("float", json!(1), "1.0"),
        ("float", json!(0.1), "0.1"),
        ("float", json!(-0.0), "0.0"),
        ("boolean", json!(true), "true"),
        ("string", json!("a\"b"), "\"a\\\"b\""),
        ("object", json!({"b": 1, "a": [1.0]}), "{\"a\":[1.0],\"b\":1}"),
    ] {
        let (value_type, _) = ValueType::ALL.into_iter().find(|(_, name)| *name == value_type).unwrap();
        assert_eq!(VariantValue::typed(value_type, &sent).unwrap().json(), json);
    }
    for (value_type, sent) in [
        (ValueType::Integer, json!(1.5)),
        (ValueType::Integer, json!(1e30)),
        (ValueType::Integer, json!(u64::MAX)),
        (ValueType::Integer, json!("1")),
        (ValueType::Float, json!("1")),
        (ValueType::Boolean, json!(1)),
        (ValueType::String, json!(1)),
        (ValueType::Object, json!([])),
        (ValueType::Object, Value::Null),
    ] {
        assert_eq!(VariantValue::typed(value_type, &sent), None, "{sent}");
    }
}

/// Whether the change of one field begins a stage.
fn begins_stage(pointer: &str, value: &Value) -> bool {
    let (old, new) = (document(&full()), document(&with(&full(), pointer, value)));
    assert_ne!(old, new, "{pointer} {value}");
    assert_eq!(old.decides_like(&new), new.decides_like(&old));
    !old.decides_like(&new)
}

#[test]
fn what_decides_begins_a_stage() {
    for (pointer, value) in [
        ("/variants/c", json!("c")),
        ("/variants/a", json!("z")),
        ("/off_variant", json!("b")),
        ("/default_variant", json!("a")),
        ("/salt", json!("other")),
        ("/salt", Value::Null),
        ("/unit", Value::Null),
        ("/layer", Value::Null),
        ("/layer/key", json!("m")),
        ("/layer/from", json!(0.0001)),
        ("/layer/to", json!(60)),
        ("/prerequisites", json!([])),
        ("/prerequisites/0/flag", json!("another")),
        ("/prerequisites/0/variants", json!(["on"])),
        ("/goods", Value::Null),
        ("/goods", json!({})),
        ("/goods/share_percent", json!(51)),
        ("/goods/required", json!(true)),
        ("/goods/rollout_percent", json!(26)),
        ("/goods/include/0/value", json!(["x"])),
        ("/goods/exclude", json!([])),
        ("/rules", json!([])),
        ("/rules/0/id", json!("c")),
        ("/rules/0/when", Value::Null),
        ("/rules/0/when/audience", json!("others")),
        ("/rules/0/serve/variant", json!("b")),
        ("/rules/1/serve/rollout/percent", json!(5.0001)),
        ("/rules/1/serve/rollout/control", json!(4)),
        ("/rules/1/serve/rollout/split/b", json!(1)),
    ] {
        let mut base = pointer;
        // `off_variant` cannot stand in a split, so it is changed to one that does not.
        let changed = if pointer == "/off_variant" {
            base = "/rules/1/serve/rollout/split";
            let served = with(&full(), base, &json!({"a": 1}));
            assert!(!document(&served).decides_like(&document(&with(&served, pointer, &value))));
            continue;
        } else {
            begins_stage(base, &value)
        };
        assert!(changed, "{pointer} {value}");
    }
    let mut turned = full();
    turned["rules"].as_array_mut().unwrap().reverse();
    assert!(!document(&full()).decides_like(&document(&turned)));
    let typed = |value_type: &str, on: Value| {
        document(&flag_json(&json!({"value_type": value_type, "variants": {"on": on, "off": on}})))
    };
    assert!(!typed("integer", json!(1)).decides_like(&typed("float", json!(1))));
}

#[test]
fn nothing_else_begins_one() {
    for (pointer, value) in [
        ("/name", json!("Other")),
        ("/description", json!("")),
        ("/owner", json!("x")),
        ("/tags", json!([])),
        ("/placement", json!("cart")),
        ("/placement", Value::Null),
        ("/position", json!(6)),
        ("/rules/0/description", json!("second")),
        ("/funnel", json!(["clicked"])),
        ("/funnel/1/optional", json!(false)),
        ("/metrics/0/values", json!(["x", "y"])),
        ("/metrics/0/window_hours", json!(24)),
        ("/metrics/2", json!("third")),
        ("/goal", json!("clicked")),
        ("/attribution_hours", json!(71)),
        ("/capture", json!([])),
        ("/min_effect", json!(0.2)),
        ("/guardrails/0/margin", json!(0.1)),
        ("/guardrails", json!([])),
        ("/expire_at", json!("2028-01-01T00:00:00Z")),
        ("/expire_at", Value::Null),
    ] {
        assert!(!begins_stage(pointer, &value), "{pointer} {value}");
    }
}

#[test]
fn attributes_are_parted_by_the_first_dot_only() {
    for (text, parsed) in [
        ("user.a.b", Some((Scope::User, "a.b"))),
        ("order.amount", Some((Scope::Order, "amount"))),
        ("goods.c", Some((Scope::Goods, "c"))),
        ("user.", None),
        ("user", None),
        ("User.a", None),
        (".a", None),
        ("user.a\n", None),
        ("shop.a", None),
    ] {
        let attribute = Attribute::parse(text);
        assert_eq!(attribute.as_ref().map(|a| (a.scope, &*a.name)), parsed, "{text:?}");
        assert!(attribute.is_none_or(|attribute| attribute.to_string() == text));
    }
    assert!(Attribute::parse(&format!("user.{}", "a".repeat(256))).is_some());
    assert!(Attribute::parse(&format!("user.{}", "a".repeat(257))).is_none());
}
