//! Single ids, the way back to kept contents, deletion.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::postgres::{Database, Engine, block_on};

#[test]
fn added_and_removed_ids_decide_at_once_and_no_change_makes_no_version() {
    let mut huidu = Huidu::start();
    replace(&huidu, "aud", 0, &["u-1", "u-2"]);
    member_flag(&huidu);
    let answer = edit(&huidu, "aud", "add", &["u-3", "u-1", " u-3 ", "灰"]).expect(200);
    assert_eq!(answer.header("etag"), Some("\"2\""));
    let row = answer.json();
    assert_eq!((&row["size"], &row["version"], &row["added"]), (&json!(4), &json!(2), &json!(2)));
    assert_eq!(seen(&huidu, &["u-1", "u-2", "u-3", "u-4", "灰"]), [true, true, true, false, true]);
    let row = edit(&huidu, "aud", "remove", &["u-1", "nobody"]).expect(200).json();
    assert_eq!((&row["size"], &row["version"], &row["removed"]), (&json!(3), &json!(3), &json!(1)));
    assert_eq!(seen(&huidu, &["u-1", "u-2", "u-3"]), [false, true, true]);
    for (what, ids) in
        [("add", &["u-2", "u-3"][..]), ("remove", &["u-1", "x"]), ("add", &[]), ("remove", &[])]
    {
        let row = edit(&huidu, "aud", what, ids).expect(200).json();
        assert_eq!((&row["size"], &row["version"]), (&json!(3), &json!(3)), "{what} {ids:?}");
    }
    assert_eq!(ids(&huidu, "aud", 2), ["u-2", "u-3", "灰"]);
    for (id, member) in [("u-2", true), ("u-1", false), ("%E7%81%B0", true), ("x", false)] {
        let answer = read(&huidu, &format!("/aud/contains?id={id}"));
        assert_eq!((&answer["contains"], &answer["version"]), (&json!(member), &json!(3)), "{id}");
    }
    huidu.stop();
    huidu.start_again();
    assert_eq!(seen(&huidu, &["u-1", "u-2", "u-3", "灰"]), [false, true, true, true]);
    edit(&huidu, "aud", "add", &["u-1"]).expect(200);
    assert_eq!(seen(&huidu, &["u-1"]), [true]);
    let audit = huidu.get("/v1/environments/production/audit?audience=aud", ADMIN).expect(200).json();
    let rows: Vec<_> = audit["items"].as_array().unwrap().iter().map(|row| &row["action"]).collect();
    assert_eq!(rows, ["add", "remove", "add", "create"]);
    let detail = json!({"added": 2, "size": 4, "size_before": 2, "version": 2});
    assert_eq!(audit["items"][2]["detail"], detail);
}

#[test]
fn what_cannot_be_added_changes_nothing() {
    let huidu = Huidu::start_with(&[("AUDIENCE_IDS_MAX", "3")]);
    replace(&huidu, "aud", 0, &["u-1", "u-2"]);
    let long = "x".repeat(257);
    let many: Vec<String> = (0..10_001).map(|n| format!("u-{n}")).collect();
    for (body, status, code) in [
        (json!({"ids": ["a", "b"]}), 413, "audience_too_large"),
        (json!({ "ids": many }), 400, "too_many_ids"),
        (json!({"ids": ["a", ""]}), 422, "audience_invalid"),
        (json!({"ids": [long]}), 422, "audience_invalid"),
        (json!({"ids": ["a\u{0}"]}), 422, "audience_invalid"),
        (json!({"ids": ["a\nb"]}), 422, "audience_invalid"),
        (json!({"ids": "a"}), 422, "body_invalid"),
        (json!({"ids": ["a"], "id": "a"}), 422, "body_invalid"),
        (json!({}), 422, "body_invalid"),
    ] {
        let answer = huidu.post(&format!("{AUDIENCES}/aud/add"), ADMIN, &body);
        assert_eq!((answer.status, &*answer.code()), (status, code), "{body:.60}");
    }
    edit(&huidu, "none", "add", &["a"]).refused(404, "not_found");
    edit(&huidu, "aud", "add?x=1", &["a"]).refused(400, "query_invalid");
    upload(&huidu, "aud", &[("if-match", "\"1\"")], b"a\nb\nc\nd\nd\n").refused(413, "audience_too_large");
    upload(&huidu, "aud", &[("if-match", "\"1\"")], b"a\nb\nc\nc\nc\n").expect(200);
    assert_eq!(ids(&huidu, "aud", 10), ["a", "b", "c"]);
    for path in
        ["ids?limit=0", "ids?limit=10001", "ids?after=a", "contains", "contains?id=", "contains?id=a&x="]
    {
        huidu.get(&format!("{AUDIENCES}/aud/{path}"), ADMIN).refused(400, "query_invalid");
    }
}

#[test]
fn each_of_the_three_contents_before_can_come_back() {
    let huidu = Huidu::start();
    member_flag_of(&huidu);
    let set = |text: &str| -> BTreeSet<String> { text.split_whitespace().map(str::to_owned).collect() };
    // By version; from here on each is checked as it comes back.
    let mut contents = vec![set("a b c")];
    edit(&huidu, "aud", "add", &["d"]).expect(200);
    contents.push(set("a b c d"));
    edit(&huidu, "aud", "remove", &["a", "d"]).expect(200);
    contents.push(set("b c"));
    replace(&huidu, "aud", 3, &["x", "a"]);
    contents.push(set("x a"));
    edit(&huidu, "aud", "add", &["b"]).expect(200);
    contents.push(set("x a b"));
    for back in [3, 2, 3, 1, 3, 2, 1, 1, 3] {
        let version = contents.len();
        let to = version - back;
        let path = format!("{AUDIENCES}/aud/rollback");
        let tag = format!("\"{version}\"");
        let headers = [("content-type", "application/json"), ("if-match", &*tag)];
        let body = json!({"version": to, "reason": "wrong list"}).to_string();
        let row = huidu.call("POST", &path, ADMIN, &headers, body.as_bytes()).expect(200).json();
        let then = contents[to - 1].clone();
        if then == contents[version - 1] && row["version"] == version {
            continue;
        }
        assert_eq!(row["version"], version + 1, "{version} back to {to}: {row}");
        assert_eq!(row["size"], then.len(), "{version} back to {to}");
        assert_eq!(ids(&huidu, "aud", 2), then.iter().cloned().collect::<Vec<_>>(), "{version} back to {to}");
        let users = ["a", "b", "c", "d", "x"];
        let expected: Vec<bool> = users.iter().map(|user| then.contains(*user)).collect();
        assert_eq!(seen(&huidu, &users), expected, "{version} back to {to}");
        contents.push(then);
    }
    let version = contents.len();
    let roll = |headers: &[(&str, &str)], to: usize| {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        let body = json!({ "version": to }).to_string();
        huidu.call("POST", &format!("{AUDIENCES}/aud/rollback"), ADMIN, &all, body.as_bytes())
    };
    let tag = format!("\"{version}\"");
    roll(&[], version - 1).refused(428, "precondition_required");
    roll(&[("if-match", "\"1\"")], version - 1).refused(412, "version_conflict");
    for to in [0, version - 4, version + 1] {
        roll(&[("if-match", &tag)], to).refused(404, "not_found");
    }
    let same = roll(&[("if-match", &tag)], version).expect(200).json();
    assert_eq!(same["version"], version, "the newest is there already");
    let audit = huidu.get("/v1/environments/production/audit?audience=aud", ADMIN).expect(200).json();
    assert_eq!(
        (&audit["items"][0]["action"], &audit["items"][0]["reason"]),
        (&json!("rollback"), &json!("wrong list"))
    );
}

fn member_flag_of(huidu: &Huidu) {
    replace(huidu, "aud", 0, &["a", "b", "c"]);
    member_flag(huidu);
}

#[test]
fn an_audience_in_use_stays_and_a_deleted_one_comes_back_anew() {
    let huidu = Huidu::start();
    member_flag_of(&huidu);
    let path = format!("{AUDIENCES}/aud");
    let delete = |tag: Option<&str>| {
        let headers: Vec<_> = tag.map(|tag| ("if-match", tag)).into_iter().collect();
        huidu.call("DELETE", &path, ADMIN, &headers, b"")
    };
    let problem = delete(None).refused(409, "audience_in_use").json();
    assert_eq!(problem["flags"], json!(["f"]));
    huidu.manage("POST", "/flags/f/archive", Some(1), &json!({})).expect(200);
    delete(None).refused(409, "audience_in_use");
    huidu.manage("POST", "/flags/f/restore", Some(2), &json!({})).expect(200);
    huidu.manage("POST", "/flags/f/restore", Some(3), &json!({})).expect(200);
    huidu.manage("PATCH", "/flags/f", Some(4), &json!({"rules": []})).expect(200);
    delete(Some("\"7\"")).refused(412, "version_conflict");
    assert_eq!(delete(Some("\"1\"")).expect(204).text, "");
    delete(None).refused(404, "not_found");
    huidu.get(&path, ADMIN).refused(404, "not_found");
    edit(&huidu, "aud", "add", &["a"]).refused(404, "not_found");
    let rules = json!([{"id": "m", "when": {"audience": "aud"}, "serve": {"variant": "on"}}]);
    let refused = huidu.manage("PATCH", "/flags/f", Some(5), &json!({ "rules": rules }));
    assert_eq!(refused.refused(422, "flag_invalid").json()["errors"][0]["code"], "unknown_audience");
    assert_eq!(replace(&huidu, "aud", 0, &["b"]), 2, "no version comes twice");
    huidu.manage("PATCH", "/flags/f", Some(5), &json!({ "rules": rules })).expect(200);
    assert_eq!(seen(&huidu, &["a", "b"]), [false, true]);
}

#[test]
fn another_instance_sees_each_change() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_instances(&url)).await.unwrap();
    });
}

fn two_instances(url: &str) {
    let first = Huidu::start_with(&[("DATABASE_URL", url)]);
    let second = Huidu::beside(&first);
    replace(&first, "aud", 0, &["a", "b"]);
    member_flag(&first);
    let users = ["a", "b", "c"];
    let sees = |what: &str, expected: [bool; 3]| {
        assert_eq!(seen(&first, &users), expected, "{what}");
        eventually(what, || {
            let body = json!({"placement": "checkout", "user": {"id": "a"}});
            let answer = second.post("/v1/decisions", &second.server, &body).expect(200).json();
            let known = answer["entries"].as_array().unwrap().iter().any(|entry| entry["flag"] == "f");
            known && seen(&second, &users) == expected
        });
    };
    sees("created", [true, true, false]);
    edit(&first, "aud", "add", &["c"]).expect(200);
    sees("added", [true, true, true]);
    edit(&first, "aud", "remove", &["a", "b"]).expect(200);
    sees("removed", [false, false, true]);
    replace(&first, "aud", 3, &["b"]);
    sees("replaced", [false, true, false]);
    let headers = [("content-type", "application/json"), ("if-match", "\"4\"")];
    let path = format!("{AUDIENCES}/aud/rollback");
    first.call("POST", &path, ADMIN, &headers, br#"{"version": 2}"#).expect(200);
    sees("rolled back", [true, true, true]);
}
