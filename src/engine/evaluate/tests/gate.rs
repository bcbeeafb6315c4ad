//! The goods gate.

use super::*;

const ON: &str = "on TARGETING_MATCH fixed fixed";
const SHUT: &str = "off TARGETING_MATCH";
const UNREADABLE: &str = "ERROR audience_unavailable";

/// What a flag with this gate decides, and which of the goods it says are eligible.
fn gated(gate: &Value, goods: &Value) -> (String, String) {
    let audiences = vec![
        audience("listed", AudienceKind::Goods, Some(&["g-1", "m-1"])),
        audience("away", AudienceKind::Goods, None),
    ];
    let snapshot = snapshot(audiences, vec![stored(&flag_json(&json!({"goods": gate, "rules": fixed()})))]);
    let mut context = user();
    context["goods"] = goods.clone();
    with_context(&snapshot, &context, |parsed| {
        let flag = &snapshot.flags()[0];
        let decision = evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut Silent);
        let mut recorder = Recorder::new(&snapshot);
        let explained = evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut recorder);
        assert_eq!((explained.result, explained.goods), (decision.result, decision.goods), "{gate} {goods}");
        let count = parsed.context.goods().map_or(0, <[_]>::len);
        let marks = decision.goods.map_or("-".into(), |goods| {
            (0..count).map(|at| if goods.is_eligible(at) { 'y' } else { 'n' }).collect()
        });
        (line(&decision), marks)
    })
}

#[track_caller]
fn check(rows: &[(Value, Value, &str, &str)]) {
    for (gate, goods, expected, marks) in rows {
        let (decided, marked) = gated(gate, goods);
        assert_eq!((decided.as_str(), marked.as_str()), (*expected, *marks), "{gate} {goods}");
    }
}

fn shoes() -> Value {
    json!({"attribute": "goods.category", "op": "eq", "value": "shoes"})
}

fn item(category: &str) -> Value {
    json!({"id": format!("g-{category}"), "category": category, "price": 100})
}

#[test]
fn all_or_any_of_the_goods() {
    let (all, any) = (json!({"include": [shoes()]}), json!({"match": "any", "include": [shoes()]}));
    let (shoe, book) = (item("shoes"), item("books"));
    check(&[
        (all.clone(), json!([shoe]), ON, "y"),
        (all.clone(), json!([shoe, shoe]), ON, "yy"),
        (all.clone(), json!([shoe, book]), SHUT, "yn"),
        (all.clone(), json!([book, shoe]), SHUT, "ny"),
        (all, json!([{"id": "g"}]), SHUT, "n"),
        (any.clone(), json!([book, shoe]), ON, "ny"),
        (any, json!([book, book]), SHUT, "nn"),
        (json!({}), json!([book]), ON, "y"),
    ]);
}

#[test]
fn without_goods_only_a_gate_that_requires_none_passes() {
    for none in [Value::Null, json!([])] {
        for matching in ["all", "any"] {
            check(&[
                (json!({"match": matching}), none.clone(), SHUT, ""),
                (json!({"match": matching, "required": true}), none.clone(), SHUT, ""),
                (json!({"match": matching, "required": false}), none.clone(), ON, ""),
            ]);
        }
        check(&[
            (json!({"match": "value_share", "share_percent": 0}), none.clone(), SHUT, ""),
            (json!({"match": "value_share", "share_percent": 0, "required": false}), none.clone(), ON, ""),
        ]);
    }
}

#[test]
fn a_share_of_the_order_s_value() {
    let gate = |share: f64| json!({"match": "value_share", "share_percent": share, "include": [shoes()]});
    let goods = |shoes: i64, books: i64| json!([{"id": "s", "category": "shoes", "price": shoes}, {"id": "b", "category": "books", "price": books}]);
    check(&[
        (gate(50.0), goods(50, 50), ON, "yn"),
        (gate(50.0), goods(49, 51), SHUT, "yn"),
        (gate(50.0001), goods(50, 50), SHUT, "yn"),
        (gate(33.3333), goods(1, 2), ON, "yn"),
        (gate(33.3334), goods(1, 2), SHUT, "yn"),
        (gate(0.0), goods(0, 1), ON, "yn"),
        // A total of 0 has no shares.
        (gate(0.0), goods(0, 0), SHUT, "yn"),
        (gate(100.0), goods(1, 0), ON, "yn"),
        (gate(100.0), goods(1, 1), SHUT, "yn"),
    ]);
    let mut priceless = goods(100, 0);
    priceless[1].as_object_mut().unwrap().remove("price");
    check(&[(gate(0.0), priceless, SHUT, "yn")]);
    let quantity = json!([
        {"id": "s", "category": "shoes", "price": 1, "quantity": 3},
        {"id": "b", "category": "books", "price": 1},
    ]);
    check(&[(gate(75.0), quantity.clone(), ON, "yn"), (gate(75.0001), quantity, SHUT, "yn")]);
    // Wide integers: 200 items of the highest price and quantity.
    let most = 9_007_199_254_740_991_i64;
    let items: Vec<_> = (0..200)
        .map(|n| json!({"id": format!("g-{n}"), "category": if n < 100 { "shoes" } else { "x" }, "price": most, "quantity": most}))
        .collect();
    let decide = |share| {
        let flag = flag_json(&json!({"goods": gate(share), "rules": fixed()}));
        decided(&of_flags(&[flag]), "flag", &json!({"order": {"amount": 1}, "goods": items}))
    };
    assert_eq!(decide(50.0), ON);
    assert_eq!(decide(50.0001), SHUT);
}

#[test]
fn an_exclude_shuts_unless_nothing_was_sent() {
    let virtual_goods = json!({"exclude": [{"attribute": "goods.virtual", "op": "eq", "value": true}]});
    let gate = |virtual_is: Value| (virtual_goods.clone(), json!([{"id": "g", "virtual": virtual_is}]));
    for (sent, expected, marks) in [
        (json!(true), SHUT, "n"),
        (json!(false), ON, "y"),
        (Value::Null, ON, "y"),
        // Of another type than the condition's: unknown never opens.
        (json!("true"), SHUT, "n"),
    ] {
        let (gate, goods) = gate(sent);
        check(&[(gate, goods, expected, marks)]);
    }
    let both = json!({"include": [shoes()], "exclude": [{"audience": "listed"}]});
    check(&[
        (both.clone(), json!([{"id": "g-1", "category": "shoes"}]), SHUT, "n"),
        (both, json!([{"id": "g-2", "category": "shoes"}]), ON, "y"),
    ]);
}

#[test]
fn includes_are_alternatives_and_unknown_ones_do_not_open() {
    let gate = json!({"include": [shoes(), {"attribute": "goods.price", "op": "lt", "value": 10}]});
    check(&[
        (gate.clone(), json!([{"id": "g", "category": "shoes"}]), ON, "y"),
        (gate.clone(), json!([{"id": "g", "price": 9}]), ON, "y"),
        (gate.clone(), json!([{"id": "g", "category": 7}]), SHUT, "n"),
        (gate, json!([{"id": "g"}]), SHUT, "n"),
        (json!({"include": [{"not": shoes()}]}), json!([{"id": "g"}]), SHUT, "n"),
        (json!({"include": [{"audience": "listed"}]}), json!([{"id": "g-1"}, {"id": "g-2"}]), SHUT, "yn"),
        (
            json!({"include": [{"audience": "listed", "attribute": "goods.merchant"}]}),
            json!([{"id": "g", "merchant": "m-1"}]),
            ON,
            "y",
        ),
        // Conditions on the user and the order are allowed here too.
        (
            json!({"include": [{"attribute": "order.amount", "op": "gte", "value": 5}]}),
            json!([{"id": "g", "price": 5}]),
            ON,
            "y",
        ),
    ]);
}

#[test]
fn an_unreadable_audience_ends_the_flag() {
    let goods = || json!([{"id": "g", "category": "shoes"}]);
    check(&[
        (json!({"exclude": [{"audience": "away"}]}), goods(), UNREADABLE, "-"),
        (json!({"include": [{"audience": "away"}]}), goods(), UNREADABLE, "-"),
        (json!({"match": "any", "exclude": [{"audience": "away"}]}), goods(), UNREADABLE, "-"),
        // What is known without it is decided without it.
        (json!({"include": [{"audience": "away"}, shoes()]}), goods(), ON, "y"),
        (json!({"exclude": [{"audience": "away"}, shoes()]}), goods(), SHUT, "n"),
        (json!({"exclude": [shoes()], "include": [{"audience": "away"}]}), goods(), SHUT, "n"),
        (json!({"exclude": [{"audience": "away"}]}), json!([]), SHUT, ""),
    ]);
}

#[test]
fn goods_have_a_bucket_of_their_own() {
    let salted = Salted::new("salt/goods:");
    let goods: Vec<_> = (0..200).map(|n| json!({"id": format!("g-{n}")})).collect();
    let expected: String =
        (0..200).map(|n| if salted.bucket(&format!("g-{n}")).ppm() < 300_000 { 'y' } else { 'n' }).collect();
    let (_, marks) = gated(&json!({"match": "any", "rollout_percent": 30}), &json!(goods));
    assert_eq!(marks, expected);
    check(&[
        (json!({"rollout_percent": 0}), json!([{"id": "g"}]), SHUT, "n"),
        (json!({"rollout_percent": 100}), json!([{"id": "g"}]), ON, "y"),
    ]);
}

#[test]
fn a_gate_that_did_not_pass_is_no_exposure_not_even_for_control() {
    let flag = flag_json(&json!({"goods": {}, "rules": ramp(0.0, 100.0)}));
    let snapshot = of_flags(&[flag]);
    assert_eq!(decided(&snapshot, "flag", &user()), SHUT);
    let mut context = user();
    context["goods"] = json!([{"id": "g"}]);
    assert_eq!(decided(&snapshot, "flag", &context), "off SPLIT ramp control");
}
