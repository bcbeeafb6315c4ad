//! Audiences over HTTP.

use std::fmt::Write as _;

use serde_json::json;

use super::{decided, everything, read, with};
use crate::fixture::*;

fn upload(huidu: &Huidu, path: &str, precondition: (&str, &str), media: &str, body: &[u8]) -> Answer {
    let path = format!("/v1/environments/production/audiences/{path}");
    huidu.call("PUT", &path, ADMIN, &[("content-type", media), precondition], body)
}

const NEW: (&str, &str) = ("if-none-match", "*");

/// A flag that opens for the members of `aud` alone.
fn member_flag(huidu: &Huidu) {
    let rules = json!([{"id": "members", "when": {"audience": "aud"}, "serve": {"variant": "on"}}]);
    huidu.create_flag(&with(&ramp("f", 1.0, 0.0), "/rules", rules));
}

#[test]
fn every_format_replaces_all_members_and_is_decided_at_once() {
    let huidu = Huidu::start();
    let created = upload(&huidu, "aud", NEW, "text/plain", b"u-1\r\n  u-2 \n\nu-2\n").expect(201);
    assert_eq!(created.header("etag"), Some("\"1\""));
    let row = created.json();
    assert_eq!(
        (&row["key"], &row["kind"], &row["size"], &row["version"]),
        (&json!("aud"), &json!("user"), &json!(2), &json!(1))
    );
    member_flag(&huidu);
    let members = |expected: [bool; 3]| {
        assert_eq!(["u-1", "u-2", "u,3"].map(|user| decided(&huidu, "f", user).0), expected);
    };
    members([true, true, false]);
    upload(&huidu, "aud", ("if-match", "\"1\""), "text/csv", b"id,name\n\"u,3\",Ann\nu-2,Bob\n").expect(200);
    members([false, true, true]);
    let last =
        upload(&huidu, "aud", ("if-match", "\"2\""), "application/x-ndjson", b"\"u-1\"\n{\"id\": \"u,3\"}\n");
    assert_eq!(last.expect(200).header("etag"), Some("\"3\""));
    members([true, false, true]);
    upload(&huidu, "aud", ("if-match", "\"3\""), "text/plain", b"").expect(200);
    members([false, false, false]);
    assert_eq!(read(&huidu, "/audiences/aud")["size"], 0);
    let flag = read(&huidu, "/flags/f");
    assert_eq!(
        (&flag["version"], &flag["stage"]),
        (&json!(1), &json!(1)),
        "members move no version and no stage"
    );
    let audit = read(&huidu, "/audit?audience=aud");
    assert_eq!(audit["items"][0]["detail"]["size"], 0);
    assert_eq!(audit["items"][0]["detail"]["size_before"], 2);
    assert_eq!(audit["items"].as_array().unwrap().len(), 4);
}

#[test]
fn an_upload_is_taken_whole_or_not_at_all() {
    let huidu = Huidu::start();
    upload(&huidu, "aud", NEW, "text/plain", b"u-1\n").expect(201);
    member_flag(&huidu);
    let before = everything(&huidu, "f");
    let long = format!("u-2\n{}\n", "x".repeat(257));
    for (media, body, line) in [
        ("text/plain", long.as_bytes(), 2),
        ("text/plain", b"u-2\nu-3\n\xff\n", 3),
        ("text/csv", b"u-2\n,x\n", 2),
        ("application/x-ndjson", b"\"u-2\"\n\n7\n", 3),
    ] {
        let problem =
            upload(&huidu, "aud", ("if-match", "\"1\""), media, body).refused(422, "audience_invalid").json();
        assert_eq!(problem["line"], line, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("line {line}")), "{problem}");
    }
    let path = "/v1/environments/production/audiences/aud";
    huidu
        .call("PUT", path, ADMIN, &[("content-type", "text/plain")], b"u-2")
        .refused(428, "precondition_required");
    for (name, precondition, media, status, code) in [
        ("aud", NEW, "text/plain", 412, "audience_exists"),
        ("aud", ("if-match", "\"7\""), "text/plain", 412, "version_conflict"),
        ("aud", ("if-match", "*"), "text/plain", 428, "precondition_required"),
        ("none", ("if-match", "\"1\""), "text/plain", 404, "not_found"),
        ("aud", ("if-match", "\"1\""), "application/json", 415, "unsupported_media_type"),
        ("aud?kind=goods", ("if-match", "\"1\""), "text/plain", 422, "audience_invalid"),
        ("aud?kind=people", ("if-match", "\"1\""), "text/plain", 400, "query_invalid"),
    ] {
        upload(&huidu, name, precondition, media, b"u-2\n").refused(status, code);
    }
    assert_eq!(everything(&huidu, "f"), before);
    assert!(decided(&huidu, "f", "u-1").0 && !decided(&huidu, "f", "u-2").0);
}

#[test]
fn a_kind_is_fixed_and_a_condition_on_another_is_a_warning() {
    let huidu = Huidu::start();
    for kind in ["user", "goods", "other"] {
        let row =
            upload(&huidu, &format!("aud-{kind}?kind={kind}"), NEW, "text/plain", b"x\n").expect(201).json();
        assert_eq!(row["kind"], kind);
        let rules =
            json!([{"id": "r", "when": {"audience": format!("aud-{kind}")}, "serve": {"variant": "on"}}]);
        let flag = with(&ramp(kind, 1.0, 0.0), "/rules", rules);
        let answer = huidu.manage("PUT", &format!("/flags/{kind}"), None, &flag).expect(201).json();
        let warned = answer["warnings"]
            .as_array()
            .is_some_and(|list| list.iter().any(|w| w["code"] == "audience_kind"));
        assert_eq!(warned, kind != "user", "{answer}");
    }
}

#[test]
fn a_hundred_thousand_ids_decide_and_one_more_than_the_quota_is_refused() {
    let huidu = Huidu::start_with(&[("AUDIENCE_IDS_MAX", "100000")]);
    let mut ids = String::new();
    for n in 0..100_000 {
        writeln!(ids, "u-{n}").unwrap();
    }
    let row = upload(&huidu, "aud", NEW, "text/plain", ids.as_bytes()).expect(201).json();
    assert_eq!(row["size"], 100_000);
    member_flag(&huidu);
    ids.push_str("u-100000\n");
    upload(&huidu, "aud", ("if-match", "\"1\""), "text/plain", ids.as_bytes())
        .refused(413, "audience_too_large");
    for (user, member) in
        [("u-0", true), ("u-54321", true), ("u-99999", true), ("u-100000", false), ("u-", false)]
    {
        assert_eq!(decided(&huidu, "f", user).0, member, "{user}");
    }
    assert_eq!(read(&huidu, "/audiences/aud")["version"], 1);
}
