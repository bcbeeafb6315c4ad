use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::engine::attributes::Slot;
use crate::engine::context::Operand;
use crate::engine::flag::Attribute;
use crate::engine::number::Number;

const NAMES: [&str; 8] = [
    "user.region",
    "user.tags",
    "user.vip",
    "user.device_id",
    "order.currency",
    "order.tags",
    "goods.category",
    "goods.virtual",
];

fn attributes() -> Attributes {
    let mut attributes = Attributes::default();
    for name in NAMES {
        attributes.number(&Attribute::parse(name).unwrap());
    }
    attributes
}

fn show(operand: Option<Operand<'_>>) -> String {
    operand.map_or("-".into(), |operand| match operand {
        Operand::Text(text) => format!("{text:?}"),
        Operand::Number(Number::Whole(number)) => number.to_string(),
        Operand::Number(Number::Real(number)) => number.to_string(),
        Operand::Boolean(value) => value.to_string(),
        Operand::List(elements) => format!("{elements:?}"),
    })
}

/// Everything that a context says, in one text.
fn told(parsed: &Parsed<'_>) -> String {
    let (attributes, context) = (attributes(), &parsed.context);
    let slot = |name: &str| {
        let attribute = Attribute::parse(name).unwrap();
        attributes.find(attribute.scope, &attribute.name).unwrap()
    };
    let mut text = String::new();
    let names = ["user.id", "order.id", "order.amount"].into_iter().chain(NAMES);
    for name in names.filter(|name| !name.starts_with("goods.")) {
        let value = show(context.attribute(slot(name)));
        if value != "-" {
            write!(text, "{name}={value} ").unwrap();
        }
    }
    if let Some(signature) = &parsed.unit_signature {
        write!(text, "signature={signature} ").unwrap();
    }
    for item in context.goods().unwrap_or_default() {
        write!(text, "[{}", item.id()).unwrap();
        for name in ["goods.price", "goods.quantity", "goods.category", "goods.virtual"] {
            let value = show(item.attribute(slot(name)));
            if value != "-" {
                write!(text, " {}={value}", name.trim_start_matches("goods.")).unwrap();
            }
        }
        text.push_str("] ");
    }
    if context.goods().is_some_and(<[_]>::is_empty) {
        text.push_str("[] ");
    }
    text.trim_end().to_owned()
}

fn ofrep(context: &str) -> String {
    let body = format!("{{\"context\":{context}}}");
    match parse_ofrep(body.as_bytes(), &attributes()) {
        Ok(parsed) => told(&parsed),
        Err(error) => format!("{} {error}", error.code()),
    }
}

fn decision(body: &str) -> String {
    match parse_decision(body.as_bytes(), &attributes()) {
        Ok(parsed) => told(&parsed),
        Err(error) => format!("{} {error}", error.code()),
    }
}

#[track_caller]
fn check(rows: &[(&str, &str)], run: impl Fn(&str) -> String) {
    for (sent, expected) in rows {
        assert_eq!(run(sent), *expected, "{sent}");
    }
}

#[test]
fn both_forms_give_the_same_context() {
    let expected = "user.id=\"u-1\" order.id=\"o-1\" order.amount=45900 user.region=\"CN-31\" user.vip=true \
                    order.currency=\"CNY\" signature=9f2c \
                    [g-1 price=45900 quantity=1 category=\"shoes\"] [g-2 price=5 quantity=2 virtual=false]";
    let first = r#"{"id":"g-1","category":"shoes","price":45900,"quantity":1,"x":{"y":[1]}}"#;
    let goods = format!(r#"[{first},{{"id":"g-2","virtual":false,"price":5,"quantity":2}}]"#);
    let user = r#""region":"CN-31","vip":true,"unitSignature":"9f2c","unknown":[{"a":{}}]"#;
    let order = r#""id":"o-1","amount":45900,"currency":"CNY""#;
    let one = ofrep(&format!(r#"{{"targetingKey":"u-1",{user},"order":{{{order}}},"goods":{goods}}}"#));
    let two = decision(&format!(
        r#"{{"placement":"checkout","user":{{"id":"u-1",{user}}},"order":{{{order},"goods":{goods}}}}}"#
    ));
    assert_eq!(one, expected);
    assert_eq!(two, expected);
}

#[test]
fn a_decision_needs_a_placement_and_a_user() {
    check(
        &[
            (r#"{"placement":"c","user":{}}"#, ""),
            (r#"{"placement":"c","user":{"id":"u"},"order":null}"#, "user.id=\"u\""),
            (r#"{"user":{}}"#, "context_invalid `placement`: a text is needed"),
            (r#"{"placement":7,"user":{}}"#, "context_invalid `placement`: a text is needed"),
            (r#"{"placement":"c"}"#, "context_invalid `user`: an object is needed"),
            (r#"{"placement":"c","user":null}"#, "context_invalid `user`: an object is needed"),
            (r#"{"placement":"c","user":[]}"#, "context_invalid `user`: an object is needed"),
            (r#"{"placement":"c","user":{},"order":3}"#, "context_invalid `order`: an object is needed"),
            (
                r#"{"placement":"c","user":{},"order":{"goods":{}}}"#,
                "context_invalid `goods`: a list is needed",
            ),
            (
                r#"{"placement":"c","user":{},"order":{"goods":[7]}}"#,
                "context_invalid `goods item`: an object is needed",
            ),
            (
                r#"{"placement":"c","user":{"id":""}}"#,
                "unit_invalid `user.id` must be a text of 1 to 256 bytes",
            ),
            (
                r#"{"placement":"c","user":{"id":7}}"#,
                "unit_invalid `user.id` must be a text of 1 to 256 bytes",
            ),
            // The names of OFREP mean nothing here.
            (r#"{"placement":"c","user":{"targetingKey":"u","order.amount":5,"goods":[{"id":"g"}]}}"#, ""),
            (r#"{"placement":"c","user":{"id":"u"},"goods":[{"id":"g"}]}"#, "user.id=\"u\""),
        ],
        decision,
    );
    let parsed = parse_decision(br#"{"placement":"checkout","user":{}}"#, &attributes()).unwrap();
    assert_eq!(parsed.placement.as_deref(), Some("checkout"));
}

#[test]
fn real_clients_send_next_to_nothing() {
    for body in
        ["{}", r#"{"context":{}}"#, r#"{"context":{"targetingKey":""}}"#, r#"{"other":1,"context":{}}"#]
    {
        let parsed = parse_ofrep(body.as_bytes(), &attributes()).unwrap();
        assert_eq!(told(&parsed), "", "{body}");
        assert_eq!(parsed.context.user_id(), None);
    }
    for body in ["[]", "7", "null", "\"x\"", "true", "1.5", "-1"] {
        let error = parse_ofrep(body.as_bytes(), &attributes()).unwrap_err();
        assert_eq!(error, ContextError::Shape { field: "body", wanted: "an object" }, "{body}");
    }
    let error = parse_ofrep(br#"{"context":7}"#, &attributes()).unwrap_err();
    assert_eq!(error.code(), "context_invalid");
}

#[test]
fn the_targeting_key_beats_an_attribute_id() {
    const UNIT: &str = "unit_invalid `targetingKey` must be a text of 1 to 256 bytes";
    check(
        &[
            (r#"{"targetingKey":"a","id":"b"}"#, "user.id=\"a\""),
            (r#"{"id":"b","targetingKey":"a"}"#, "user.id=\"a\""),
            (r#"{"id":"b"}"#, "user.id=\"b\""),
            (r#"{"id":"b","targetingKey":""}"#, "user.id=\"b\""),
            (r#"{"targetingKey":null,"id":"b"}"#, "user.id=\"b\""),
            (r#"{"targetingKey":"a","id":7}"#, "user.id=\"a\""),
            (r#"{"id":7}"#, ""),
            (r#"{"targetingKey":7}"#, UNIT),
            (r#"{"targetingKey":["a"]}"#, UNIT),
            (r#"{"targetingKey":{}}"#, UNIT),
            (r#"{"targetingKey":true}"#, UNIT),
        ],
        ofrep,
    );
}

#[test]
fn of_duplicates_the_last_counts_and_null_removes() {
    check(
        &[
            (r#"{"region":"a","region":"b"}"#, "user.region=\"b\""),
            (r#"{"region":"a","region":null}"#, ""),
            (r#"{"region":"a","region":{}}"#, ""),
            (r#"{"region":null,"region":"b"}"#, "user.region=\"b\""),
            (r#"{"targetingKey":"a","targetingKey":"b"}"#, "user.id=\"b\""),
            (r#"{"targetingKey":"a","targetingKey":null}"#, ""),
            (r#"{"targetingKey":"a","targetingKey":""}"#, ""),
            (r#"{"id":"c","targetingKey":"a","targetingKey":null}"#, "user.id=\"c\""),
            (r#"{"id":"a","id":7}"#, ""),
            (r#"{"unitSignature":"x","unitSignature":null}"#, ""),
            (r#"{"order":{"amount":1,"amount":null}}"#, ""),
            (r#"{"order":{"amount":1,"currency":"CNY"},"order":{"id":"o"}}"#, "order.id=\"o\""),
            (r#"{"order":{"amount":1,"id":"o"},"order":null}"#, ""),
            (r#"{"goods":[{"id":"a"}],"goods":[{"id":"b"}]}"#, "[b quantity=1]"),
            (r#"{"goods":[{"id":"a"}],"goods":null}"#, ""),
            (
                r#"{"goods":[{"id":"a","id":"b","price":1,"price":null,"quantity":3,"quantity":null}]}"#,
                "[b quantity=1]",
            ),
            (r#"{"region":"a"},"context":{"vip":true}"#, "user.vip=true"),
            (
                r#"{"targetingKey":"a","order":{"id":"o"},"goods.id":"g","unitSignature":"s"},"context":{}"#,
                "",
            ),
        ],
        ofrep,
    );
    check(
        &[
            (
                r#"{"placement":"c","order":{"id":"o"},"user":{"id":"a","region":"r"},"user":{"vip":true}}"#,
                "order.id=\"o\" user.vip=true",
            ),
            (
                r#"{"placement":"c","user":{"id":"a"},"order":{"id":"o","goods":[{"id":"g"}]},"order":{}}"#,
                "user.id=\"a\"",
            ),
        ],
        decision,
    );
}

#[test]
fn flat_attributes_stand_for_those_who_cannot_nest() {
    check(
        &[
            (r#"{"order.amount":45900,"order.currency":"CNY"}"#, "order.amount=45900 order.currency=\"CNY\""),
            (
                r#"{"goods.id":"g","goods.price":7,"goods.quantity":2,"goods.category":"shoes"}"#,
                "order.amount=14 [g price=7 quantity=2 category=\"shoes\"]",
            ),
            (r#"{"goods.price":7}"#, ""),
            (r#"{"goods.id":null,"goods.price":7}"#, ""),
            (r#"{"goods.id":"flat","goods":[{"id":"nested"}]}"#, "[nested quantity=1]"),
            (r#"{"goods.id":"flat","goods":[]}"#, "[]"),
            (r#"{"goods.id":"flat","goods":null}"#, "[flat quantity=1]"),
            (r#"{"order.amount":5,"order":{"id":"o"}}"#, "order.id=\"o\" order.amount=5"),
            (r#"{"goods.id":""}"#, "id_invalid `goods[0].id` must be a text of 1 to 256 bytes"),
        ],
        ofrep,
    );
}

#[test]
fn money_is_a_whole_number_of_minor_units() {
    let refused = |field: &str| {
        format!(
            "out_of_range `{field}` must be a whole number from 0 to 9007199254740991 in the currency's minor unit"
        )
    };
    for (text, read) in [
        ("45900", Some("45900")),
        ("45900.0", Some("45900")),
        ("4.59e4", Some("45900")),
        ("0", Some("0")),
        ("-0", Some("0")),
        ("-0.0", Some("0")),
        ("9007199254740991", Some("9007199254740991")),
        ("9007199254740992", None),
        ("9007199254740993", None),
        ("18446744073709551616", None),
        ("9223372036854775808", None),
        ("-1", None),
        ("0.5", None),
        ("\"45900\"", None),
        ("true", None),
        ("[1]", None),
        ("{}", None),
    ] {
        let amount = ofrep(&format!(r#"{{"order":{{"amount":{text}}}}}"#));
        let expected = read.map_or_else(|| refused("order.amount"), |read| format!("order.amount={read}"));
        assert_eq!(amount, expected, "{text}");
        let price =
            ofrep(&format!(r#"{{"order.amount":1,"goods":[{{"id":"g"}},{{"id":"h","price":{text}}}]}}"#));
        let expected = read.map_or_else(
            || refused("goods[1].price"),
            |read| format!("order.amount=1 [g quantity=1] [h price={read} quantity=1]"),
        );
        assert_eq!(price, expected, "{text}");
        let quantity = ofrep(&format!(r#"{{"goods":[{{"id":"g","quantity":{text}}}]}}"#));
        let expected =
            read.map_or_else(|| refused("goods[0].quantity"), |read| format!("[g quantity={read}]"));
        assert_eq!(quantity, expected, "{text}");
    }
}

#[test]
fn an_absent_amount_is_the_sum_of_the_goods() {
    let over = "out_of_range `order.amount` must be a whole number from 0 to 9007199254740991 in the \
                currency's minor unit";
    let amount =
        |goods: &str| ofrep(&format!(r#"{{"goods":{goods}}}"#)).split(" [").next().unwrap().to_owned();
    check(
        &[
            (r#"[{"id":"g","price":3,"quantity":2},{"id":"h","price":4}]"#, "order.amount=10"),
            (r#"[{"id":"g","price":9007199254740991}]"#, "order.amount=9007199254740991"),
            (r#"[{"id":"g","price":3,"quantity":0}]"#, "order.amount=0"),
            (r#"[{"id":"g","price":9007199254740991},{"id":"h","price":1}]"#, over),
            (r#"[{"id":"g","price":9007199254740991,"quantity":9007199254740991}]"#, over),
        ],
        amount,
    );
    assert_eq!(
        ofrep(r#"{"goods":[{"id":"g","price":3},{"id":"h"}]}"#),
        "[g price=3 quantity=1] [h quantity=1]"
    );
    assert_eq!(ofrep(r#"{"goods":[]}"#), "[]");
    let sent = ofrep(r#"{"order":{"amount":1},"goods":[{"id":"g","price":9007199254740991,"quantity":2}]}"#);
    assert_eq!(sent.split(' ').next(), Some("order.amount=1"));
}

fn parsed(body: &str) -> Result<(), ContextError> {
    parse_ofrep(body.as_bytes(), &attributes()).map(|_| ())
}

#[test]
fn counts_have_limits() {
    let goods = |count: usize| {
        let items: Vec<_> = (0..count).map(|n| json!({"id": format!("g-{n}")})).collect();
        json!({"context": {"goods": items}}).to_string()
    };
    assert_eq!(parsed(&goods(200)), Ok(()));
    assert_eq!(parsed(&goods(201)), Err(ContextError::TooManyGoods { most: 200 }));
    let many = |count: usize| -> serde_json::Map<String, serde_json::Value> {
        (0..count).map(|n| (format!("a{n:03}"), n.into())).collect()
    };
    let mut item = many(99);
    item.insert("id".into(), "g".into());
    assert_eq!(parsed(&json!({"context": {"goods": [item]}}).to_string()), Ok(()));
    item.insert("one".into(), 1.into());
    let too_many = |field| Err(ContextError::TooManyAttributes { field });
    assert_eq!(parsed(&json!({"context": {"goods": [item]}}).to_string()), too_many("goods item"));
    assert_eq!(parsed(&json!({"context": many(100)}).to_string()), Ok(()));
    assert_eq!(parsed(&json!({"context": many(101)}).to_string()), too_many("user"));
    assert_eq!(parsed(&json!({"context": {"order": many(100)}}).to_string()), Ok(()));
    assert_eq!(parsed(&json!({"context": {"order": many(101)}}).to_string()), too_many("order"));
}

#[test]
fn texts_and_ids_have_limits() {
    let context = |context: serde_json::Value| parsed(&json!({ "context": context }).to_string());
    let long = |field: &str| Err(ContextError::TooLong { field: field.into() });
    let (fits, over) = ("x".repeat(4_096), "x".repeat(4_097));
    for name in ["region", "unknown"] {
        assert_eq!(context(json!({name: fits})), Ok(()));
        assert_eq!(context(json!({name: over})), long(name));
        assert_eq!(context(json!({name: ["a", fits]})), Ok(()));
        assert_eq!(context(json!({name: ["a", over]})), long(name));
        assert_eq!(context(json!({"order": {name: over}})), long(name));
        assert_eq!(context(json!({"goods": [{"id": "g", name: over}]})), long(name));
    }
    // Bytes are counted, not characters.
    let (fits, over) = ("é".repeat(128), "é".repeat(128) + "x");
    for (field, sent, bad) in [
        ("order.id", json!({"order": {"id": fits}}), json!({"order": {"id": over}})),
        ("goods[0].id", json!({"goods": [{"id": fits}]}), json!({"goods": [{"id": over}]})),
    ] {
        assert_eq!(context(sent), Ok(()));
        assert_eq!(context(bad), Err(ContextError::Id { field: field.into() }));
    }
    assert_eq!(context(json!({"targetingKey": fits})), Ok(()));
    assert_eq!(context(json!({"targetingKey": over})), Err(ContextError::Unit { field: "targetingKey" }));
    let user = |id: &str| {
        parse_decision(json!({"placement": "c", "user": {"id": id}}).to_string().as_bytes(), &attributes())
            .map(|_| ())
    };
    assert_eq!(user(&fits), Ok(()));
    assert_eq!(user(&over), Err(ContextError::Unit { field: "user.id" }));
    assert_eq!(
        context(json!({"goods": [{"price": 1}]})),
        Err(ContextError::Id { field: "goods[0].id".into() })
    );
    assert_eq!(
        context(json!({"goods": [{"id": "g"}, {"id": 7}]})),
        Err(ContextError::Id { field: "goods[1].id".into() })
    );
    assert_eq!(context(json!({"order": {"id": ""}})), Err(ContextError::Id { field: "order.id".into() }));
}

#[test]
fn a_unit_is_a_text_of_1_to_256_bytes() {
    let attributes = attributes();
    let slot = attributes.find(Scope::User, "device_id").unwrap();
    for (value, unit) in [
        (json!("d-1"), Some("d-1")),
        (json!(""), None),
        (json!(7), None),
        (json!(["d-1"]), None),
        (json!("d".repeat(257)), None),
    ] {
        let body = json!({"context": {"device_id": value}}).to_string();
        let parsed = parse_ofrep(body.as_bytes(), &attributes).unwrap();
        assert_eq!(parsed.context.unit(slot), unit, "{value}");
        assert_eq!(parsed.context.unit(Slot::USER_ID), None);
    }
}

/// `levels` lists inside each other.
fn lists(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[test]
fn depth_is_counted_over_the_whole_body() {
    for (around, before, after) in [
        (1, "{\"x\":", "}"),
        (2, "{\"context\":{\"x\":", "}}"),
        (2, "{\"context\":{\"region\":", "}}"),
        (3, "{\"context\":{\"order\":{\"x\":", "}}}"),
        (4, "{\"context\":{\"goods\":[{\"id\":\"g\",\"x\":", "}]}}"),
    ] {
        let body = |levels| format!("{before}{}{after}", lists(levels));
        assert_eq!(parsed(&body(32 - around)), Ok(()), "{before}");
        assert!(
            matches!(parsed(&body(33 - around)), Err(ContextError::TooDeep { line: 1, column: 32.. })),
            "{before}"
        );
        let objects = |n: usize| format!("{before}{}1{}{after}", "{\"y\":".repeat(n), "}".repeat(n));
        assert_eq!(parsed(&objects(32 - around)), Ok(()), "{before}");
        assert!(
            matches!(parsed(&objects(33 - around)), Err(ContextError::TooDeep { line: 1, column: 32.. })),
            "{before}"
        );
    }
    for (around, before, after) in [
        (2, "\"user\":{\"x\":", "}}"),
        (2, "\"user\":{},\"order\":{\"x\":", "}}"),
        (4, "\"user\":{},\"order\":{\"goods\":[{\"id\":\"g\",\"x\":", "}]}}"),
    ] {
        let body = |levels| format!("{{\"placement\":\"c\",{before}{}{after}", lists(levels));
        let parse = |body: String| parse_decision(body.as_bytes(), &attributes()).map(|_| ());
        assert_eq!(parse(body(32 - around)), Ok(()), "{before}");
        assert!(
            matches!(parse(body(33 - around)), Err(ContextError::TooDeep { line: 1, column: 32.. })),
            "{before}"
        );
    }
    assert!(matches!(
        parsed(&format!("{{\"context\":{{\"x\":{}}}}}", lists(30_000))),
        Err(ContextError::TooDeep { line: 1, column: 32.. })
    ));
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (body, line, column) in [
        (&b"{\"context\":\n {\"a\": nope}}"[..], 2, 9),
        (b"{\"a\":\n\xff}", 2, 1),
        (b"{\"\xc3(\":1}", 1, 3),
        (b"\xef\xbb\xbf{}", 1, 1),
        (b"{} x", 1, 4),
        (b"{\"a\":1,}", 1, 8),
    ] {
        let shown = String::from_utf8_lossy(body);
        let error = parse_ofrep(body, &attributes()).unwrap_err();
        let ContextError::Json { line: l, column: c, detail } = &error else { panic!("{shown}: {error}") };
        assert_eq!((*l, *c), (line, column), "{shown}: {error}");
        assert!(!detail.contains("line"), "{detail}");
    }
    for body in [
        "",
        "{",
        r#"{"a":1e400}"#,
        r#"{"a":NaN}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"\ud800":1}"#,
        r#"{"a":{"\ud800":1}}"#,
        r#"{"a":["\udc00\ud800"]}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{a:1}"#,
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\0\"}",
    ] {
        let error = parse_ofrep(body.as_bytes(), &attributes()).unwrap_err();
        assert!(matches!(error, ContextError::Json { .. }), "{body}: {error}");
        assert_eq!(error.code(), "json_invalid");
    }
}

#[test]
fn a_nul_is_refused_wherever_it_stands() {
    for body in [
        r#"{"context":{"targetingKey":"a\u0000"}}"#,
        r#"{"context":{"region":"\u0000"}}"#,
        r#"{"context":{"unknown":["\u0000"]}}"#,
        r#"{"context":{"x":{"y":"\u0000"}}}"#,
        r#"{"context":{"goods":[{"id":"\u0000"}]}}"#,
        r#"{"other":"\u0000"}"#,
        r#"{"context":{"a\u0000":1}}"#,
        r#"{"context":{"x":{"y\u0000":1}}}"#,
    ] {
        assert_eq!(parsed(body).unwrap_err().code(), "json_invalid", "{body}");
    }
    assert_eq!(parsed(r#"{"context":{"region":"\u0000"}}"#), Err(ContextError::Nul));
    assert_eq!(ofrep(r#"{"region":"\u4e2d\ud83d\ude00\n"}"#), "user.region=\"中😀\\n\"");
}

#[test]
fn arrays_keep_scalars_only() {
    assert_eq!(
        ofrep(r#"{"tags":["a",1,1.5,true,null,[1],{"x":1}]}"#),
        "user.tags=[Text(\"a\"), Number(Whole(1)), Number(Real(1.5)), Boolean(true), Other, Other, Other]"
    );
    assert_eq!(ofrep(r#"{"order":{"tags":[]}}"#), "order.tags=[]");
    assert_eq!(ofrep(r#"{"tags":18446744073709551615}"#), "user.tags=18446744073709552000");
    assert_eq!(ofrep(r#"{"tags":-9223372036854775808}"#), "user.tags=-9223372036854775808");
}

pub(super) fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let name = prop_oneof![
        Just("targetingKey"),
        Just("id"),
        Just("order"),
        Just("goods"),
        Just("goods.id"),
        Just("order.amount"),
        Just("price"),
        Just("quantity"),
        Just("amount"),
        Just("region"),
        Just("tags"),
        Just("x"),
        Just("user"),
        Just("context"),
        Just("placement"),
        Just("unitSignature"),
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        (0..100_i64).prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let attributes = attributes();
        prop_assert!(parse_decision(&bytes, &attributes).is_err());
        if let Err(error) = parse_ofrep(&bytes, &attributes) {
            prop_assert!(!error.code().is_empty());
        }
    }

    #[test]
    fn no_json_panics_and_every_refusal_has_a_code(value in any_json(), cut in 0..400_usize) {
        let attributes = attributes();
        for text in [
            value.to_string(),
            json!({"context": value}).to_string(),
            json!({"placement": "c", "user": value, "order": value}).to_string(),
        ] {
            let whole = text.as_bytes();
            for bytes in [whole, whole.get(..cut).unwrap_or(whole)] {
                for outcome in [parse_ofrep(bytes, &attributes), parse_decision(bytes, &attributes)] {
                    if let Err(error) = outcome {
                        prop_assert!(!error.code().is_empty() && !error.to_string().is_empty());
                    }
                }
            }
        }
    }
}
