//! The database away: at the start, and under a running service.

use serde_json::{Value, json};

use super::{on_both, seen};
use crate::fixture::*;

/// Flags of every fate, and a key that was revoked: its text.
fn furnish(huidu: &Huidu) -> String {
    huidu.create_flag(&ramp("open", 100.0, 0.0));
    huidu.create_flag(&ramp("killed", 100.0, 0.0));
    huidu.manage("POST", "/flags/killed/kill", None, &json!({"reason": "stop"})).expect(200);
    let mut invited = ramp("invited", 0.0, 0.0);
    invited["rules"][0] =
        json!({"id": "r", "when": {"audience": "wechat-testers"}, "serve": {"variant": "on"}});
    huidu.create_flag(&invited);
    let wish = json!({"name": "gone", "role": "server", "environment": "production"});
    let made = huidu.post("/v1/keys", ADMIN, &wish).expect(201).json();
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    huidu.call("DELETE", &path, ADMIN, &[], b"").expect(204);
    made["key"].as_str().unwrap().to_owned()
}

/// All that a service says of itself and decides must be as it was.
fn decides_as_before(huidu: &Huidu, revoked: &str) {
    assert_eq!(seen(huidu, "open"), json!([true, "on", "SPLIT", null]));
    assert_eq!(seen(huidu, "killed"), json!([false, "off", "DISABLED", null]));
    let tester = huidu.entry("invited", &json!({"id": "tester-1"}), &json!([]));
    assert_eq!((&tester["visible"], &tester["reason"]), (&json!(true), &json!("TARGETING_MATCH")));
    assert_eq!(seen(huidu, "invited"), json!([false, "off", "DEFAULT", null]));
    assert!(!huidu.tester_token().is_empty(), "tokens are sealed");
    let body = json!({"placement": "checkout", "user": {"id": "u-1"}});
    huidu.post("/v1/decisions", revoked, &body).refused(401, "unauthorized");
    huidu.post("/v1/decisions", &huidu.client, &body).expect(200);
}

fn refuses_changes_of(huidu: &Huidu, flag: &str) {
    let path = format!("/flags/{flag}/kill");
    let refused = huidu.manage("POST", &path, None, &json!({})).refused(503, "database_unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
}

fn refuses_changes(huidu: &Huidu) {
    refuses_changes_of(huidu, "open");
    let event = json!([{"type": "exposure", "token": huidu.tester_token()}]);
    let refused = huidu.events(&huidu.server, &event).refused(503, "database_unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
}

on_both! {
    fn a_start_without_the_database_serves_the_last_good_state(stand) {
        let revoked = furnish(&stand.huidu);
        let token = stand.huidu.tester_token();
        let mut ends = ramp("ends", 100.0, 0.0);
        let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(4);
        let soon = soon.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        ends["expire_at"] = json!(huidu::clock::rfc3339(i64::try_from(soon).unwrap()));
        stand.huidu.create_flag(&ends);
        stand.huidu.stop();
        stand.take_away();
        stand.huidu.start_again();
        decides_as_before(&stand.huidu, &revoked);
        assert_eq!(stand.huidu.tester_token(), token, "sealed as before, today");
        let verified = stand.huidu.post("/v1/tokens/verify", &stand.huidu.server, &json!({"token": token}));
        assert_eq!(verified.expect(200).json()["valid"], true);
        let (word, codes) = stand.standing();
        assert_eq!(word, "degraded");
        assert!(codes.contains(&"database_away".into()) && codes.contains(&"state_from_copy".into()), "{codes:?}");
        for key in ["", stand.huidu.client.as_str(), revoked.as_str(), "unknown"] {
            assert_eq!(stand.huidu.get("/readyz", key).expect(200).json(), json!({"status": "degraded"}), "{key}");
        }
        assert_eq!(stand.huidu.metric("huidu_database_reachable"), Some(0.0));
        assert!(stand.huidu.metric("huidu_state_confirmed_timestamp_seconds{environment=\"production\"}").unwrap() > 0.0);
        refuses_changes(&stand.huidu);
        eventually("an end that comes meanwhile", || seen(&stand.huidu, "ends")[2] == "DISABLED");
        // Again, from the copy that the one before has written.
        stand.huidu.kill();
        stand.huidu.start_again();
        decides_as_before(&stand.huidu, &revoked);
        assert_eq!(seen(&stand.huidu, "ends")[2], "DISABLED");
        stand.give_back();
        stand.until("ready");
        decides_as_before(&stand.huidu, &revoked);
        assert_eq!(stand.huidu.metric("huidu_database_reachable"), Some(1.0));
        let event = json!([{"type": "exposure", "token": token}]);
        stand.huidu.events(&stand.huidu.server, &event).expect(200);
        stand.huidu.manage("POST", "/flags/open/kill", None, &json!({})).expect(200);
        assert_eq!(seen(&stand.huidu, "open")[2], "DISABLED");
    }

    fn what_was_killed_or_revoked_last_stays_so_after_a_sudden_end(stand) {
        stand.huidu.create_flag(&ramp("f", 100.0, 0.0));
        let wish = json!({"name": "gone", "role": "server", "environment": "production"});
        let made = stand.huidu.post("/v1/keys", ADMIN, &wish).expect(201).json();
        stand.huidu.manage("POST", "/flags/f/kill", None, &json!({})).expect(200);
        let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
        stand.huidu.call("DELETE", &path, ADMIN, &[], b"").expect(204);
        let before = stand.huidu.metric("huidu_copy_written_timestamp_seconds").unwrap();
        eventually("the copy is written", || {
            let copy = huidu::live::disk::find(stand.huidu.folder(), id(&stand.huidu).as_deref());
            let huidu::live::disk::Found::Good(copy) = copy else { return false };
            let flag = copy.environments[0].flags.iter().find(|flag| flag.key == "f");
            flag.is_some_and(|flag| flag.state == "killed") && copy.keys.iter().any(|key| key.revoked_at.is_some())
        });
        assert!(before > 0.0);
        stand.huidu.kill();
        stand.take_away();
        stand.huidu.start_again();
        assert_eq!(seen(&stand.huidu, "f")[2], "DISABLED");
        stand.huidu.get("/metrics", made["key"].as_str().unwrap()).refused(401, "unauthorized");
        stand.give_back();
        stand.until("ready");
        assert_eq!(seen(&stand.huidu, "f")[2], "DISABLED");
    }

    fn demanded_signatures_are_demanded_from_the_copy_too(stand) {
        stand.huidu.create_flag(&ramp("f", 100.0, 0.0));
        let path = "/v1/environments/production";
        let secret = stand.huidu.post(&format!("{path}/unit-secrets"), ADMIN, &json!({})).expect(201);
        assert!(secret.json()["secret"].is_string());
        let demand = json!({"require_signed_units": true}).to_string();
        let headers = [("content-type", "application/json")];
        stand.huidu.call("PATCH", path, ADMIN, &headers, demand.as_bytes()).expect(200);
        let ask = |huidu: &Huidu| {
            let body = json!({"placement": "checkout", "user": {"id": "u-1"}});
            let answer = huidu.post("/v1/decisions", &huidu.client, &body).expect(200).json();
            let entries = answer["entries"].as_array().unwrap().clone();
            entries.into_iter().find(|entry| entry["flag"] == "f").unwrap()["code"].clone()
        };
        assert_eq!(ask(&stand.huidu), "unit_missing");
        stand.huidu.stop();
        stand.take_away();
        stand.huidu.start_again();
        assert_eq!(ask(&stand.huidu), "unit_missing");
    }
}

fn id(huidu: &Huidu) -> Option<String> {
    std::fs::read_to_string(huidu.folder().join("huidu.id")).ok()
}

#[test]
fn a_running_service_goes_on_without_postgresql_whether_it_is_gone_or_frozen() {
    let mut stand = super::Stand::start(crate::postgres::Engine::Postgres);
    let revoked = furnish(&stand.huidu);
    for (outages, frozen) in [(1, false), (2, true)] {
        if frozen {
            stand.proxy.as_ref().unwrap().hold();
        } else {
            stand.take_away();
        }
        stand.until("degraded");
        assert_eq!(stand.standing().1, ["database_away"], "not from the copy");
        decides_as_before(&stand.huidu, &revoked);
        refuses_changes(&stand.huidu);
        let said = || stand.huidu.log().matches("the database is not used").count();
        eventually("it is said", || said() >= outages);
        assert_eq!(said(), outages, "once an outage");
        stand.give_back();
        let ended = || stand.huidu.log().matches("the database is used again").count();
        eventually("its end is said", || ended() == outages);
        stand.until("ready");
        stand.huidu.manage("POST", "/flags/killed/kill", None, &json!({})).expect(200);
    }
    let before: Value = stand.huidu.get("/v1/environments/production/flags/open", ADMIN).json();
    assert_eq!(before["frozen"], Value::Null);
}

#[test]
fn a_database_that_comes_back_as_another_one_is_not_used() {
    let stand = super::Stand::start(crate::postgres::Engine::Postgres);
    stand.huidu.create_flag(&ramp("f", 100.0, 0.0));
    let own = id(&stand.huidu).unwrap();
    let becomes = |id: &str| stand.sql(&format!("UPDATE meta SET value = '{id}' WHERE key = 'database_id'"));
    let proxy = stand.proxy.as_ref().unwrap();
    proxy.cut();
    stand.until("degraded");
    becomes("another");
    proxy.pass();
    eventually("it is said", || stand.standing().1 == ["database_wrong"]);
    assert_eq!(seen(&stand.huidu, "f"), json!([true, "on", "SPLIT", null]));
    refuses_changes_of(&stand.huidu, "f");
    becomes(&own);
    stand.until("ready");
    stand.huidu.manage("POST", "/flags/f/kill", None, &json!({})).expect(200);
}

#[test]
fn a_running_service_goes_on_while_its_file_is_locked() {
    let mut stand = super::Stand::start(crate::postgres::Engine::Sqlite);
    stand.huidu.create_flag(&ramp("f", 100.0, 0.0));
    // A writer that keeps its transaction open holds up changes only.
    stand.huidu.stop();
    stand.huidu.start_again();
    let url = stand.url.clone();
    let writer = stand.runtime.block_on(async {
        use sqlx::Connection as _;
        let mut writer = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
        writer
    });
    refuses_changes_of(&stand.huidu, "f");
    assert_eq!(seen(&stand.huidu, "f"), json!([true, "on", "SPLIT", null]));
    assert_eq!(stand.standing().0, "ready", "it can be read");
    drop(writer);
    eventually("a change", || stand.huidu.manage("POST", "/flags/f/kill", None, &json!({})).status == 200);
}

#[test]
fn a_first_start_waits_for_its_server_and_then_shows_its_keys() {
    let stand = super::Stand::start(crate::postgres::Engine::Postgres);
    let database =
        stand.runtime.block_on(crate::postgres::Database::empty(crate::postgres::Engine::Postgres));
    let proxy = super::Proxy::start(&database.url);
    proxy.cut();
    let mut late = Huidu::start_unready(&[("DATABASE_URL", &proxy.url), ("DATABASE_TIMEOUT_MS", "1000")]);
    assert!(late.banner.contains("waits for its database"), "{}", late.banner);
    assert_eq!(late.get("/readyz", "").expect(503).json(), json!({"status": "starting"}));
    let asked = late.post("/v1/decisions", "any", &json!({"placement": "checkout", "user": {}}));
    assert!([401, 503].contains(&asked.status), "{asked:?}");
    proxy.pass();
    eventually("it serves", || late.get("/readyz", "").status == 200);
    eventually("it shows its keys", || late.output().contains("huidu_client_"));
    let output = late.output();
    let key = output.split_whitespace().find(|word| word.starts_with("huidu_server_")).unwrap();
    late.server = key.to_owned();
    assert!(!late.tester_token().is_empty());
}
