//! Where a unit is named in what people wrote: the audit, and conditions of flags.

use serde_json::Value;

/// Fields whose texts can be ids: values of conditions, and lists of ids.
const FIELDS: [&str; 4] = ["value", "ids", "unit", "units"];

/// Whether `value` names `unit` where an id can stand.
#[must_use]
pub(super) fn names(value: &Value, unit: &str) -> bool {
    let mut found = false;
    visit(&mut value.clone(), false, &mut |text| found |= text == unit);
    found
}

/// Puts `instead` in the place of `unit` wherever an id can stand; whether it stood anywhere is answered.
pub(super) fn hide(value: &mut Value, unit: &str, instead: &str) -> bool {
    let mut found = false;
    visit(value, false, &mut |text| {
        if text == unit {
            found = true;
            instead.clone_into(text);
        }
    });
    found
}

/// `text` with `instead` in the place of `unit`, except inside a longer id; `None` if it does not stand there. Where
/// words are written without blanks between them, such as in Chinese, only ASCII can be part of a longer id.
#[must_use]
pub(super) fn hidden_in_text(text: &str, unit: &str, instead: &str) -> Option<String> {
    if unit.is_empty() {
        return None;
    }
    let of_id = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let (begins, ends) = (of_id(unit.chars().next()), of_id(unit.chars().next_back()));
    let (mut hidden, mut rest, mut found) = (String::new(), text, false);
    while let Some(at) = rest.find(unit) {
        let (before, from) = rest.split_at(at);
        let after = from.strip_prefix(unit).unwrap_or_default();
        hidden.push_str(before);
        let left = text.strip_suffix(from).unwrap_or_default().chars().next_back();
        if begins && of_id(left) || ends && of_id(after.chars().next()) {
            let mut characters = from.chars();
            hidden.extend(characters.next());
            rest = characters.as_str();
        } else {
            found = true;
            hidden.push_str(instead);
            rest = after;
        }
    }
    hidden.push_str(rest);
    found.then_some(hidden)
}

/// Visits the texts that can be ids. In a difference, what its pointer names decides about `from` and `to`.
fn visit(value: &mut Value, inside: bool, act: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) if inside => act(text),
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, inside, act)),
        Value::Object(fields) => {
            let named = fields.get("pointer").and_then(Value::as_str).and_then(last_name);
            let of_ids = named.is_some_and(|name| FIELDS.contains(&name));
            for (field, value) in fields {
                let inside =
                    FIELDS.contains(&field.as_str()) || (of_ids && matches!(&**field, "from" | "to"));
                visit(value, inside, act);
            }
        }
        _ => {}
    }
}

/// The last part of a pointer that is no place in a list.
fn last_name(pointer: &str) -> Option<&str> {
    pointer.rsplit('/').find(|part| !part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_is_hidden_where_ids_stand_and_nowhere_else() {
        let mut detail = json!({
            "state": "on", "version": 2,
            "diff": [
                {"pointer": "/rules/0/when/value", "from": ["on", "u-2"], "to": ["u-2"]},
                {"pointer": "/rules/0/when/value/3", "from": null, "to": "on"},
                {"pointer": "/rules/0/serve/variant", "from": "off", "to": "on"},
                {"pointer": "/rules/1", "from": null, "to": {"id": "on", "when": {"attribute": "user.id", "op": "eq", "value": "on"}}},
            ],
        });
        assert!(
            names(&detail, "on") && names(&detail, "u-2") && !names(&detail, "off") && !names(&detail, "eq")
        );
        assert!(hide(&mut detail, "on", "#"));
        assert_eq!(
            detail,
            json!({
                "state": "on", "version": 2,
                "diff": [
                    {"pointer": "/rules/0/when/value", "from": ["#", "u-2"], "to": ["u-2"]},
                    {"pointer": "/rules/0/when/value/3", "from": null, "to": "#"},
                    {"pointer": "/rules/0/serve/variant", "from": "off", "to": "on"},
                    {"pointer": "/rules/1", "from": null, "to": {"id": "on", "when": {"attribute": "user.id", "op": "eq", "value": "#"}}},
                ],
            })
        );
        assert!(!hide(&mut detail, "on", "#"), "once");
    }

    #[test]
    fn a_word_of_a_text_is_hidden_whole_or_not_at_all() {
        for (text, expected) in [
            ("u-1", Some("#")),
            ("for u-1.", Some("for #.")),
            ("u-1, u-12 and (u-1)", Some("#, u-12 and (#)")),
            ("u-11", None),
            ("au-1", None),
            ("u-1-a", None),
            ("u-1u-1", None),
            ("删除用户u-1的记录", Some("删除用户#的记录")),
            ("灰 u-1 度", Some("灰 # 度")),
            ("", None),
        ] {
            assert_eq!(hidden_in_text(text, "u-1", "#").as_deref(), expected, "{text}");
        }
        assert_eq!(hidden_in_text("a", "", "#"), None);
        assert_eq!(hidden_in_text("/a/a", "/a", "x").as_deref(), Some("xx"));
        assert_eq!(hidden_in_text("用户张三的订单", "张三", "x").as_deref(), Some("用户x的订单"));
        assert_eq!(hidden_in_text("a@b.cn a@b.cnx", "a@b.cn", "x").as_deref(), Some("x a@b.cnx"));
    }

    proptest::proptest! {
        #[test]
        fn a_text_without_the_id_stays_and_no_whole_word_of_it_is_left(text in "[ab\\- ]{0,12}", unit in "[ab\\-]{1,3}") {
            match hidden_in_text(&text, &unit, "#") {
                None => proptest::prop_assert!(!text.split(' ').any(|word| word == unit)),
                Some(hidden) => proptest::prop_assert!(!hidden.split(' ').any(|word| word == unit)),
            }
        }
    }
}
