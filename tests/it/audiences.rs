//! Audiences over HTTP: uploads as they stream, single ids, the way back.

mod edits;
mod reading;
mod uploads;

use std::io::Write as _;

use serde_json::{Value, json};

use crate::fixture::*;

pub(crate) const NEW: (&str, &str) = ("if-none-match", "*");
pub(crate) const AUDIENCES: &str = "/v1/environments/production/audiences";

/// An upload as plain text, with more headers.
pub(crate) fn upload(huidu: &Huidu, key: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut headers = vec![("content-type", "text/plain")];
    headers.extend(more);
    huidu.call("PUT", &format!("{AUDIENCES}/{key}"), ADMIN, &headers, body)
}

/// Replaces the ids of an audience at `version`, 0 for a new one.
#[track_caller]
pub(crate) fn replace(huidu: &Huidu, key: &str, version: i64, ids: &[&str]) -> i64 {
    let tag = format!("\"{version}\"");
    let precondition = if version == 0 { NEW } else { ("if-match", &*tag) };
    let answer = upload(huidu, key, &[precondition], ids.join("\n").as_bytes());
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json()["version"].as_i64().unwrap()
}

/// `add` or `remove`.
pub(crate) fn edit(huidu: &Huidu, key: &str, what: &str, ids: &[&str]) -> Answer {
    huidu.post(&format!("{AUDIENCES}/{key}/{what}"), ADMIN, &json!({ "ids": ids }))
}

pub(crate) fn read(huidu: &Huidu, path: &str) -> Value {
    huidu.get(&format!("{AUDIENCES}{path}"), ADMIN).expect(200).json()
}

/// All ids of an audience, by pages of `limit`.
pub(crate) fn ids(huidu: &Huidu, key: &str, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = read(huidu, &format!("/{key}/ids?limit={limit}{cursor}"));
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        all.extend(items.iter().map(|id| id.as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// A flag that opens for the members of `aud` alone.
pub(crate) fn member_flag(huidu: &Huidu) {
    let mut flag = ramp("f", 1.0, 0.0);
    flag["rules"] = json!([{"id": "members", "when": {"audience": "aud"}, "serve": {"variant": "on"}}]);
    huidu.create_flag(&flag);
}

/// Whether each user sees the flag `f`.
pub(crate) fn seen(huidu: &Huidu, users: &[&str]) -> Vec<bool> {
    let one = |user: &&str| huidu.entry("f", &json!({"id": user}), &json!([]))["visible"] == true;
    users.iter().map(one).collect()
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}
