use serde_json::{Value, json};

use super::*;
use crate::engine::fixture::{audience, document, flag_json, snapshot, stored};
use crate::engine::snapshot::Snapshot;

/// An environment of these flags, archived where they say so.
fn environment(flags: &[Value]) -> Snapshot {
    let audiences = vec![
        audience("users", AudienceKind::User, Some(&[])),
        audience("items", AudienceKind::Goods, Some(&[])),
        audience("merchants", AudienceKind::Other, Some(&[])),
    ];
    let flags = flags.iter().map(|fields| {
        let mut fields = fields.clone();
        let archived = fields.as_object_mut().unwrap().remove("archived").is_some();
        let mut flag = stored(&flag_json(&fields));
        flag.state = if archived { State::Archived } else { State::Live };
        flag
    });
    snapshot(audiences, flags.collect())
}

/// Faults and warnings of a flag beside `others`, as `pointer code`.
fn told(others: &[Value], fields: &Value) -> (Vec<String>, Vec<String>) {
    let mut faults = Faults::default();
    let warnings = validate(&document(&flag_json(fields)), &environment(others), &mut faults);
    for detail in faults.0.iter().map(|f| &f.detail).chain(warnings.iter().map(|w| &w.detail)) {
        assert!(!detail.is_empty());
    }
    (
        faults.0.iter().map(|fault| format!("{} {}", fault.pointer, fault.code)).collect(),
        warnings.iter().map(|warning| format!("{} {}", warning.pointer, warning.code)).collect(),
    )
}

#[track_caller]
fn check_faults(others: &[Value], fields: &Value, expected: &[&str]) {
    let (faults, warnings) = told(others, fields);
    assert_eq!(faults, expected, "{fields}");
    assert_eq!(warnings, [""; 0], "{fields}");
}

#[track_caller]
fn check_warnings(others: &[Value], fields: &Value, expected: &[&str]) {
    let (faults, warnings) = told(others, fields);
    assert_eq!(warnings, expected, "{fields}");
    assert_eq!(faults, [""; 0], "{fields}");
}

fn rules(when: &Value) -> Value {
    json!([{"id": "r", "when": when, "serve": {"variant": "on"}}])
}

fn requires(key: &str, others: &[&str]) -> Value {
    let list: Vec<_> = others.iter().map(|flag| json!({"flag": flag, "variants": ["on"]})).collect();
    json!({"key": key, "prerequisites": list})
}

#[test]
fn an_audience_must_be_there() {
    let unknown = json!({"audience": "nobody"});
    for (when, pointer) in [
        (unknown.clone(), "/rules/0/when/audience"),
        (json!({"not": unknown}), "/rules/0/when/not/audience"),
        (json!({"all_of": [{"audience": "users"}, unknown]}), "/rules/0/when/all_of/1/audience"),
        (json!({"any_of": [{"not": {"all_of": [unknown]}}]}), "/rules/0/when/any_of/0/not/all_of/0/audience"),
        (json!({"audience": "nobody", "attribute": "user.x"}), "/rules/0/when/audience"),
    ] {
        check_faults(&[], &json!({"rules": rules(&when)}), &[&format!("{pointer} unknown_audience")]);
    }
    check_faults(
        &[],
        &json!({"goods": {"include": [unknown], "exclude": [{"audience": "items"}, unknown]}}),
        &["/goods/include/0/audience unknown_audience", "/goods/exclude/1/audience unknown_audience"],
    );
}

#[test]
fn an_audience_of_another_kind_is_doubtful() {
    let (users, items, merchants) =
        (json!({"audience": "users"}), json!({"audience": "items"}), json!({"audience": "merchants"}));
    let of = |audience: &str, attribute: &str| json!({"audience": audience, "attribute": attribute});
    let warned = &["/rules/0/when/audience audience_kind"][..];
    for (unit, when, expected) in [
        ("user.id", &users, &[][..]),
        ("user.id", &items, warned),
        ("user.id", &merchants, warned),
        ("user.device", &merchants, &[]),
        ("user.device", &users, warned),
        ("order.id", &users, warned),
        ("user.device", &of("users", "user.id"), &[]),
        ("user.id", &of("merchants", "user.shop"), &[]),
        ("user.id", &of("users", "user.shop"), warned),
    ] {
        check_warnings(&[], &json!({"unit": unit, "rules": rules(when)}), expected);
    }
    let gate = |condition: &Value| json!({"goods": {"exclude": [condition]}});
    let warned = &["/goods/exclude/0/audience audience_kind"][..];
    for (condition, expected) in [
        (&items, &[][..]),
        (&users, warned),
        (&of("items", "goods.id"), &[]),
        (&of("merchants", "goods.merchant"), &[]),
        (&of("items", "goods.merchant"), warned),
        (&of("users", "user.id"), &[]),
    ] {
        check_warnings(&[], &gate(condition), expected);
    }
}

#[test]
fn a_prerequisite_must_be_there_with_its_variants() {
    let others = [json!({"key": "other"}), json!({"key": "old", "archived": true})];
    check_faults(&others, &requires("flag", &["other"]), &[]);
    check_faults(&others, &requires("flag", &["none"]), &["/prerequisites/0/flag unknown_flag"]);
    check_faults(&others, &requires("flag", &["other", "old"]), &["/prerequisites/1/flag flag_archived"]);
    let variants = json!({"prerequisites": [{"flag": "other", "variants": ["zz", "on", "aa"]}]});
    let unknown = "/prerequisites/0/variants unknown_variant";
    check_faults(&others, &variants, &[unknown, unknown]);
}

#[test]
fn cycles_are_refused() {
    let cycle = "/prerequisites prerequisite_cycle";
    check_faults(&[], &requires("flag", &["flag"]), &["/prerequisites/0/flag prerequisite_cycle", cycle]);
    check_faults(&[json!({"key": "flag"}), requires("a", &["flag"])], &requires("flag", &["a"]), &[cycle]);
    let three =
        [json!({"key": "flag"}), requires("a", &["b"]), requires("b", &["flag"]), json!({"key": "c"})];
    check_faults(&three, &requires("flag", &["c", "a"]), &[cycle]);
    // Two ways to one flag are no cycle.
    let diamond = [requires("a", &["c"]), requires("b", &["c"]), json!({"key": "c"})];
    check_faults(&diamond, &requires("flag", &["a", "b"]), &[]);
}

/// Flags `f0` to `f{count - 1}`, each but the first requiring the one before it.
fn chain(count: usize) -> Vec<Value> {
    let link = |n: usize| match n {
        0 => json!({"key": "f0"}),
        n => requires(&format!("f{n}"), &[&format!("f{}", n - 1)]),
    };
    (0..count).map(link).collect()
}

#[test]
fn a_chain_has_at_most_five_links() {
    let deep = &["/prerequisites prerequisite_too_deep"][..];
    check_faults(&chain(5), &requires("flag", &["f4"]), &[]);
    check_faults(&chain(6), &requires("flag", &["f5"]), deep);
    check_faults(&chain(9), &requires("flag", &["f8"]), deep);
    // Those who require this flag count: it stands in the middle of the chain.
    let middle = |below: usize, above: usize| {
        let mut flags = chain(below);
        flags.push(json!({"key": "flag"}));
        for n in 0..above {
            let required = if n == 0 { "flag".into() } else { format!("g{}", n - 1) };
            flags.push(requires(&format!("g{n}"), &[&required]));
        }
        flags
    };
    check_faults(&middle(3, 2), &requires("flag", &["f2"]), &[]);
    check_faults(&middle(3, 3), &requires("flag", &["f2"]), deep);
    check_faults(&middle(1, 5), &requires("flag", &["f0"]), deep);
}

#[test]
fn a_step_has_one_kind_in_its_environment() {
    let others = [
        json!({"key": "a", "funnel": ["clicked"], "metrics": ["paid"]}),
        json!({"key": "old", "archived": true, "funnel": ["seen"]}),
    ];
    check_faults(&others, &json!({"funnel": ["clicked"], "metrics": ["paid"]}), &[]);
    check_faults(
        &others,
        &json!({"funnel": ["x", "paid"], "metrics": ["clicked", "y", {"step": "seen"}]}),
        &["/funnel/1 step_kind_conflict", "/metrics/0 step_kind_conflict", "/metrics/2 step_kind_conflict"],
    );
    // A flag may change the kind of a step that only it declares.
    check_faults(&[json!({"key": "flag", "funnel": ["mine"]})], &json!({"metrics": ["mine"]}), &[]);
}

#[test]
fn a_shared_layer_is_looked_at() {
    let other = |from: i32, to: i32| json!({"key": "other", "layer": {"key": "pay", "from": from, "to": to}});
    let own = json!({"layer": {"key": "pay", "from": 20, "to": 50}});
    let overlap = &["/layer layer_overlap"][..];
    for (from, to, expected) in [
        (0, 20, &[][..]),
        (50, 100, &[]),
        (0, 21, overlap),
        (49, 100, overlap),
        (0, 100, overlap),
        (30, 40, overlap),
        (20, 50, overlap),
    ] {
        check_warnings(&[other(from, to)], &own, expected);
    }
    let mut elsewhere = other(0, 100);
    elsewhere["layer"]["key"] = "others".into();
    check_warnings(&[elsewhere], &own, &[]);
    let mut archived = other(0, 100);
    archived["archived"] = true.into();
    check_warnings(&[archived], &own, &[]);
    let mut device = other(50, 100);
    device["unit"] = "user.device".into();
    check_warnings(&[device.clone()], &own, &["/unit layer_unit"]);
    device["layer"]["from"] = 0.into();
    check_warnings(&[device], &own, &["/layer layer_overlap", "/unit layer_unit"]);
    // Its own older form is not another flag.
    check_warnings(&[json!({"layer": {"key": "pay", "from": 0, "to": 100}})], &own, &[]);
}

#[test]
fn everything_is_told_at_once() {
    let others = [json!({"key": "a", "funnel": ["clicked"]})];
    check_faults(
        &others,
        &json!({
            "rules": rules(&json!({"audience": "nobody"})), "metrics": ["clicked"],
            "prerequisites": [{"flag": "none", "variants": ["on"]}, {"flag": "a", "variants": ["no"]}],
        }),
        &[
            "/rules/0/when/audience unknown_audience",
            "/prerequisites/0/flag unknown_flag",
            "/prerequisites/1/variants unknown_variant",
            "/metrics/0 step_kind_conflict",
        ],
    );
}
