use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn read(text: &str) -> Result<Node<'_>, Fault> {
    let mut reader = Reader::new(text.as_bytes())?;
    let value = reader.value(0)?;
    reader.end().map(|()| value)
}

/// Whether `node` is what `serde_json` made of the same text.
fn same(node: &Node<'_>, value: &Value) -> bool {
    match (node, value) {
        (Node::Absent, Value::Null) | (Node::Object, Value::Object(_)) => true,
        (Node::Text(text), Value::String(other)) => text == other,
        (Node::Boolean(one), Value::Bool(other)) => one == other,
        (Node::Number(number), Value::Number(_)) => {
            Number::from_json(value).is_some_and(|other| other.compare(*number).is_eq())
        }
        (Node::List(list), Value::Array(others)) => {
            list.len() == others.len()
                && list.iter().zip(others).all(|(item, other)| match item {
                    Element::Text(text) => other == &**text,
                    Element::Number(number) => {
                        Number::from_json(other).is_some_and(|other| other.compare(*number).is_eq())
                    }
                    Element::Boolean(value) => other == value,
                    Element::Other => other.is_null() || other.is_array() || other.is_object(),
                })
        }
        _ => false,
    }
}

/// Takes what `serde_json` takes, as the same, and refuses what it refuses; but for U+0000, which is never taken.
fn check(text: &str) {
    match (read(text), serde_json::from_str::<Value>(text)) {
        (Ok(node), Ok(value)) => assert!(same(&node, &value), "{text}: {node:?}, not {value}"),
        (Err(fault), _) if *fault == ContextError::Nul => assert!(text.contains("\\u0000"), "{text}"),
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{text}: {ours:?}, not {theirs:?}"),
    }
}

/// Texts at the edges of the grammar.
const EDGES: &[&str] = &[
    "",
    " ",
    "1",
    "-1",
    "0",
    "-0",
    "00",
    "01",
    "-",
    "+1",
    "1.",
    "1.0",
    ".5",
    "1e5",
    "1E+5",
    "1e-5",
    "1e",
    "1e+",
    "1.5e3",
    "1e400",
    "-1e400",
    "1e-400",
    "123456789012345678",
    "1234567890123456789",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1234567890123456789012345678901234567890",
    "1 2",
    "true",
    "tru",
    "truex",
    "null",
    "nul",
    "false",
    "nope",
    r#""""#,
    r#""a"#,
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\x""#,
    r#""\u00e4\u4e2d""#,
    r#""\ud83d\ude00""#,
    r#""\ud83d""#,
    r#""\ude00""#,
    r#""\ud83d\u0041""#,
    r#""\ud83dx""#,
    r#""\u12""#,
    r#""\u12g4""#,
    "\"a\u{1}\"",
    "\"灰度\"",
    r#""灰\n度""#,
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[]",
    "[ ]",
    "[1,[2,[3]],{\"a\":4}]",
    "{",
    "{}",
    "{ }",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1,\"b\":[{}]}",
    "\u{feff}1",
    "[1]\n\t\r ",
    "]",
    "}",
    ",",
    ":",
    "\\",
    "\"\\",
    "\"\\u",
];

#[test]
fn texts_and_numbers_are_read_as_by_another_reader() {
    for text in EDGES {
        check(text);
    }
}

/// Pieces that make texts which are nearly JSON.
fn piece() -> impl Strategy<Value = String> {
    let fixed = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\n", "\\u", "\\u0041", "\\ud83d", "\\ude00", "0", "12",
        "-", ".", "e", "E+", "true", "false", "null", " ", "\n", "\"a\"", "\"a\":", "1.5", "灰", "\u{1}",
    ];
    prop_oneof![prop::sample::select(fixed.to_vec()).prop_map(str::to_owned), "[ -~]{0,3}"]
}

proptest! {
    #[test]
    fn what_is_nearly_json_is_read_as_by_another_reader(pieces in prop::collection::vec(piece(), 0..24)) {
        check(&pieces.concat());
    }

    #[test]
    fn json_with_a_piece_put_in_or_taken_out_too(
        value in crate::engine::context::parse::tests::any_json(),
        at in any::<prop::sample::Index>(),
        gone in 0..3_usize,
        piece in piece(),
    ) {
        let text = value.to_string();
        check(&text);
        let characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len() + 1);
        let (before, after) = characters.split_at(at);
        let after = after.get(gone.min(after.len())..).unwrap_or_default();
        check(&format!("{}{piece}{}", before.iter().collect::<String>(), after.iter().collect::<String>()));
    }

    #[test]
    fn any_number_is_read_exactly(real in any::<f64>(), whole in any::<i128>()) {
        check(&real.to_string());
        check(&format!("{real:e}"));
        check(&whole.to_string());
    }
}
