//! Every fault with its exact pointer.

use super::*;

/// All faults of a document, as `pointer code`.
fn faults(json: &Value) -> Vec<String> {
    let mut faults = Faults::default();
    let read = read(json, &mut faults);
    assert!(read.is_some() || !faults.0.is_empty(), "{json}");
    for fault in &faults.0 {
        assert!(!fault.detail.is_empty());
        let parent = fault.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        assert!(json.pointer(parent).is_some(), "{} points into nothing", fault.pointer);
    }
    faults.0.iter().map(|fault| format!("{} {}", fault.pointer, fault.code)).collect()
}

/// Rows: where, what is put there, the only fault that follows (`@` = there).
#[track_caller]
fn check(rows: &[(&str, Value, &str)]) {
    assert_eq!(faults(&full()), [""; 0]);
    for (pointer, value, expected) in rows {
        let expected = expected.replace('@', pointer);
        assert_eq!(faults(&with(&full(), pointer, value)), [expected], "{pointer} {value}");
    }
}

#[test]
fn of_the_whole() {
    let long = json!("x".repeat(4_097));
    check(&[
        ("/key", Value::Null, "@ required"),
        ("/key", json!(7), "@ wrong_type"),
        ("/key", json!("a b"), "@ key_invalid"),
        ("/key", json!(".."), "@ key_invalid"),
        ("/key", json!("k".repeat(101)), "@ key_invalid"),
        ("/nmae", json!("x"), "@ unknown_field"),
        ("/a~1b", json!("x"), "/a~01b unknown_field"),
        ("/name", json!(7), "@ wrong_type"),
        ("/name", long.clone(), "@ too_long"),
        ("/description", long, "@ too_long"),
        ("/owner", json!([]), "@ wrong_type"),
        ("/owner", json!("a\0b"), "@ nul_character"),
        ("/tags", json!("t"), "@ wrong_type"),
        ("/tags/0", json!(7), "@ wrong_type"),
        ("/tags/0", json!(""), "@ too_long"),
        ("/tags/0", json!("t".repeat(101)), "@ too_long"),
        ("/tags/0", json!("\0"), "@ nul_character"),
        ("/tags", json!(vec!["t"; 51]), "@ too_many"),
        ("/placement", json!("a/b"), "@ key_invalid"),
        ("/position", json!(1.5), "@ out_of_range"),
        ("/position", json!(1_000_001), "@ out_of_range"),
        ("/position", json!("1"), "@ wrong_type"),
        ("/salt", json!("a:b"), "@ salt_invalid"),
        ("/salt", json!(""), "@ salt_invalid"),
        ("/unit", json!("goods.id"), "@ attribute_invalid"),
        ("/unit", json!("device"), "@ attribute_invalid"),
        ("/attribution_hours", json!(0), "@ out_of_range"),
        ("/attribution_hours", json!(721), "@ out_of_range"),
        ("/attribution_hours", json!(1.5), "@ out_of_range"),
        ("/min_effect", json!(0), "@ out_of_range"),
        ("/min_effect", json!("x"), "@ wrong_type"),
        ("/expire_at", json!("soon"), "@ time_invalid"),
        ("/expire_at", json!("2027-01-01"), "@ time_invalid"),
        ("/expire_at", json!(7), "@ wrong_type"),
        ("/capture", json!(["user.a", "user.b", "user.c", "user.d", "user.e"]), "@ too_many"),
        ("/capture", json!(["user.a", "user.a"]), "/capture/1 attribute_invalid"),
        ("/capture", json!(["order.a"]), "/capture/0 attribute_invalid"),
        ("/capture", json!([7]), "/capture/0 attribute_invalid"),
    ]);
    for value in [json!(null), json!([]), json!("x"), json!(7)] {
        assert_eq!(faults(&value), [" wrong_type"]);
    }
}

#[test]
fn of_variants() {
    let flag = |fields: Value| faults(&flag_json(&fields));
    for (fields, expected) in [
        (json!({"value_type": "text"}), vec!["/value_type out_of_range"]),
        (json!({"value_type": "integer"}), vec!["/variants/off wrong_type", "/variants/on wrong_type"]),
        (json!({"variants": {"on": true, "off": null}}), vec!["/variants/off wrong_type"]),
        (json!({"variants": {"on": true, "off": false, "a b": true}}), vec!["/variants/a b key_invalid"]),
        (json!({"variants": {"on": true, "off": false, "a/b": true}}), vec!["/variants/a~1b key_invalid"]),
        (json!({"variants": {}}), vec!["/variants out_of_range", "/off_variant unknown_variant"]),
        (json!({"variants": []}), vec!["/variants wrong_type", "/off_variant unknown_variant"]),
        (json!({"off_variant": "no"}), vec!["/off_variant unknown_variant"]),
        (json!({"off_variant": 7}), vec!["/off_variant wrong_type"]),
        (json!({"default_variant": "no"}), vec!["/default_variant unknown_variant"]),
        (json!({"default_variant": null}), vec!["/default_variant wrong_type"]),
        (
            json!({"value_type": "string", "variants": {"on": "\0", "off": ""}}),
            vec!["/variants/on nul_character"],
        ),
        (
            json!({"value_type": "object", "variants": {"on": {"a": [{"b\0": 1}]}, "off": {}}}),
            vec!["/variants/on/a/0/b\0 nul_character"],
        ),
    ] {
        assert_eq!(flag(fields.clone()), expected, "{fields}");
    }
    let many = |count: usize| -> Value {
        (0..count)
            .map(|n| (format!("v{n}"), Value::from(true)))
            .chain([("off".into(), json!(false))])
            .collect()
    };
    assert_eq!(flag(json!({"variants": many(99)})), [""; 0]);
    assert_eq!(flag(json!({"variants": many(100)})), ["/variants out_of_range"]);
    assert_eq!(
        faults(&json!({})),
        ["/key required", "/value_type required", "/variants required", "/off_variant required",]
    );
}

#[test]
fn of_rules_and_rollouts() {
    let rollout = "/rules/1/serve/rollout";
    let at = |field: &str| format!("{rollout}/{field}");
    let (percent, control, split) = (at("percent"), at("control"), at("split"));
    check(&[
        ("/rules", json!({}), "@ wrong_type"),
        ("/rules/0", json!(7), "@ wrong_type"),
        ("/rules/0/id", Value::Null, "@ required"),
        ("/rules/0/id", json!("a b"), "@ key_invalid"),
        ("/rules/0/id", json!("b"), "/rules/1/id duplicate_rule"),
        ("/rules/0/serv", json!(1), "@ unknown_field"),
        ("/rules/0/serve", Value::Null, "@ required"),
        ("/rules/0/serve", json!({}), "@ serve_invalid"),
        ("/rules/0/serve/rollout", json!({"percent": 5}), "/rules/0/serve serve_invalid"),
        ("/rules/0/serve", json!([]), "@ wrong_type"),
        ("/rules/0/serve/variant", json!("no"), "@ unknown_variant"),
        ("/rules/0/serve/x", json!(1), "@ unknown_field"),
        (rollout, json!(5), "@ wrong_type"),
        (&percent, Value::Null, "@ required"),
        (&percent, json!("5"), "@ wrong_type"),
        (&percent, json!(-1), "@ out_of_range"),
        (&percent, json!(100.0001), "@ out_of_range"),
        (&percent, json!(1e-9), "@ out_of_range"),
        (&percent, json!(5.00005), "@ out_of_range"),
        (&percent, json!(95.0001), "@ share_over_100"),
        (&control, json!(95.0001), "/rules/1/serve/rollout/percent share_over_100"),
        (&control, json!(101), "@ out_of_range"),
        (&control, json!([]), "@ wrong_type"),
        (&split, Value::Null, "@ required"),
        (&split, json!([]), "@ wrong_type"),
        (&split, json!({}), "@ out_of_range"),
        (&split, json!({"a": 0, "b": 0}), "@ out_of_range"),
        (&split, json!({"a": 1_000_001}), "/rules/1/serve/rollout/split/a out_of_range"),
        (&split, json!({"a": 0.5}), "/rules/1/serve/rollout/split/a out_of_range"),
        (&split, json!({"a": -1}), "/rules/1/serve/rollout/split/a out_of_range"),
        (&split, json!({"a": "1"}), "/rules/1/serve/rollout/split/a wrong_type"),
        (&split, json!({"a": 1, "off": 1}), "/rules/1/serve/rollout/split/off off_variant_in_split"),
        (&split, json!({"a": 1, "no": 1}), "/rules/1/serve/rollout/split/no unknown_variant"),
    ]);
}

#[test]
fn of_the_layer_the_prerequisites_and_the_gate() {
    check(&[
        ("/layer", json!([]), "@ wrong_type"),
        ("/layer/key", json!("a b"), "@ key_invalid"),
        ("/layer/from", Value::Null, "@ required"),
        ("/layer/to", Value::Null, "@ required"),
        ("/layer/to", json!(0), "@ out_of_range"),
        ("/layer/from", json!(50), "/layer/to out_of_range"),
        ("/layer/to", json!(100.1), "@ out_of_range"),
        ("/prerequisites", json!({}), "@ wrong_type"),
        ("/prerequisites/0", json!("other"), "@ wrong_type"),
        ("/prerequisites/0/flag", json!("a b"), "@ key_invalid"),
        ("/prerequisites/0/flag", Value::Null, "@ required"),
        ("/prerequisites/0/variants", Value::Null, "@ required"),
        ("/prerequisites/0/variants", json!([]), "@ out_of_range"),
        ("/prerequisites/0/variants", json!("on"), "@ wrong_type"),
        ("/prerequisites/0/variants/1", json!(7), "@ key_invalid"),
        ("/prerequisites/0/x", json!(7), "@ unknown_field"),
        ("/prerequisites", json!(vec![json!({"flag": "o", "variants": ["on"]}); 11]), "@ too_many"),
        ("/goods", json!([]), "@ wrong_type"),
        ("/goods/x", json!(1), "@ unknown_field"),
        ("/goods/match", json!("some"), "@ out_of_range"),
        ("/goods/match", json!(7), "@ wrong_type"),
        ("/goods/match", json!("all"), "/goods/share_percent unknown_field"),
        ("/goods/share_percent", Value::Null, "@ required"),
        ("/goods/share_percent", json!(101), "@ out_of_range"),
        ("/goods/required", json!("yes"), "@ wrong_type"),
        ("/goods/rollout_percent", json!(-1), "@ out_of_range"),
        ("/goods/include", json!({}), "@ wrong_type"),
        ("/goods/include/0", json!(7), "@ wrong_type"),
        ("/goods/exclude/0/audience", json!("a b"), "@ key_invalid"),
    ]);
}

#[test]
fn of_conditions() {
    let when = "/rules/0/when";
    let test = |op: &str, value: Value| json!({"attribute": "user.a", "op": op, "value": value});
    check(&[
        (when, json!([]), "@ wrong_type"),
        (when, json!({}), "@ condition_invalid"),
        (when, json!({"op": "eq"}), "@ condition_invalid"),
        (when, json!({"all_of": {}}), "@/all_of wrong_type"),
        (when, json!({"all_of": [], "any_of": []}), "@/any_of unknown_field"),
        (when, json!({"any_of": [{"not": 7}]}), "@/any_of/0/not wrong_type"),
        (when, json!({"not": {"all_of": [{}]}}), "@/not/all_of/0 condition_invalid"),
        (when, json!({"audience": 7}), "@/audience wrong_type"),
        (when, json!({"audience": "a", "attribute": "x"}), "@/attribute attribute_invalid"),
        (when, json!({"audience": "a", "attribute": 7}), "@/attribute wrong_type"),
        (when, json!({"audience": "a", "attribute": "goods.merchant"}), "@/attribute attribute_invalid"),
        (when, json!({"audience": "a", "op": "eq"}), "@/op unknown_field"),
        (when, json!({"attribute": "user.a"}), "@/op required"),
        (when, json!({"attribute": "user.a", "op": 7}), "@/op wrong_type"),
        (when, json!({"attribute": "user.a", "op": "eq"}), "@/value required"),
        (when, json!({"attribute": "region", "op": "exists"}), "@/attribute attribute_invalid"),
        (when, json!({"attribute": "goods.a", "op": "exists"}), "@/attribute attribute_invalid"),
        (when, json!({"attribute": 7, "op": "exists"}), "@/attribute wrong_type"),
        (when, test("equals", json!("x")), "@/op operator_unknown"),
        (when, test("eq", json!(null)), "@/value wrong_type"),
        (when, test("ne", json!([1])), "@/value wrong_type"),
        (when, test("contains", json!({})), "@/value wrong_type"),
        (when, test("eq", json!("x".repeat(4_097))), "@/value wrong_type"),
        (when, test("in", json!("x")), "@/value wrong_type"),
        (when, test("in", json!(["x", 1])), "@/value wrong_type"),
        (when, test("not_in", json!(["x", null])), "@/value/1 wrong_type"),
        (when, test("not_in", json!(["x", "\0"])), "@/value/1 nul_character"),
        (when, test("starts_with", json!(1)), "@/value wrong_type"),
        (when, test("ends_with", json!("x".repeat(4_097))), "@/value too_long"),
        (when, test("lt", json!("1")), "@/value wrong_type"),
        (when, test("semver_gte", json!("1.x")), "@/value version_invalid"),
        (when, test("semver_eq", json!(1)), "@/value wrong_type"),
        (when, test("before", json!("today")), "@/value time_invalid"),
        (when, test("after", json!(1)), "@/value wrong_type"),
        (when, test("exists", json!("yes")), "@/value wrong_type"),
        (when, test("matches", json!(1)), "@/value wrong_type"),
        (when, test("matches", json!("(")), "@/value pattern_invalid"),
        (when, test("matches", json!("(?<=a)b")), "@/value pattern_invalid"),
    ]);
}

#[test]
fn of_steps() {
    check(&[
        ("/funnel", json!("clicked"), "@ wrong_type"),
        ("/funnel/0", json!("a b"), "@ key_invalid"),
        ("/funnel/0", json!(7), "@ wrong_type"),
        ("/funnel/1/step", Value::Null, "@ required"),
        ("/funnel/1/optional", json!("yes"), "@ wrong_type"),
        ("/funnel/1/x", json!("yes"), "@ unknown_field"),
        ("/funnel/1/step", json!("clicked"), "/funnel/1 duplicate_step"),
        ("/funnel/0", json!("failed"), "/metrics/1 step_kind_conflict"),
        ("/metrics/2", json!(7), "@ wrong_type"),
        ("/metrics/2", json!("failed"), "@ duplicate_step"),
        ("/metrics/2", json!("a b"), "@ key_invalid"),
        ("/metrics/2", json!({"by": "x"}), "/metrics/2/step required"),
        ("/metrics/0/by", Value::Null, "/metrics/0/values unknown_field"),
        ("/metrics/0/by", json!(""), "@ too_long"),
        ("/metrics/0/by", json!("x".repeat(257)), "@ too_long"),
        ("/metrics/0/values/0", json!("x".repeat(65)), "@ too_long"),
        ("/metrics/0/values", json!(vec!["x"; 51]), "@ too_many"),
        ("/metrics/0/window_hours", json!(0), "@ out_of_range"),
        ("/metrics/0/window_hours", json!(721), "@ out_of_range"),
        ("/metrics/0/ratio", json!("unknown"), "@ unknown_step"),
        ("/metrics/0/ratio", json!("paid"), "@ unknown_step"),
        ("/metrics/0/ratio", json!("failed"), "@ out_of_range"),
        ("/metrics/0/ratio", json!("No key"), "@ key_invalid"),
        ("/metrics/2", json!("clicked"), "@ step_kind_conflict"),
        ("/goal", json!("unknown"), "@ unknown_step"),
        ("/guardrails", json!({}), "@ wrong_type"),
        ("/guardrails/0/step", json!("clicked"), "@ unknown_step"),
        ("/guardrails/0/margin", json!(1.5), "@ out_of_range"),
        ("/guardrails/0/margin", json!(-0.1), "@ out_of_range"),
        ("/guardrails/0/limit", json!(0.1), "/guardrails/0 guardrail_invalid"),
        ("/guardrails/0/margin", Value::Null, "/guardrails/0 guardrail_invalid"),
    ]);
    let steps: Vec<_> = (0..51).map(|n| format!("s{n}")).collect();
    let flag = |fields: Value| faults(&flag_json(&fields));
    assert_eq!(flag(json!({"funnel": steps[..50]})), [""; 0]);
    assert_eq!(flag(json!({ "funnel": steps })), ["/funnel too_many"]);
    assert_eq!(flag(json!({ "metrics": steps })), ["/metrics too_many"]);
}

#[test]
fn patterns_have_a_size() {
    let pattern = |pattern: &str| {
        let when = json!({"attribute": "user.a", "op": "matches", "value": pattern});
        faults(&with(&full(), "/rules/0/when", &when))
    };
    assert_eq!(pattern(&"a".repeat(256)), [""; 0]);
    assert_eq!(pattern("^(CN|HK)-[0-9]{2}$"), [""; 0]);
    let nested = "(".repeat(120) + &")".repeat(120);
    for large in ["(a{1000}){1000}", r"\p{L}{9999}", &"a".repeat(257), &"a".repeat(10_000), &nested] {
        let shown: String = large.chars().take(20).collect();
        assert_eq!(pattern(large), ["/rules/0/when/value pattern_too_large"], "{shown}");
    }
}

#[test]
fn counts_have_limits() {
    let flag = |fields: Value| faults(&flag_json(&fields));
    let rules = |count: usize| -> Value {
        (0..count).map(|n| json!({"id": format!("r{n}"), "serve": {"variant": "on"}})).collect()
    };
    assert_eq!(flag(json!({"rules": rules(100)})), [""; 0]);
    assert_eq!(flag(json!({"rules": rules(101)})), ["/rules too_many"]);
    let exists = json!({"attribute": "user.a", "op": "exists"});
    let conditions = |count: usize, in_gate: usize| {
        let when = json!({"all_of": vec![exists.clone(); count - 1]});
        flag(json!({
            "rules": [{"id": "r", "when": when, "serve": {"variant": "on"}}],
            "goods": {"exclude": vec![exists.clone(); in_gate]},
        }))
    };
    assert_eq!(conditions(1_000, 0), [""; 0]);
    assert_eq!(conditions(1_001, 0), ["/rules/0/when/all_of/999 too_many"]);
    assert_eq!(conditions(990, 10), [""; 0]);
    assert_eq!(conditions(990, 12), ["/goods/exclude/10 too_many"]);
    let list = |count: usize| {
        let when = json!({"attribute": "user.a", "op": "in", "value": (0..count).collect::<Vec<_>>()});
        flag(json!({"rules": [{"id": "r", "when": when, "serve": {"variant": "on"}}]}))
    };
    assert_eq!(list(10_000), [""; 0]);
    assert_eq!(list(10_001), ["/rules/0/when/value too_many"]);
}

#[test]
fn all_faults_are_told_at_once() {
    let mut flag = full();
    flag["owner"] = json!(7);
    flag["extra"] = json!(1);
    flag["rules"][0]["serve"]["variant"] = json!("no");
    flag["rules"][1]["serve"]["rollout"]["percent"] = json!(200);
    flag["rules"][1]["serve"]["rollout"]["split"] = json!({"a": -1, "no": 1});
    flag["goods"]["include"][0]["op"] = json!("like");
    flag["goal"] = json!("no");
    flag["expire_at"] = json!("soon");
    let mut found = faults(&flag);
    found.sort();
    assert_eq!(
        found,
        [
            "/expire_at time_invalid",
            "/extra unknown_field",
            "/goal unknown_step",
            "/goods/include/0/op operator_unknown",
            "/owner wrong_type",
            "/rules/0/serve/variant unknown_variant",
            "/rules/1/serve/rollout/percent out_of_range",
            "/rules/1/serve/rollout/split/a out_of_range",
            "/rules/1/serve/rollout/split/no unknown_variant",
        ]
    );
}
