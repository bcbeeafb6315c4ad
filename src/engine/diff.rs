//! What changed between two documents, value by value.

use serde::Serialize;
use serde_json::Value;

use super::json::child;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// JSON pointer.
    pub pointer: String,
    /// The old value; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The new value; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// The differences between two JSON values: objects are compared field by field, lists item by item.
#[must_use]
pub fn diff(from: &Value, to: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare(Some(from), Some(to), "", &mut differences);
    differences
}

fn compare(from: Option<&Value>, to: Option<&Value>, pointer: &str, out: &mut Vec<Difference>) {
    match (from, to) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            // Pointers are made for those only that differ.
            for (key, value) in a.iter().filter(|(key, value)| b.get(*key) != Some(value)) {
                compare(Some(value), b.get(key), &child(pointer, key), out);
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                compare(None, Some(value), &child(pointer, key), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in (0..a.len().max(b.len())).filter(|at| a.get(*at) != b.get(*at)) {
                compare(a.get(at), b.get(at), &child(pointer, &at.to_string()), out);
            }
        }
        (from, to) if from == to => {}
        (from, to) => {
            out.push(Difference { pointer: pointer.to_owned(), from: from.cloned(), to: to.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_have_pointers_and_both_values() {
        let from = json!({"a": 1, "rules": [{"percent": 5}, {"x": 1}], "gone": true, "same": [1, 2]});
        let to = json!({"a": 2, "rules": [{"percent": 20}], "new": "y", "same": [1, 2]});
        let pointers: Vec<_> = diff(&from, &to).into_iter().map(|d| (d.pointer, d.from, d.to)).collect();
        assert_eq!(
            pointers,
            [
                ("/a".into(), Some(json!(1)), Some(json!(2))),
                ("/gone".into(), Some(json!(true)), None),
                ("/rules/0/percent".into(), Some(json!(5)), Some(json!(20))),
                ("/rules/1".into(), Some(json!({"x": 1})), None),
                ("/new".into(), None, Some(json!("y"))),
            ]
        );
    }
}
