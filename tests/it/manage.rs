//! Changing flags over HTTP: what is taken, what is refused, and that a refusal leaves nothing behind.

mod audiences;
mod documents;
mod drafts;
mod states;

use serde_json::{Value, json};

use crate::fixture::*;

/// A PUT of a document under its own key; with `If-Match` if a version is given, else `If-None-Match: *`.
fn put(huidu: &Huidu, version: Option<i64>, document: &Value) -> Answer {
    huidu.manage("PUT", &format!("/flags/{}", document["key"].as_str().unwrap()), version, document)
}

/// A POST to a flag.
fn act(huidu: &Huidu, flag: &str, action: &str, version: Option<i64>, body: &Value) -> Answer {
    huidu.manage("POST", &format!("/flags/{flag}/{action}"), version, body)
}

/// A reading call of the admin in `production`.
fn read(huidu: &Huidu, path: &str) -> Value {
    huidu.get(&format!("/v1/environments/production{path}"), ADMIN).expect(200).json()
}

/// `document` with one field set.
fn with(document: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = document.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match changed.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
        parent => parent[field] = value,
    }
    changed
}

/// Everything of an environment that a write could have touched.
fn everything(huidu: &Huidu, flag: &str) -> [Value; 5] {
    [
        read(huidu, "/flags?limit=200"),
        read(huidu, "/audiences?limit=200"),
        read(huidu, "/audit?limit=200"),
        read(huidu, &format!("/flags/{flag}/versions")),
        huidu.get("/v1/environments", ADMIN).expect(200).json(),
    ]
}

/// Whether a server sees the entry, and the reason; an archived flag is not listed at all.
fn decided(huidu: &Huidu, flag: &str, user: &str) -> (bool, String) {
    let body = json!({"placement": "checkout", "user": {"id": user}});
    let answer = huidu.post("/v1/decisions", &huidu.server, &body).expect(200).json();
    let entries = answer["entries"].as_array().unwrap();
    match entries.iter().find(|entry| entry["flag"] == flag) {
        Some(entry) => (entry["visible"].as_bool().unwrap(), entry["reason"].as_str().unwrap().to_owned()),
        None => (false, "not listed".to_owned()),
    }
}
