//! Unit secrets: made, listed, rotated, taken away; and the demand as a setting of its environment.

use serde_json::{Value, json};

use super::{BULK, decide, demand, ofrep, open, secret, sign, user};
use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

/// The status that a client gets for `u-1` signed with `secret`.
fn status(huidu: &Huidu, secret: &str) -> u16 {
    decide(huidu, &huidu.client, &user("u-1", Some(&sign(secret, "u-1")))).status
}

fn production(huidu: &Huidu) -> Value {
    huidu.get("/v1/environments/production", ADMIN).expect(200).json()
}

#[test]
fn two_secrets_hold_during_a_rotation_and_a_deleted_one_is_refused_at_once() {
    let huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let (old_id, old) = secret(&huidu);
    demand(&huidu, true);
    assert_eq!(status(&huidu, &old), 200);
    let (new_id, new) = secret(&huidu);
    assert_ne!(old, new);
    assert_eq!([status(&huidu, &old), status(&huidu, &new)], [200, 200]);
    huidu.manage("POST", "/unit-secrets", None, &json!({})).refused(409, "unit_secret_limit");
    huidu.manage("DELETE", &format!("/unit-secrets/{old_id}"), None, &json!(null)).expect(204);
    assert_eq!([status(&huidu, &old), status(&huidu, &new)], [400, 200]);
    huidu.manage("DELETE", &format!("/unit-secrets/{old_id}"), None, &json!(null)).refused(404, "not_found");
    let listed = production(&huidu)["unit_secrets"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], json!(new_id));
    let (_, third) = secret(&huidu);
    assert_eq!([status(&huidu, &third), status(&huidu, &new)], [200, 200]);
}

#[test]
fn a_secret_is_shown_once_and_stands_nowhere_else() {
    let huidu = Huidu::start();
    let (id, text) = secret(&huidu);
    assert!(text.starts_with("huidu_unit_") && text.len() == 11 + 52, "{}", text.len());
    demand(&huidu, true);
    decide(&huidu, &huidu.client, &user("u-1", Some("wrong"))).expect(400);
    for path in ["/v1/environments", "/v1/environments/production", "/v1/environments/production/audit"] {
        let answer = huidu.get(path, ADMIN).expect(200);
        assert!(!answer.text.contains("huidu_unit_"), "{path}: {}", answer.text);
        assert!(path == "/v1/environments" || answer.text.contains(&id), "{path}: {}", answer.text);
    }
    assert!(!huidu.log().contains(text.split_at(11).1), "it stands in the log");
}

#[test]
fn the_demand_is_audited_and_changes_with_the_snapshot() {
    let huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let (_, text) = secret(&huidu);
    let signed = ofrep(&user("u-1", Some(&sign(&text, "u-1"))));
    let tag = |huidu: &Huidu| {
        let answer = huidu.post(BULK, &huidu.client, &signed).expect(200);
        answer.header("etag").unwrap().to_owned()
    };
    let (before, first) = (production(&huidu), tag(&huidu));
    let changed = demand(&huidu, true);
    assert_eq!(changed["snapshot"], json!(before["snapshot"].as_i64().unwrap() + 1));
    assert_eq!((&changed["require_signed_units"], changed.get("warnings")), (&json!(true), None));
    assert_ne!(tag(&huidu), first);
    assert_eq!(demand(&huidu, true), changed, "what is so already takes no number");
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    let wrong = ofrep(&user("u-1", Some("wrong"))).to_string();
    let refused = huidu.call("POST", BULK, &huidu.client, &headers, wrong.as_bytes());
    refused.refused(400, "unit_signature_invalid");
    let audit = huidu.get("/v1/environments/production/audit", ADMIN).expect(200).json();
    let row = &audit["items"][0];
    assert_eq!(
        (&row["kind"], &row["action"], &row["subject"]),
        (&json!("environment"), &json!("update"), &json!("production"))
    );
    assert_eq!(
        row["detail"]["diff"],
        json!([{"pointer": "/require_signed_units", "from": false, "to": true}])
    );
    assert_eq!(
        (&audit["items"][1]["kind"], &audit["items"][1]["action"]),
        (&json!("unit_secret"), &json!("create"))
    );
}

#[test]
fn a_demand_that_nobody_can_meet_is_warned_of_and_stays_shut() {
    let huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let answer = demand(&huidu, true);
    assert_eq!(answer["warnings"][0]["code"], "no_unit_secret", "{answer}");
    assert_eq!(status(&huidu, ""), 400, "the empty secret is none");
    let (id, text) = secret(&huidu);
    assert_eq!(status(&huidu, &text), 200);
    // A leaked one must go, also where it is the last.
    huidu.manage("DELETE", &format!("/unit-secrets/{id}"), None, &json!(null)).expect(204);
    assert_eq!(status(&huidu, &text), 400);
}

#[test]
fn demand_and_secrets_outlive_a_restart() {
    let mut huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let (_, text) = secret(&huidu);
    demand(&huidu, true);
    huidu.kill();
    huidu.start_again();
    assert_eq!([status(&huidu, &text), status(&huidu, "other")], [200, 400]);
}

#[test]
fn settings_that_cannot_be_read_open_nothing() {
    let mut huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let unsigned = |huidu: &Huidu| {
        let answer = decide(huidu, &huidu.client, &user("u-1", None)).expect(200);
        super::entry(&answer, "f")
    };
    assert_eq!(unsigned(&huidu), "SPLIT");
    let damage = |sql: &str| {
        let url = format!("sqlite:{}", huidu.database().display());
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        block_on(async {
            use sqlx::{Connection as _, Executor as _};
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        });
    };
    damage("UPDATE environments SET settings = '{\"require_signed_units\": 7}' WHERE key = 'production'");
    huidu.create_flag(&open("g"));
    assert_eq!(unsigned(&huidu), "SPLIT", "the last good ones hold");
    huidu.manage("PATCH", "", None, &json!({"require_signed_units": true})).refused(500, "internal");
    huidu.stop();
    huidu.start_again();
    assert_eq!(unsigned(&huidu), "SPLIT", "over a restart too");
    huidu.stop();
    std::fs::remove_dir_all(huidu.folder().join("last-good")).unwrap();
    huidu.start_again();
    assert_eq!(unsigned(&huidu), "unit_missing", "none are known: no client's unit counts");
}

#[test]
fn another_instance_hears_of_demand_and_rotation() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_instances(&url)).await.unwrap();
    });
}

fn two_instances(url: &str) {
    let here = Huidu::start_with(&[("DATABASE_URL", url)]);
    let there = Huidu::beside(&here);
    here.create_flag(&open("f"));
    let (old_id, old) = secret(&here);
    let (_, new) = secret(&here);
    demand(&here, true);
    eventually("the demand is heard of", || {
        decide(&there, &here.client, &user("u-1", Some("wrong"))).status == 400
    });
    assert_eq!([status(&there, &old), status(&there, &new)], [200, 200]);
    here.manage("DELETE", &format!("/unit-secrets/{old_id}"), None, &json!(null)).expect(204);
    assert_eq!(status(&here, &old), 400);
    eventually("the deleted secret is refused there too", || status(&there, &old) == 400);
    assert_eq!(status(&there, &new), 200);
}
