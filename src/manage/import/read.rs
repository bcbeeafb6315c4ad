//! Reads what an export holds, with every fault by its pointer.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::engine::context::ID_BYTES_MAX;
use crate::engine::flag::{AudienceKind, Faults};
use crate::engine::json::child;
use crate::engine::key::AudienceKey;
use crate::manage::export::EXPORT_FORMAT;

/// Most ids of an audience that an import lists: all are stored in one transaction.
pub(super) const IDS_MAX: usize = 10_000;

/// What was sent: flags as they stand, to be read in their environment, and audiences.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) flags: Vec<Value>,
    pub(super) audiences: Vec<SentAudience>,
}

/// An audience that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SentAudience {
    /// Its place in the list that was sent.
    pub(super) at: usize,
    pub(super) key: AudienceKey,
    pub(super) kind: AudienceKind,
    pub(super) size: Option<i64>,
    /// Sorted, each once; `None`: it must be there already.
    pub(super) ids: Option<Vec<String>>,
}

/// Reads `value`; what is wrong with its shape is added to `faults`.
pub(super) fn sent(value: Value, faults: &mut Faults) -> Sent {
    let Value::Object(mut object) = value else {
        faults.add("", "wrong_type", "an export is an object");
        return Sent::default();
    };
    refuse_unknown(&object, "", &["huidu_export", "environment", "flags", "audiences"], faults);
    match object.get("huidu_export") {
        None => faults.add("/huidu_export", "required", "`huidu_export` is required: this is no export"),
        Some(format) if format.as_i64() != Some(EXPORT_FORMAT) => {
            faults.add(
                "/huidu_export",
                "out_of_range",
                format!("only the form {EXPORT_FORMAT} is known here"),
            );
        }
        Some(_) => {}
    }
    if object.get("environment").is_some_and(|environment| !environment.is_string()) {
        faults.add("/environment", "wrong_type", "a text is needed");
    }
    let flags = list(&mut object, "flags", faults);
    let (mut audiences, mut keys) = (Vec::new(), BTreeSet::new());
    for (at, value) in list(&mut object, "audiences", faults).into_iter().enumerate() {
        let pointer = format!("/audiences/{at}");
        let Some(read) = audience(at, value, &pointer, faults) else { continue };
        if !keys.insert(read.key.clone()) {
            let detail = format!("the audience {:?} stands twice", read.key);
            faults.add(child(&pointer, "key"), "duplicate_audience", detail);
        }
        audiences.push(read);
    }
    Sent { flags, audiences }
}

fn refuse_unknown(object: &Map<String, Value>, pointer: &str, known: &[&str], faults: &mut Faults) {
    for field in object.keys().filter(|field| !known.contains(&field.as_str())) {
        let detail = format!("there is no field {field:?}; known: {}", known.join(", "));
        faults.add(child(pointer, field), "unknown_field", detail);
    }
}

fn list(object: &mut Map<String, Value>, field: &str, faults: &mut Faults) -> Vec<Value> {
    match object.remove(field) {
        None => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            faults.add(child("", field), "wrong_type", "a list is needed");
            Vec::new()
        }
    }
}

fn audience(at: usize, value: Value, pointer: &str, faults: &mut Faults) -> Option<SentAudience> {
    let Value::Object(mut object) = value else {
        faults.add(pointer, "wrong_type", "an audience is an object");
        return None;
    };
    refuse_unknown(&object, pointer, &["key", "kind", "size", "ids"], faults);
    let key = object.get("key").and_then(Value::as_str).and_then(|key| AudienceKey::parse(key).ok());
    if key.is_none() {
        let detail = "`key` is required: 1 to 100 characters of A-Z a-z 0-9 . _ -";
        faults.add(child(pointer, "key"), "key_invalid", detail);
    }
    let kind = match object.get("kind") {
        None => Some(AudienceKind::User),
        Some(kind) => kind.as_str().and_then(AudienceKind::parse),
    };
    if kind.is_none() {
        faults.add(child(pointer, "kind"), "out_of_range", "`kind` is user, goods or other");
    }
    let size = object.get("size").and_then(Value::as_i64);
    if size.is_none_or(|size| size < 0) && object.contains_key("size") {
        faults.add(child(pointer, "size"), "wrong_type", "`size` is a whole number");
    }
    let ids = match object.remove("ids") {
        None => Some(None),
        Some(Value::Array(ids)) => ids_of(ids, &child(pointer, "ids"), faults).map(Some),
        Some(_) => {
            faults.add(child(pointer, "ids"), "wrong_type", "a list is needed");
            None
        }
    };
    Some(SentAudience { at, key: key?, kind: kind?, size, ids: ids? })
}

fn ids_of(values: Vec<Value>, pointer: &str, faults: &mut Faults) -> Option<Vec<String>> {
    if values.len() > IDS_MAX {
        let detail =
            format!("at most {IDS_MAX} ids, these are {}: upload the audience by itself", values.len());
        faults.add(pointer, "too_many", detail);
        return None;
    }
    let before = faults.0.len();
    let mut ids = Vec::with_capacity(values.len());
    for (at, value) in values.into_iter().enumerate() {
        match value {
            Value::String(id) if is_id(&id) => ids.push(id),
            _ => faults.add(
                child(pointer, &at.to_string()),
                "id_invalid",
                "an id is a text of 1 to 256 bytes on one line, without blanks around it",
            ),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    (faults.0.len() == before).then_some(ids)
}

/// What an upload would take as it stands.
fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.trim() == id && !id.contains(['\0', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults_of(value: Value) -> Vec<String> {
        let mut faults = Faults::default();
        let _read = sent(value, &mut faults);
        faults.0.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.code)).collect()
    }

    #[test]
    fn an_export_is_read_and_its_ids_are_a_set() {
        let mut faults = Faults::default();
        let value = json!({"huidu_export": 1, "environment": "production", "flags": [{"key": "f"}], "audiences": [
            {"key": "a", "kind": "goods", "size": 2, "ids": ["b", "a", "b"]}, {"key": "large", "size": 5_000_000},
        ]});
        let read = sent(value, &mut faults);
        assert_eq!(faults.0, []);
        assert_eq!(read.flags, [json!({"key": "f"})]);
        let key = |key| AudienceKey::parse(key).unwrap();
        let ids = Some(vec!["a".to_owned(), "b".to_owned()]);
        let small = SentAudience { at: 0, key: key("a"), kind: AudienceKind::Goods, size: Some(2), ids };
        let large = SentAudience {
            at: 1,
            key: key("large"),
            kind: AudienceKind::User,
            size: Some(5_000_000),
            ids: None,
        };
        assert_eq!(read.audiences, [small, large]);
        assert_eq!(faults_of(json!({"huidu_export": 1})), Vec::<String>::new());
    }

    #[test]
    fn every_fault_of_the_shape_is_told_with_its_place() {
        let long = "x".repeat(257);
        assert_eq!(faults_of(json!([])), [" wrong_type"]);
        assert_eq!(faults_of(json!({"flags": []})), ["/huidu_export required"]);
        assert_eq!(
            faults_of(json!({"huidu_export": 2, "environment": 7, "flags": {}, "states": [], "audiences": [
                7,
                {"key": "a/b", "kind": "people", "size": "2", "ids": {}, "colour": 1},
                {"key": "a", "ids": ["", " b", "c\nd", "e\u{0}", long, 7, "good"]},
                {"key": "b", "ids": vec!["x"; IDS_MAX + 1]},
                {"key": "c"},
                {"key": "c"},
            ]})),
            [
                "/states unknown_field",
                "/huidu_export out_of_range",
                "/environment wrong_type",
                "/flags wrong_type",
                "/audiences/0 wrong_type",
                "/audiences/1/colour unknown_field",
                "/audiences/1/key key_invalid",
                "/audiences/1/kind out_of_range",
                "/audiences/1/size wrong_type",
                "/audiences/1/ids wrong_type",
                "/audiences/2/ids/0 id_invalid",
                "/audiences/2/ids/1 id_invalid",
                "/audiences/2/ids/2 id_invalid",
                "/audiences/2/ids/3 id_invalid",
                "/audiences/2/ids/4 id_invalid",
                "/audiences/2/ids/5 id_invalid",
                "/audiences/3/ids too_many",
                "/audiences/5/key duplicate_audience",
            ]
        );
    }
}
