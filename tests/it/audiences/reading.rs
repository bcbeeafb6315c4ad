//! Audiences that are too large for memory: they decide the same, and say so where they cannot.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::postgres::{Database, Engine, block_on};

/// A service that holds no audience in memory.
fn without_memory() -> Huidu {
    Huidu::start_with(&[("AUDIENCE_MEMORY_BYTES", "0")])
}

fn lines(name: &str, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        writeln!(text, "{name}-{n}").unwrap();
    }
    text
}

/// Runs a statement on the SQLite file of a running service.
fn behind(huidu: &Huidu, sql: &'static str) {
    let url = format!("sqlite:{}", huidu.database().display());
    block_on(async {
        use sqlx::{Connection as _, Executor as _};
        let mut c = sqlx::SqliteConnection::connect(&url).await.unwrap();
        c.execute(sql).await.unwrap();
        c.close().await.unwrap();
    });
}

const AWAY: &str = "ALTER TABLE audience_blocks RENAME TO audience_blocks_away";
const BACK: &str = "ALTER TABLE audience_blocks_away RENAME TO audience_blocks";

/// A flag of members whose goods gate excludes an audience of goods.
fn shop(huidu: &Huidu, users: &[u8], goods: &[u8]) {
    upload(huidu, "aud", &[NEW], users).expect(201);
    upload(huidu, "shut?kind=goods", &[NEW], goods).expect(201);
    let mut flag = ramp("f", 1.0, 0.0);
    flag["goods"] = json!({"match": "any", "required": false, "exclude": [{"audience": "shut"}]});
    flag["rules"] = json!([{"id": "members", "when": {"audience": "aud"}, "serve": {"variant": "on"}}]);
    huidu.create_flag(&flag);
}

fn cache(huidu: &Huidu, what: &str) -> i64 {
    let value = huidu.metric(&format!("huidu_cache_{what}_total{{cache=\"audience\"}}")).unwrap_or(0.0);
    format!("{value:.0}").parse().unwrap()
}

#[test]
fn two_hundred_thousand_ids_decide_without_memory() {
    let huidu = without_memory();
    let (users, goods) = (lines("u", 200_000), lines("g", 1_000));
    shop(&huidu, users.as_bytes(), goods.as_bytes());
    let row = read(&huidu, "/aud");
    assert_eq!((&row["held"], &row["size"]), (&json!("database"), &json!(200_000)));
    assert_eq!(huidu.metric("huidu_audience_bytes{environment=\"production\"}"), Some(0.0));
    let users = ["u-0", "u-199999", "u-77777", "u-200000", "u-", "U-1", "u-1\nu-10"];
    let members = [true, true, true, false, false, false, false];
    let missed = cache(&huidu, "misses");
    assert_eq!(seen(&huidu, &users), members);
    // The example entry beside it asks for its testers, too.
    let asked = 2 * users.len() as i64;
    assert_eq!(cache(&huidu, "misses"), missed + asked);
    let hit = cache(&huidu, "hits");
    assert_eq!(seen(&huidu, &users), members, "once more, from the cache");
    assert_eq!((cache(&huidu, "misses"), cache(&huidu, "hits")), (missed + asked, hit + asked));

    let goods =
        json!([{"id": "g-999", "price": 1}, {"id": "open", "price": 1}, {"id": "g-1000", "price": 1}]);
    let entry = huidu.entry("f", &json!({"id": "u-5"}), &goods);
    assert_eq!(entry["visible"], true);
    assert_eq!(entry["goods"], json!({"eligible": ["open", "g-1000"], "ineligible": ["g-999"]}));
    let context = |user: &str| json!({"context": {"targetingKey": user}});
    for (user, value) in [("u-6", true), ("x", false)] {
        let one = huidu.post("/ofrep/v1/evaluate/flags/f", &huidu.client, &context(user)).expect(200).json();
        assert_eq!(one["value"], value, "{user}");
        let bulk = huidu.post("/ofrep/v1/evaluate/flags", &huidu.client, &context(user)).expect(200);
        assert!(bulk.header("etag").is_some());
        let flags = bulk.json()["flags"].as_array().unwrap().clone();
        assert_eq!(flags.iter().find(|flag| flag["key"] == "f").unwrap()["value"], value);
        let explain = "/v1/environments/production/flags/f/explain";
        let explained = huidu.post(explain, ADMIN, &context(user)).expect(200).json();
        assert_eq!(explained["decision"]["visible"], value, "{explained}");
    }
    let page: Vec<Value> = (900..1_100).map(|n| json!({"id": format!("g-{n}"), "price": 1})).collect();
    let body = json!({"placement": "checkout", "user": {"id": "u-7"}, "goods": page});
    let badges = huidu.post("/v1/goods/eligibility", &huidu.client, &body).expect(200).json();
    for (n, item) in (900..).zip(badges["goods"].as_array().unwrap()) {
        let carries = item["entries"].as_array().unwrap().contains(&json!("f"));
        assert_eq!(carries, n >= 1_000, "{item}");
    }
    assert!(badges.get("unavailable").is_none());
    let event = |user: &str, variant: &str| json!({"type": "exposure", "flag": "f", "user_id": user, "variant": variant, "context": {}});
    let answer =
        huidu.events(&huidu.server, &json!([event("u-8", "on"), event("x", "off")])).expect(200).json();
    assert_eq!(answer["accepted"], 1, "{answer}");
    assert_eq!(answer["rejected"][0]["code"], "not_measured", "{answer}");
}

#[test]
fn what_is_cached_is_forgotten_where_it_changes_and_only_there() {
    let mut huidu = without_memory();
    shop(&huidu, b"u-1\nu-2\nu-3\n", b"");
    let users = ["u-1", "u-2", "u-3", "u-4"];
    assert_eq!(seen(&huidu, &users), [true, true, true, false]);
    let missed = cache(&huidu, "misses");
    edit(&huidu, "aud", "add", &["u-4"]).expect(200);
    edit(&huidu, "aud", "remove", &["u-1"]).expect(200);
    assert_eq!(seen(&huidu, &users), [false, true, true, true]);
    assert_eq!(cache(&huidu, "misses"), missed + 2, "the two that changed");
    replace(&huidu, "aud", 3, &["u-1"]);
    assert_eq!(seen(&huidu, &users), [true, false, false, false]);
    let headers = [("content-type", "application/json"), ("if-match", "\"4\"")];
    let path = format!("{AUDIENCES}/aud/rollback");
    huidu.call("POST", &path, ADMIN, &headers, br#"{"version": 2}"#).expect(200);
    assert_eq!(
        seen(&huidu, &users),
        [true, true, true, true],
        "entries of the old contents are not believed"
    );
    huidu.stop();
    huidu.start_again();
    assert_eq!(seen(&huidu, &users), [true, true, true, true]);
}

#[test]
fn with_the_ids_away_cached_ones_decide_and_the_others_say_so() {
    let huidu = Huidu::start_with(&[("AUDIENCE_MEMORY_BYTES", "0"), ("AUDIENCE_TIMEOUT_MS", "5000")]);
    upload(&huidu, "aud", &[NEW], lines("u", 1_000).as_bytes()).expect(201);
    let mut flag = ramp("f", 1.0, 0.0);
    flag["rules"] = json!([
        {"id": "block", "when": {"audience": "aud"}, "serve": {"variant": "off"}},
        {"id": "open", "serve": {"variant": "on"}},
    ]);
    huidu.create_flag(&flag);
    let entry = |user: &str| huidu.entry("f", &json!({"id": user}), &json!([]));
    assert_eq!((&entry("u-1")["visible"], &entry("x")["visible"]), (&json!(false), &json!(true)));
    behind(&huidu, AWAY);
    assert_eq!(
        (&entry("u-1")["rule"], &entry("x")["rule"]),
        (&json!("block"), &json!("open")),
        "from the cache"
    );
    let blind = entry("u-2");
    assert_eq!(
        (&blind["visible"], &blind["reason"], &blind["code"]),
        (&json!(false), &json!("ERROR"), &json!("audience_unavailable")),
        "a blocking rule is not skipped: {blind}"
    );
    assert!(blind.get("exposure_token").is_none());
    let context = json!({"context": {"targetingKey": "u-3"}});
    let one = huidu.post("/ofrep/v1/evaluate/flags/f", &huidu.client, &context);
    assert_eq!((one.status, &one.json()["errorCode"]), (500, &json!("GENERAL")));
    let bulk = huidu.post("/ofrep/v1/evaluate/flags", &huidu.client, &context).expect(200);
    assert_eq!(bulk.header("etag"), None, "it must not be kept as the newest");
    let flags = bulk.json()["flags"].as_array().unwrap().clone();
    assert_eq!(flags.iter().find(|flag| flag["key"] == "f").unwrap()["errorCode"], "GENERAL");
    let body = json!({"placement": "checkout", "user": {"id": "u-4"}, "goods": [{"id": "g", "price": 1}]});
    let badges = huidu.post("/v1/goods/eligibility", &huidu.client, &body).expect(200).json();
    assert_eq!(badges["goods"][0]["entries"], json!([]));
    assert!(badges["unavailable"].as_array().unwrap().contains(&json!("f")), "{badges}");
    let event = json!([{"type": "exposure", "flag": "f", "user_id": "u-5", "variant": "on", "context": {}}]);
    let answer = huidu.events(&huidu.server, &event).expect(200).json();
    assert_eq!(answer["rejected"][0]["code"], "audience_unavailable", "{answer}");
    behind(&huidu, BACK);
    eventually("it is asked again", || entry("u-2")["rule"] == "block");
}

#[test]
fn a_lost_block_makes_the_audience_unreadable_not_shorter() {
    let mut huidu = without_memory();
    shop(&huidu, lines("u", 1_000).as_bytes(), b"");
    assert_eq!(seen(&huidu, &["u-1"]), [true]);
    huidu.stop();
    behind(&huidu, "DELETE FROM audience_blocks WHERE first = (SELECT MAX(first) FROM audience_blocks)");
    huidu.start_again();
    assert_eq!(read(&huidu, "/aud")["held"], "unreadable");
    assert_eq!(huidu.entry("f", &json!({"id": "u-1"}), &json!([]))["code"], "audience_unavailable");
    replace(&huidu, "aud", 1, &["u-1"]);
    assert_eq!(seen(&huidu, &["u-1", "u-2"]), [true, false], "one good upload heals it");
}

#[test]
fn the_smallest_are_in_memory_and_they_move_as_they_grow() {
    // Room for some 1,800 ids.
    let huidu = Huidu::start_with(&[("AUDIENCE_MEMORY_BYTES", "20000")]);
    upload(&huidu, "aud", &[NEW], lines("u", 1_500).as_bytes()).expect(201);
    member_flag(&huidu);
    let held = |key: &str| read(&huidu, &format!("/{key}"))["held"].as_str().unwrap().to_owned();
    assert_eq!(held("aud"), "memory");
    assert!(huidu.metric("huidu_audience_bytes{environment=\"production\"}").unwrap() > 10_000.0);
    upload(&huidu, "small", &[NEW], lines("s", 1_000).as_bytes()).expect(201);
    assert_eq!(held("small"), "memory");
    eventually("the larger one leaves", || held("aud") == "database");
    assert_eq!(seen(&huidu, &["u-7", "u-1500"]), [true, false]);
    edit(&huidu, "aud", "add", &["u-1500"]).expect(200);
    assert_eq!(seen(&huidu, &["u-7", "u-1500"]), [true, true]);
    upload(&huidu, "small", &[("if-match", "\"1\"")], b"").expect(200);
    eventually("it comes back", || held("aud") == "memory");
    assert_eq!(seen(&huidu, &["u-7", "u-1500", "u-1501"]), [true, true, false]);
    let many: Vec<String> = (2_000..3_900).map(|n| format!("u-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    edit(&huidu, "aud", "remove", &["u-7"]).expect(200);
    edit(&huidu, "aud", "add", &many[..1_200]).expect(200);
    eventually("grown beyond the budget, it leaves", || held("aud") == "database");
    assert_eq!(seen(&huidu, &["u-7", "u-2000", "u-3199", "u-3200"]), [false, true, true, false]);
}

#[test]
fn what_stands_over_the_base_is_merged_beside() {
    let huidu = Huidu::start();
    replace(&huidu, "aud", 0, &["u-1", "u-2"]);
    member_flag(&huidu);
    let many: Vec<String> = (0..3_000).map(|n| format!("n-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    edit(&huidu, "aud", "add", &many).expect(200);
    edit(&huidu, "aud", "remove", &["u-1", "n-7"]).expect(200);
    let bytes = || huidu.metric("huidu_audience_bytes{environment=\"production\"}").unwrap();
    // 3,000 single ids take over 70 kB, as a base under 40.
    eventually("they are merged", || bytes() < 45_000.0);
    assert_eq!(seen(&huidu, &["u-1", "u-2", "n-7", "n-2999", "n-3000"]), [false, true, false, true, false]);
    edit(&huidu, "aud", "remove", &["n-2999"]).expect(200);
    assert_eq!(seen(&huidu, &["u-2", "n-2999", "n-2998"]), [true, false, true]);
}

#[test]
fn another_instance_forgets_what_this_one_changes() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_instances(&url)).await.unwrap();
    });
}

fn two_instances(url: &str) {
    let settings = [("DATABASE_URL", url), ("AUDIENCE_MEMORY_BYTES", "0")];
    let first = Huidu::start_with(&settings);
    let second = Huidu::beside(&first);
    shop(&first, b"u-1\nu-2\n", b"g-1\n");
    let users = ["u-1", "u-2", "u-3"];
    let entries = |huidu: &Huidu| {
        let body = json!({"placement": "checkout", "user": {"id": "u-1"}});
        huidu.post("/v1/decisions", &huidu.server, &body).expect(200).json()["entries"].clone()
    };
    eventually("the flag is there", || {
        entries(&second).as_array().unwrap().iter().any(|entry| entry["flag"] == "f")
    });
    // Cached on both.
    for huidu in [&first, &second] {
        assert_eq!(seen(huidu, &users), [true, true, false]);
        assert_eq!(read(huidu, "/aud")["held"], "database");
    }
    edit(&first, "aud", "add", &["u-3"]).expect(200);
    edit(&first, "aud", "remove", &["u-1"]).expect(200);
    assert_eq!(seen(&first, &users), [false, true, true]);
    eventually("the other one forgets", || seen(&second, &users) == [false, true, true]);
    edit(&second, "aud", "remove", &["u-2"]).expect(200);
    assert_eq!(seen(&second, &users), [false, false, true]);
    eventually("and the other way round", || seen(&first, &users) == [false, false, true]);
}
