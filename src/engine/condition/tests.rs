use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::compile::CompiledFlag;
use crate::engine::context::Parsed;
use crate::engine::evaluate::scene::Scene;
use crate::engine::explain::{Recorder, Silent};
use crate::engine::fixture::{audience, document, flag_json, snapshot, stored, with_context};
use crate::engine::flag::AudienceKind;
use crate::engine::membership::{Membership, Memberships, NothingFetched};
use crate::engine::snapshot::Snapshot;

const MISSING: Truth = Truth::Unknown(Cause::Missing);
const WRONG: Truth = Truth::Unknown(Cause::WrongType);
const UNREADABLE: Truth = Truth::Unknown(Cause::Unreadable);

fn world(when: &Value) -> Snapshot {
    let members = vec![
        audience("users", AudienceKind::User, Some(&["u-1", "d-1"])),
        audience("nobody", AudienceKind::User, Some(&[])),
        audience("away", AudienceKind::User, None),
    ];
    let rule = json!([{"id": "r", "when": when, "serve": {"variant": "on"}}]);
    snapshot(members, vec![stored(&flag_json(&json!({ "rules": rule })))])
}

fn condition(flag: &CompiledFlag) -> &Condition {
    &flag.compiled.rules[0].when
}

fn scene<'e, 'a, M>(snapshot: &'e Snapshot, parsed: &'e Parsed<'a>, memberships: &'e M) -> Scene<'e, 'a, M> {
    Scene { snapshot, context: &parsed.context, memberships, item: None, memo: None }
}

/// The truth of `when` for an OFREP context; explaining must find the same.
fn truth(when: &Value, context: &Value) -> Truth {
    let snapshot = world(when);
    with_context(&snapshot, context, |parsed| {
        let scene = scene(&snapshot, parsed, &NothingFetched);
        let condition = condition(&snapshot.flags()[0]);
        let silent = scene.truth(condition, &mut Silent);
        assert_eq!(scene.truth(condition, &mut Recorder::new(&snapshot)), silent);
        silent
    })
}

/// The truth of one test of `user.a`.
fn tested(op: &str, operand: &Value, sent: &Value) -> Truth {
    truth(&json!({"attribute": "user.a", "op": op, "value": operand}), &json!({ "a": sent }))
}

/// `rows`: operator, operand, then what is sent with the truth that it has.
#[track_caller]
fn check(op: &str, operand: &Value, sent: &[(Value, Truth)]) {
    for (value, expected) in sent {
        assert_eq!(tested(op, operand, value), *expected, "{value} {op} {operand}");
    }
    assert_eq!(tested(op, operand, &Value::Null), MISSING, "missing {op} {operand}");
}

const T: Truth = Truth::True;
const F: Truth = Truth::False;

#[test]
fn equality_and_lists_of_texts() {
    let rows = [
        (json!("x"), T),
        (json!("X"), F),
        (json!(""), F),
        (json!(1), WRONG),
        (json!(true), WRONG),
        (json!({"x": "x"}), MISSING),
        (json!([]), F),
        (json!(["y", "x"]), T),
        (json!(["y"]), F),
        // One that equals is enough; without one, what cannot be compared leaves it open.
        (json!(["x", 1, null]), T),
        (json!(["y", 1]), WRONG),
        (json!([null]), WRONG),
        (json!([["x"]]), WRONG),
    ];
    let negated: Vec<_> = rows.iter().map(|(value, truth)| (value.clone(), !*truth)).collect();
    for (op, operand) in [("eq", json!("x")), ("in", json!(["x"])), ("in", json!(["x", "z"]))] {
        check(op, &operand, &rows);
    }
    for (op, operand) in [("ne", json!("x")), ("not_in", json!(["x"])), ("not_in", json!(["x", "z"]))] {
        check(op, &operand, &negated);
    }
}

#[test]
fn equality_and_lists_of_numbers_and_booleans() {
    let numbers = [
        (json!(1), T),
        (json!(1.0), T),
        (json!(1.5), F),
        (json!("1"), WRONG),
        (json!(true), WRONG),
        (json!([2, 1.0]), T),
        (json!([2]), F),
        (json!([2, "1"]), WRONG),
        (json!([]), F),
    ];
    let booleans = [
        (json!(true), T),
        (json!(false), F),
        (json!("true"), WRONG),
        (json!(1), WRONG),
        (json!([false, true]), T),
        (json!([false]), F),
        (json!([]), F),
    ];
    for (rows, one, many) in
        [(&numbers[..], json!(1), json!([1.0, 7])), (&booleans[..], json!(true), json!([true]))]
    {
        let negated: Vec<_> = rows.iter().map(|(value, truth)| (value.clone(), !*truth)).collect();
        check("eq", &one, rows);
        check("in", &many, rows);
        check("ne", &one, &negated);
        check("not_in", &many, &negated);
    }
    check("in", &json!([false, true]), &[(json!(true), T), (json!(false), T), (json!("x"), WRONG)]);
    check("eq", &json!(9_007_199_254_740_993_i64), &[(json!(9_007_199_254_740_992_i64), F)]);
}

#[test]
fn an_empty_list_holds_nothing_of_any_type() {
    for sent in [json!("x"), json!(1), json!(true), json!([]), json!(["x", 1])] {
        assert_eq!(tested("in", &json!([]), &sent), F, "{sent}");
        assert_eq!(tested("not_in", &json!([]), &sent), T, "{sent}");
    }
    assert_eq!(tested("in", &json!([]), &Value::Null), MISSING);
}

#[test]
fn contains_is_a_part_of_a_text_or_an_element() {
    let text = [
        (json!("axb"), T),
        (json!("aXb"), F),
        (json!(["x", 1]), T),
        // An element equals; a part of one is not enough.
        (json!(["axb"]), F),
        (json!(["a", 1]), WRONG),
        (json!([]), F),
        (json!(7), WRONG),
        (json!(true), WRONG),
    ];
    check("contains", &json!("x"), &text);
    check(
        "contains",
        &json!(1),
        &[(json!([2, 1.0]), T), (json!([2]), F), (json!("1"), WRONG), (json!(1), WRONG)],
    );
    check("contains", &json!(true), &[(json!([true]), T), (json!([false]), F), (json!(true), WRONG)]);
}

#[test]
fn texts_are_compared_as_bytes() {
    let others = [(json!(1), WRONG), (json!(true), WRONG), (json!(["xa"]), WRONG)];
    for (op, operand, good, bad) in [
        ("starts_with", "x", "xa", "ax"),
        ("starts_with", "灰", "灰度", "度灰"),
        ("ends_with", "x", "ax", "xa"),
        ("matches", "x+", "axxb", "ab"),
        ("matches", "^x$", "x", "xx"),
        ("matches", "(?i)X", "x", "y"),
    ] {
        check(op, &json!(operand), &[(json!(good), T), (json!(bad), F)]);
        check(op, &json!(operand), &others);
    }
    // Two forms of é are two texts.
    assert_eq!(tested("eq", &json!("\u{e9}"), &json!("e\u{301}")), F);
}

#[test]
fn numbers_versions_and_times_are_ordered() {
    let others = [(json!(true), WRONG), (json!([1]), WRONG), (json!("x"), WRONG)];
    for (op, below, same, above) in [("lt", T, F, F), ("lte", T, T, F), ("gt", F, F, T), ("gte", F, T, T)] {
        check(op, &json!(5), &[(json!(4.5), below), (json!(5.0), same), (json!(6), above)]);
        check(op, &json!(5), &others);
        check(op, &json!(5), &[(json!("4"), WRONG)]);
        let versions = [(json!("10.8.9"), below), (json!("v10.09"), same), (json!("10.10-rc.1"), above)];
        check(&format!("semver_{op}"), &json!("10.9.0"), &versions);
        check(&format!("semver_{op}"), &json!("10.9.0"), &others);
        check(&format!("semver_{op}"), &json!("10.9.0"), &[(json!(11), WRONG), (json!(""), WRONG)]);
    }
    check("semver_eq", &json!("1.2"), &[(json!("1.2.0+build"), T), (json!("1.2.0-a"), F)]);
    let at = json!("2026-11-24T08:00:00Z");
    let (early, same, late) = (
        json!("2026-11-24T15:59:59.999+08:00"),
        json!("2026-11-24T16:00:00+08:00"),
        json!("2026-11-24T08:00:00.001Z"),
    );
    check(
        "before",
        &at,
        &[(early.clone(), T), (same.clone(), F), (late.clone(), F), (json!("today"), WRONG)],
    );
    check("after", &at, &[(early, F), (same, F), (late, T), (json!(1_795_507_200), WRONG)]);
    check("after", &at, &others);
}

#[test]
fn exists_is_never_unknown() {
    let exists = |value: Option<bool>, context: Value| {
        let mut when = json!({"attribute": "user.a", "op": "exists"});
        if let Some(value) = value {
            when["value"] = value.into();
        }
        truth(&when, &context)
    };
    for sent in [json!("x"), json!(""), json!(0), json!(false), json!([])] {
        for (value, expected) in [(None, T), (Some(true), T), (Some(false), F)] {
            assert_eq!(exists(value, json!({ "a": sent })), expected, "{sent}");
        }
    }
    for context in [json!({}), json!({"a": null}), json!({"a": {"b": 1}})] {
        for (value, expected) in [(None, F), (Some(true), F), (Some(false), T)] {
            assert_eq!(exists(value, context.clone()), expected, "{context}");
        }
    }
}

#[test]
fn kleene_tables() {
    let all = [T, F, MISSING, WRONG, UNREADABLE];
    for a in all {
        assert_eq!(!!a, a);
        for b in all {
            let and = match (a, b) {
                (F, _) | (_, F) => F,
                (T, other) | (other, T) => other,
                (Truth::Unknown(x), Truth::Unknown(y)) => Truth::Unknown(x.max(y)),
            };
            assert_eq!(a.and(b), and, "{a:?} {b:?}");
            assert_eq!(a.or(b), !((!a).and(!b)), "{a:?} {b:?}");
            assert_eq!(a.and(b), b.and(a));
            assert_eq!(a.or(b), b.or(a));
        }
    }
    assert_eq!(!UNREADABLE, UNREADABLE);
    assert!(Cause::Missing < Cause::WrongType && Cause::WrongType < Cause::Unreadable);
}

/// Conditions with a known truth.
fn of(truth: Truth) -> Value {
    match truth {
        T => json!({"all_of": []}),
        F => json!({"any_of": []}),
        MISSING => json!({"attribute": "user.missing", "op": "eq", "value": 1}),
        WRONG => json!({"attribute": "user.text", "op": "eq", "value": 1}),
        Truth::Unknown(_) => json!({"audience": "away"}),
    }
}

#[test]
fn groups_follow_the_tables() {
    let all = [T, F, MISSING, WRONG, UNREADABLE];
    let context = json!({"targetingKey": "u-1", "text": "x"});
    for a in all {
        assert_eq!(truth(&of(a), &context), a);
        assert_eq!(truth(&json!({"not": of(a)}), &context), !a);
        for b in all {
            assert_eq!(truth(&json!({"all_of": [of(a), of(b)]}), &context), a.and(b), "{a:?} {b:?}");
            assert_eq!(truth(&json!({"any_of": [of(a), of(b)]}), &context), a.or(b), "{a:?} {b:?}");
        }
    }
}

#[test]
fn audiences_hold_units_and_attributes() {
    for (when, context, expected) in [
        (json!({"audience": "users"}), json!({"targetingKey": "u-1"}), T),
        (json!({"audience": "users"}), json!({"targetingKey": "u-2"}), F),
        (json!({"audience": "users"}), json!({}), MISSING),
        (json!({"audience": "nobody"}), json!({"targetingKey": "u-1"}), F),
        (json!({"audience": "away"}), json!({"targetingKey": "u-1"}), UNREADABLE),
        (json!({"audience": "away"}), json!({}), MISSING),
        (json!({"audience": "users", "attribute": "user.device"}), json!({"device": "d-1"}), T),
        (json!({"audience": "users", "attribute": "user.device"}), json!({"device": "d-2"}), F),
        (json!({"audience": "users", "attribute": "user.device"}), json!({"device": 1}), WRONG),
        (json!({"audience": "users", "attribute": "user.device"}), json!({"device": ["d-1"]}), WRONG),
        (json!({"audience": "users", "attribute": "user.device"}), json!({"targetingKey": "u-1"}), MISSING),
        (json!({"audience": "users", "attribute": "user.id"}), json!({"targetingKey": "u-1"}), T),
        (json!({"audience": "away", "attribute": "order.id"}), json!({"order": {"id": "o"}}), UNREADABLE),
        (json!({"not": {"audience": "away"}}), json!({"targetingKey": "u-1"}), UNREADABLE),
    ] {
        assert_eq!(truth(&when, &context), expected, "{when} {context}");
    }
}

#[test]
fn what_was_fetched_is_asked_by_id() {
    struct Fetched;
    impl Memberships for Fetched {
        fn of(&self, _audience: AudienceIndex, id: &str) -> Membership {
            if id == "u-1" { Membership::Member } else { Membership::Stranger }
        }
    }
    let snapshot = world(&json!({"audience": "away"}));
    for (unit, expected) in [("u-1", T), ("u-2", F)] {
        with_context(&snapshot, &json!({"targetingKey": unit}), |parsed| {
            let scene = scene(&snapshot, parsed, &Fetched);
            assert_eq!(scene.truth(condition(&snapshot.flags()[0]), &mut Silent), expected);
        });
    }
}

/// Any condition over a few attributes and audiences.
pub(in crate::engine) fn any_condition(scope: &'static str) -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    let operand = || prop_oneof![Just(json!("x")), Just(json!(1)), Just(json!(true)), Just(json!("1.0"))];
    let leaf = prop_oneof![
        (name.clone(), prop_oneof![Just("eq"), Just("ne"), Just("contains")], operand()).prop_map(
            move |(a, op, value)| json!({"attribute": format!("{scope}.{a}"), "op": op, "value": value})
        ),
        (name.clone(), prop_oneof![Just("in"), Just("not_in")], prop::collection::vec("[xyz]", 0..3))
            .prop_map(
                move |(a, op, value)| json!({"attribute": format!("{scope}.{a}"), "op": op, "value": value})
            ),
        (name.clone(), prop_oneof![Just("lt"), Just("gte")], 0..4).prop_map(
            move |(a, op, value)| json!({"attribute": format!("{scope}.{a}"), "op": op, "value": value})
        ),
        (name.clone(), prop_oneof![Just("starts_with"), Just("matches"), Just("ends_with")])
            .prop_map(move |(a, op)| json!({"attribute": format!("{scope}.{a}"), "op": op, "value": "x"})),
        name.clone().prop_map(
            move |a| json!({"attribute": format!("{scope}.{a}"), "op": "semver_gte", "value": "1.0"})
        ),
        prop_oneof![Just("users"), Just("nobody"), Just("away")].prop_map(|a| json!({"audience": a})),
        (name, prop_oneof![Just("users"), Just("away")]).prop_map(
            move |(a, audience)| json!({"audience": audience, "attribute": format!("{scope}.{a}")})
        ),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| json!({ "all_of": all })),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|any| json!({ "any_of": any })),
            inner.prop_map(|one| json!({ "not": one })),
        ]
    })
}

/// Values for `a`, `b`, `c` and the unit.
pub(in crate::engine) fn any_facts() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        "[xyz]{0,2}".prop_map(Into::into),
        (0..4).prop_map(Into::into),
        any::<bool>().prop_map(Into::into),
        Just(json!("1.0")),
        Just(json!(["x", 1])),
        Just(json!({"x": 1})),
    ];
    let unit = prop_oneof![Just(json!("u-1")), Just(json!("u-2")), Just(Value::Null)];
    (value.clone(), value.clone(), value, unit)
        .prop_map(|(a, b, c, unit)| json!({"a": a, "b": b, "c": c, "targetingKey": unit}))
}

fn uses_exists(condition: &Value) -> bool {
    condition.to_string().contains("exists")
}

proptest! {
    /// `truth` itself compares the silent trace with the recorder.
    #[test]
    fn explaining_finds_what_deciding_finds(when in any_condition("user"), facts in any_facts()) {
        truth(&when, &facts);
    }

    /// Knowing less never turns a known answer into the other one: it may only become unknown.
    #[test]
    fn taking_facts_away_never_flips_a_condition(
        when in any_condition("user"), facts in any_facts(), taken in prop::collection::vec(any::<bool>(), 4),
    ) {
        prop_assert!(!uses_exists(&when));
        let mut fewer = facts.clone();
        for (name, taken) in ["a", "b", "c", "targetingKey"].iter().zip(taken) {
            if taken {
                fewer[*name] = Value::Null;
            }
        }
        let (with, without) = (truth(&when, &facts), truth(&when, &fewer));
        prop_assert!(!matches!((with, without), (T, F) | (F, T)), "{with:?} {without:?}");
        // Nor can it become known.
        if matches!(with, Truth::Unknown(_)) {
            prop_assert!(matches!(without, Truth::Unknown(_)), "{with:?} {without:?}");
        }
    }

    #[test]
    fn two_compilations_of_one_document_agree(when in any_condition("user")) {
        let json = flag_json(&json!({"rules": [{"id": "r", "when": when, "serve": {"variant": "on"}}]}));
        prop_assert_eq!(document(&json), document(&json));
    }
}
