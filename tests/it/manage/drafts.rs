//! Patches of documents, and drafts that are explained before anybody stores them.

use serde_json::{Value, json};

use super::{everything, read};
use crate::fixture::*;

const FLAG: &str = "/v1/environments/production/flags/f";

fn patch(huidu: &Huidu, version: Option<&str>, media: &str, body: &Value) -> Answer {
    let mut headers = vec![("content-type", media)];
    headers.extend(version.map(|version| ("if-match", version)));
    huidu.call("PATCH", FLAG, ADMIN, &headers, body.to_string().as_bytes())
}

#[test]
fn a_merge_patch_changes_what_it_names_and_null_takes_a_field_away() {
    let huidu = Huidu::start();
    let mut flag = ramp("f", 5.0, 5.0);
    flag["description"] = json!("first");
    huidu.create_flag(&flag);
    let media = "application/merge-patch+json";
    let answer =
        patch(&huidu, Some("\"1\""), media, &json!({"name": "New", "description": null})).expect(200);
    assert_eq!(answer.header("etag"), Some("\"2\""));
    let stored = answer.json();
    assert_eq!((&stored["flag"]["name"], stored["flag"].get("description")), (&json!("New"), None));
    assert_eq!((&stored["flag"]["rules"], &stored["flag"]["salt"]), (&flag["rules"], &flag["salt"]));
    assert_eq!(stored["stage"], 1, "a name begins no stage");
    assert_eq!(read(&huidu, "/flags/f/versions/2")["action"], "patch");
    // Plain JSON is taken for a patch too; a patch that changes nothing keeps the version.
    let answer = patch(&huidu, Some("\"2\""), "application/json", &json!({"name": "New"})).expect(200);
    assert_eq!(answer.json()["version"], 2);
}

#[test]
fn a_patch_is_refused_like_any_change_and_leaves_nothing() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 5.0, 5.0));
    let before = everything(&huidu, "f");
    let media = "application/merge-patch+json";
    patch(&huidu, None, media, &json!({"name": "x"})).refused(428, "precondition_required");
    patch(&huidu, Some("\"9\""), media, &json!({"name": "x"})).refused(412, "version_conflict");
    patch(&huidu, Some("\"1\""), "text/plain", &json!({"name": "x"})).refused(415, "unsupported_media_type");
    let answer =
        patch(&huidu, Some("\"1\""), media, &json!({"key": "g", "rules": 7})).refused(422, "flag_invalid");
    let errors = answer.json()["errors"].clone();
    let pointers: Vec<_> =
        errors.as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert!(pointers.contains(&"/rules") && pointers.contains(&"/key"), "{errors}");
    patch(&huidu, Some("\"1\""), media, &json!([1])).refused(422, "flag_invalid");
    assert_eq!(everything(&huidu, "f"), before);
}

#[test]
fn a_draft_is_explained_and_not_stored() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 0.0, 0.0));
    let before = everything(&huidu, "f");
    let explain = |body: &Value| huidu.post(&format!("{FLAG}/explain"), ADMIN, body);
    let context = json!({"targetingKey": "u-1"});
    let stored = explain(&json!({"context": context})).expect(200).json();
    assert_eq!((&stored["decision"]["visible"], &stored["draft"]), (&json!(false), &json!(false)));
    let draft = explain(&json!({"context": context, "document": ramp("f", 100.0, 0.0)})).expect(200).json();
    assert_eq!((&draft["decision"]["visible"], &draft["draft"]), (&json!(true), &json!(true)));
    assert_eq!(draft["decision"]["arm"], "treatment");
    // A flag that nobody created yet, and a killed one, can be tried as well.
    let new = json!({"context": context, "document": ramp("new", 100.0, 0.0)});
    let answer = huidu.post("/v1/environments/production/flags/new/explain", ADMIN, &new).expect(200).json();
    assert_eq!(answer["decision"]["visible"], true);
    explain(&json!({"context": context, "document": {"key": "f"}})).refused(422, "flag_invalid");
    explain(&json!({"context": context, "documnet": {}})).refused(422, "body_invalid");
    assert_eq!(everything(&huidu, "f"), before);
    assert_eq!(huidu.entry("f", &json!({"id": "u-1"}), &json!([]))["visible"], false);
    huidu.get("/v1/environments/production/flags/new", ADMIN).refused(404, "not_found");
}

#[test]
fn the_last_use_of_a_key_is_seen_by_people() {
    let huidu = Huidu::start();
    huidu.tester_token();
    let used = || {
        let keys = huidu.get("/v1/keys", ADMIN).expect(200).json();
        let keys = keys["items"].as_array().unwrap().clone();
        keys.into_iter().find(|key| key["role"] == "server").unwrap()["last_used_at"].clone()
    };
    eventually("the last use is noted", || used().is_string());
}
