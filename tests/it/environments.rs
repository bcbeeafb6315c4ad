//! Environments: made over HTTP, serving at once, each seen only by those who may.

use serde_json::{Value, json};

use crate::decide::make_key;
use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

const ENVIRONMENTS: &str = "/v1/environments";

fn make(huidu: &Huidu, key: &str) -> Answer {
    huidu.post(ENVIRONMENTS, ADMIN, &json!({"key": key, "name": "Canary"}))
}

/// The keys of a list of environments.
fn keys(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_new_environment_serves_at_once_and_alone() {
    let mut huidu = Huidu::start();
    let made = make(&huidu, "canary").expect(201).json();
    let expected = json!({"key": "canary", "name": "Canary", "require_signed_units": false, "unit_secrets": [],
                          "snapshot": 1, "created_at": made["created_at"]});
    assert_eq!(made, expected);
    assert_eq!(huidu.get("/v1/environments/canary", ADMIN).expect(200).json(), made);
    let server = make_key(&huidu, "server", &json!("canary"));
    let ask = |huidu: &Huidu| {
        huidu.post("/v1/decisions", &server, &json!({"placement": "checkout", "user": {"id": "u"}}))
    };
    let answer = ask(&huidu).expect(200).json();
    assert_eq!(answer, json!({"environment": "canary", "snapshot": 1, "entries": []}));
    huidu.get("/readyz", "").expect(200);
    let flag = ramp("f", 100.0, 0.0);
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    let path = "/v1/environments/canary/flags/f";
    huidu.call("PUT", path, ADMIN, &headers, flag.to_string().as_bytes()).expect(201);
    assert_eq!(ask(&huidu).json()["entries"][0]["visible"], true);
    huidu.get("/v1/environments/production/flags/f", ADMIN).refused(404, "not_found");
    let audit = huidu.get("/v1/environments/canary/audit", ADMIN).expect(200).json();
    let oldest = audit["items"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&oldest["action"], &oldest["kind"], &oldest["subject"]),
        (&json!("create"), &json!("environment"), &json!("canary"))
    );
    huidu.kill();
    huidu.start_again();
    assert_eq!(ask(&huidu).expect(200).json()["entries"][0]["visible"], true);
}

#[test]
fn what_cannot_be_an_environment_is_refused_and_leaves_nothing() {
    let huidu = Huidu::start();
    let before = huidu.get(ENVIRONMENTS, ADMIN).expect(200).json();
    let long = "x".repeat(101);
    for (body, status, code) in [
        (json!({"key": "production"}), 409, "environment_exists"),
        (json!({"key": "a/b"}), 422, "environment_invalid"),
        (json!({"key": ".."}), 422, "environment_invalid"),
        (json!({"key": long}), 422, "environment_invalid"),
        (json!({"key": "x", "name": ""}), 422, "environment_invalid"),
        (json!({"key": "x", "name": long}), 422, "environment_invalid"),
        (json!({"key": "x", "name": "\u{202e}x"}), 422, "environment_invalid"),
        (json!({"name": "X"}), 422, "body_invalid"),
        (json!({"key": "x", "colour": "red"}), 422, "body_invalid"),
        (json!(["x"]), 422, "body_invalid"),
    ] {
        huidu.post(ENVIRONMENTS, ADMIN, &body).refused(status, code);
    }
    assert_eq!(huidu.get(ENVIRONMENTS, ADMIN).json(), before);
    assert_eq!(huidu.post(ENVIRONMENTS, ADMIN, &json!({"key": "x"})).expect(201).json()["name"], "x");
}

#[test]
fn there_are_at_most_a_hundred() {
    let huidu = crate::trust::unlimited();
    for number in 3..=100 {
        make(&huidu, &format!("e-{number:03}")).expect(201);
    }
    make(&huidu, "one-more").refused(422, "quota_reached");
    let first = huidu.get("/v1/environments?limit=60", ADMIN).expect(200).json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = huidu.get(&format!("/v1/environments?limit=60&cursor={cursor}"), ADMIN).expect(200).json();
    assert_eq!((keys(&first).len(), keys(&rest).len(), &rest["next_cursor"]), (60, 40, &json!(null)));
    let all = [keys(&first), keys(&rest)].concat();
    assert!(all.is_sorted() && all.contains(&"production".to_owned()), "{all:?}");
    huidu.get("/v1/environments?page=2", ADMIN).refused(400, "query_invalid");
}

#[test]
fn a_rename_changes_the_name_and_nothing_else() {
    let huidu = Huidu::start();
    let path = "/v1/environments/production";
    let before = huidu.get(path, ADMIN).expect(200).json();
    let patch = |body: &Value| {
        huidu.call(
            "PATCH",
            path,
            ADMIN,
            &[("content-type", "application/merge-patch+json")],
            body.to_string().as_bytes(),
        )
    };
    let after = patch(&json!({"name": "收银台"})).expect(200).json();
    let mut expected = before.clone();
    (expected["name"], expected["snapshot"]) =
        (json!("收银台"), json!(before["snapshot"].as_i64().unwrap() + 1));
    assert_eq!(after, expected);
    assert_eq!(huidu.get(path, ADMIN).json(), expected);
    for same in [json!({"name": "收银台"}), json!({})] {
        assert_eq!(patch(&same).expect(200).json(), expected);
    }
    for (body, code) in [
        (json!({"key": "other"}), "body_invalid"),
        (json!({"name": null}), "body_invalid"),
        (json!({"require_signed_units": null}), "body_invalid"),
        (json!({"require_signed_units": "yes"}), "body_invalid"),
        (json!({"name": "a\nb"}), "environment_invalid"),
    ] {
        patch(&body).refused(422, code);
    }
    assert_eq!(huidu.get(path, ADMIN).json(), expected);
    let audit = huidu.get(&format!("{path}/audit"), ADMIN).expect(200).json();
    assert_eq!(
        audit["items"][0]["detail"]["diff"],
        json!([{"pointer": "/name", "from": "Production", "to": "收银台"}])
    );
}

#[test]
fn an_admin_of_one_environment_sees_and_changes_only_that() {
    let huidu = Huidu::start();
    let admin = make_key(&huidu, "admin", &json!("staging"));
    assert_eq!(keys(&huidu.get(ENVIRONMENTS, &admin).expect(200).json()), ["staging"]);
    huidu.get("/v1/environments/staging", &admin).expect(200);
    huidu.post(ENVIRONMENTS, &admin, &json!({"key": "canary"})).refused(403, "forbidden");
    let patch = |environment: &str, key: &str| {
        let path = format!("/v1/environments/{environment}");
        huidu.call("PATCH", &path, key, &[("content-type", "application/json")], b"{\"name\":\"Mine\"}")
    };
    patch("staging", &admin).expect(200);
    for foreign in ["production", "nowhere"] {
        patch(foreign, &admin).refused(403, "forbidden");
        huidu.get(&format!("/v1/environments/{foreign}"), &admin).refused(403, "forbidden");
        huidu
            .post(&format!("/v1/environments/{foreign}/unit-secrets"), &admin, &json!({}))
            .refused(403, "forbidden");
    }
    patch("nowhere", ADMIN).refused(404, "not_found");
}

#[test]
fn another_instance_serves_a_new_environment() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_instances(&url)).await.unwrap();
    });
}

fn two_instances(url: &str) {
    let here = Huidu::start_with(&[("DATABASE_URL", url)]);
    let there = Huidu::beside(&here);
    make(&here, "canary").expect(201);
    let body = json!({"placement": "checkout", "user": {}}).to_string();
    let headers = [("content-type", "application/json"), ("huidu-environment", "canary")];
    eventually("the other instance serves it", || {
        there.get("/readyz", "").expect(200);
        there.call("POST", "/v1/decisions", ADMIN, &headers, body.as_bytes()).status == 200
    });
    make(&there, "canary").refused(409, "environment_exists");
}
