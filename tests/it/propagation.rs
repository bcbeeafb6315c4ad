//! Who has a change: the call that proves a kill, and what the store keeps for it.

use serde_json::{Value, json};

use huidu::store::{ChangeAt, NodeReachedRow, ReachedRow, VersionRow};

use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on, on_both_engines};
use crate::streams::STREAM;
use crate::streams::page::Page;

fn ask(huidu: &Huidu, query: &str) -> Answer {
    huidu.get(&format!("/v1/environments/production/flags/f/propagation{query}"), ADMIN)
}

fn ms_of(text: &Value) -> i64 {
    text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[test]
fn one_instance_says_when_it_had_a_change_and_how_many_pages_it_told() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 100.0, 0.0));
    let first = ask(&huidu, "").expect(200).json();
    assert_eq!((&first["version"], &first["last_exposure_at"]), (&json!(1), &Value::Null), "{first}");
    let entry = huidu.entry("f", &json!({"id": "u-1"}), &json!([]));
    let event = json!([{"type": "exposure", "token": entry["exposure_token"]}]);
    huidu.events(&huidu.server, &event).expect(200);
    let pages = [(); 3].map(|()| Page::open(&huidu, STREAM, &huidu.client));
    pages.iter().for_each(|page| drop(page.event(0)));
    let killed = huidu.manage("POST", "/flags/f/kill", None, &json!({})).expect(200).json();
    pages.iter().for_each(|page| drop(page.event(1)));
    let told = ask(&huidu, "?version=2").expect(200).json();
    assert_eq!((&told["version"], &told["pages_told"], &told["waiting"]), (&json!(2), &json!(3), &json!([])));
    assert_eq!(told["nodes"].as_array().unwrap().len(), 1, "{told}");
    let node = &told["nodes"][0];
    assert!(node["node"].as_str().unwrap().len() > 9, "{told}");
    assert!((0..20_000).contains(&node["ms"].as_i64().unwrap()), "{told}");
    assert_eq!(ms_of(&node["confirmed_at"]) - ms_of(&told["changed_at"]), node["ms"].as_i64().unwrap());
    assert!(ms_of(&told["changed_at"]) >= ms_of(&killed["updated_at"]), "{told}");
    // The proof of the kill: nobody was shown the entry after it.
    assert!(ms_of(&told["last_exposure_at"]) <= ms_of(&told["changed_at"]), "{told}");
    assert_eq!(ask(&huidu, "").expect(200).json()["version"], 2, "the newest, where none is named");
    assert_eq!(ask(&huidu, "?version=1").expect(200).json()["pages_told"], 0, "told of another one");
    assert_eq!(told["snapshot"], pages[0].event(1).id);
}

#[test]
fn what_is_not_there_has_come_nowhere() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 100.0, 0.0));
    ask(&huidu, "?version=7").refused(404, "not_found");
    ask(&huidu, "?version=x").refused(400, "query_invalid");
    ask(&huidu, "?versions=1").refused(400, "query_invalid");
    huidu.get("/v1/environments/production/flags/g/propagation", ADMIN).refused(404, "not_found");
}

#[test]
fn a_restart_knows_that_it_has_what_it_loaded() {
    let mut huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 100.0, 0.0));
    huidu.manage("POST", "/flags/f/kill", None, &json!({})).expect(200);
    huidu.stop();
    huidu.start_again();
    for version in 1..=2 {
        let told = ask(&huidu, &format!("?version={version}")).expect(200).json();
        assert_eq!((told["nodes"].as_array().unwrap().len(), &told["waiting"]), (1, &json!([])), "{told}");
        assert_eq!(told["pages_told"], 0, "{told}");
    }
}

#[test]
fn instances_on_one_database_know_of_each_other() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_instances(&url)).await.unwrap();
    });
}

fn two_instances(url: &str) {
    let first = Huidu::start_with(&[("DATABASE_URL", url)]);
    let mut second = Huidu::beside(&first);
    first.create_flag(&ramp("f", 100.0, 0.0));
    let of_first = [(); 2].map(|()| Page::open(&first, STREAM, &first.client));
    let of_second = Page::open(&second, STREAM, &first.client);
    of_first.iter().chain([&of_second]).for_each(|page| drop(page.event(0)));
    // A page that came before the flag was there is told of it, and then of the kill.
    first.manage("POST", "/flags/f/kill", None, &json!({})).expect(200);
    let seen = |huidu: &Huidu| -> (usize, i64) {
        let told = ask(huidu, "?version=2").expect(200).json();
        let (nodes, pages) = (told["nodes"].as_array().unwrap(), &told["pages_told"]);
        (nodes.iter().filter(|node| node["ms"].is_i64()).count(), pages.as_i64().unwrap())
    };
    eventually("both have it, as both say", || seen(&first) == (2, 3) && seen(&second) == (2, 3));
    // One that does not answer any more is still waited for, until it counts as gone.
    signal(second.pid(), "STOP");
    first.manage("POST", "/flags/f/restore", Some(2), &json!({})).expect(200);
    let waiting = ask(&first, "?version=3").expect(200).json();
    assert_eq!(
        (waiting["nodes"].as_array().unwrap().len(), waiting["waiting"].as_array().unwrap().len()),
        (1, 1)
    );
    signal(second.pid(), "CONT");
    eventually("it has it too", || ask(&first, "?version=3").json()["waiting"] == json!([]));
    second.stop();
    let alone = ask(&first, "?version=3").expect(200).json();
    assert_eq!(alone["nodes"].as_array().unwrap().len(), 1, "one that ended is no more: {alone}");
}

#[test]
fn a_client_told_by_one_instance_gets_no_older_answer_from_another() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || told_elsewhere(&url)).await.unwrap();
    });
}

fn told_elsewhere(url: &str) {
    let first = Huidu::start_with(&[("DATABASE_URL", url)]);
    let second = Huidu::beside(&first);
    let number = |answer: &Answer| answer.json()["metadata"]["snapshot"].as_i64().unwrap();
    let bulk = |huidu: &Huidu, query: &str| {
        huidu.post(&format!("/ofrep/v1/evaluate/flags{query}"), &first.client, &json!({})).expect(200)
    };
    // By itself it would ask once a second, so that most of its first answers would be older.
    let mut new_at_once = 0;
    for change in 0..6 {
        first.create_flag(&ramp(&format!("f-{change}"), 100.0, 0.0));
        let told = number(&bulk(&first, ""));
        let answer = bulk(&second, &format!("?flagConfigEtag={told}"));
        new_at_once += u32::from(number(&answer) == told);
    }
    assert!(new_at_once >= 4, "{new_at_once} of 6");
    // A number that nobody told is not waited for, and an older one neither.
    for query in ["?flagConfigEtag=999999999", "?flagConfigEtag=1", "?flagConfigEtag=x", "?flagConfigEtag=-5"]
    {
        bulk(&second, query);
    }
}

#[test]
fn a_kill_on_an_instance_that_is_behind_serves_what_others_changed_too() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || killed_behind(&url)).await.unwrap();
    });
}

fn killed_behind(url: &str) {
    let first = Huidu::start_with(&[("DATABASE_URL", url)]);
    let old = |change: u32| format!("old-{change}");
    (0..6).for_each(|change| first.create_flag(&ramp(&old(change), 100.0, 0.0)));
    let second = Huidu::beside(&first);
    let ask = |flag: &str| {
        let context = json!({"context": {"targetingKey": "u-1"}});
        second.post(&format!("/ofrep/v1/evaluate/flags/{flag}"), &first.client, &context)
    };
    for change in 0..6 {
        let (old, new) = (old(change), format!("new-{change}"));
        assert_eq!(ask(&old).expect(200).json()["value"], json!(true), "{old}");
        first.create_flag(&ramp(&new, 100.0, 0.0));
        // It locks the environment, but waits for nothing that would have to be loaded.
        second.manage("POST", &format!("/flags/{old}/kill"), None, &json!({})).expect(200);
        assert_eq!(ask(&new).expect(200).json()["value"], json!(true), "{new}");
        assert_eq!(ask(&old).expect(200).json()["value"], json!(false), "{old}");
    }
}

/// Makes a version of the flag `f` as another process would, and nothing else.
fn change_behind(huidu: &Huidu) {
    let url = format!("sqlite:{}", huidu.database().display());
    block_on(crate::postgres::execute(
        &url,
        Engine::Sqlite,
        r#"BEGIN IMMEDIATE;
           UPDATE flags SET version = version + 1, updated_by = 'other' WHERE key = 'f';
           UPDATE environments SET snapshot = snapshot + 1 WHERE number = 1;
           INSERT INTO changes (environment, number, at, subjects)
           SELECT 1, snapshot, 0, '{"flags":["f"]}' FROM environments WHERE number = 1;
           COMMIT"#,
    ));
}

#[test]
fn a_ramp_is_made_of_what_is_stored_though_something_else_is_served() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 10.0, 0.0));
    let ramped = |version: i64, percent: f64| {
        huidu.manage("POST", "/flags/f/rollout", Some(version), &json!({"percent": percent}))
    };
    let mut stored = 1;
    for percent in [20.0, 30.0, 40.0, 50.0] {
        change_behind(&huidu);
        // Served is the version before, for which this would have been right.
        ramped(stored, percent).refused(412, "version_conflict");
        change_behind(&huidu);
        stored += 2;
        // And this would have been wrong.
        let changed = ramped(stored, percent).expect(200).json();
        stored += 1;
        assert_eq!(changed["version"], json!(stored));
        assert_eq!(changed["flag"]["rules"][0]["serve"]["rollout"]["percent"], json!(percent));
        change_behind(&huidu);
        stored += 1;
        // What changes nothing is told of what is stored too.
        ramped(stored - 1, percent).refused(412, "version_conflict");
        assert_eq!(ramped(stored, percent).expect(200).json()["version"], json!(stored));
    }
    // Not even the number says that this flag is another one.
    let url = format!("sqlite:{}", huidu.database().display());
    block_on(crate::postgres::execute(
        &url,
        Engine::Sqlite,
        "UPDATE flags SET version = version + 1 WHERE key = 'f'",
    ));
    ramped(stored, 60.0).refused(412, "version_conflict");
    let versions = huidu.get("/v1/environments/production/flags/f/versions", ADMIN).expect(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 5, "one a change that was made here: {versions}");
}

fn reached(number: i64, at: i64, pages: i64) -> ReachedRow {
    ReachedRow { environment: 1, number, at, pages }
}

fn row(node: &str, reached: Option<(i64, i64, i64)>) -> NodeReachedRow {
    NodeReachedRow {
        node: node.into(),
        number: reached.map(|reached| reached.0),
        at: reached.map(|reached| reached.1),
        pages: reached.map(|reached| reached.2),
    }
}

on_both_engines! {
    async fn each_living_instance_says_what_it_reached_first(db) {
        db.beat("a", 1, &[reached(4, 10, 0), reached(7, 30, 2)]).await.unwrap();
        db.beat("b", 2, &[reached(5, 20, 1)]).await.unwrap();
        db.beat("c", 3, &[ReachedRow { environment: 2, ..reached(9, 40, 8) }]).await.unwrap();
        db.beat("a", 1, &[reached(7, 99, 5)]).await.unwrap();
        let rows = db.nodes_reached(1, 5).await.unwrap();
        assert_eq!(rows, [row("a", Some((7, 30, 5))), row("b", Some((5, 20, 1))), row("c", None)]);
        db.execute("UPDATE nodes SET seen_at = seen_at - 16000 WHERE node = 'b'").await;
        let rows = db.nodes_reached(1, 8).await.unwrap();
        assert_eq!(rows, [row("a", None), row("c", None)], "silence means gone");
        db.beat("b", 2, &[]).await.unwrap();
        assert_eq!(db.nodes_reached(1, 5).await.unwrap().len(), 3, "and a word that it lives");
        db.remove_node("b").await.unwrap();
        assert_eq!(db.nodes_reached(1, 5).await.unwrap().len(), 2);
        assert_eq!(db.number("SELECT count(*) FROM reached").await, 3);
    }

    async fn sweeping_keeps_the_last_number_of_each(db) {
        const DAY: i64 = 86_400_000;
        db.beat("a", 1, &[reached(4, 10, 0), reached(7, 30, 2), reached(8, DAY, 2)]).await.unwrap();
        db.beat("quiet", 1, &[reached(3, 5, 0), reached(4, 10, 0)]).await.unwrap();
        db.sweep_nodes(DAY + 31).await.unwrap();
        assert_eq!(db.nodes_reached(1, 1).await.unwrap(), [row("a", Some((8, DAY, 2))), row("quiet", Some((4, 10, 0)))]);
        db.execute("UPDATE nodes SET seen_at = 5 WHERE node = 'quiet'").await;
        db.sweep_nodes(DAY + 31).await.unwrap();
        assert_eq!(db.number("SELECT count(*) FROM nodes").await, 1);
        assert_eq!(db.number("SELECT count(*) FROM reached").await, 1);
    }

    async fn the_change_of_a_version_is_the_number_taken_with_it(db) {
        let environment = crate::store::environment(&db, "production").await;
        let version = |flag, version| VersionRow {
            flag, version, document: "{}".into(), sha256: "00".into(), state: "live".into(), at: 5, actor: "ann".into(),
            reason: None, action: "create".into(), diff: None,
        };
        // Two versions in one change, the change's own time being a little later; then another.
        let mut change = db.change(environment).await.unwrap();
        change.append_version(&version(1, 1)).await.unwrap();
        change.append_version(&version(2, 1)).await.unwrap();
        change.commit_change("{}", 7).await.unwrap();
        let mut change = db.change(environment).await.unwrap();
        change.append_version(&version(1, 2)).await.unwrap();
        change.commit_change("{}", 5).await.unwrap();
        let mut ids = vec![(1, 1, Some((1, 7))), (2, 1, Some((1, 7))), (1, 2, Some((2, 5))), (2, 2, None), (3, 1, None)];
        // One that an older release kept.
        db.execute("UPDATE flag_versions SET number = NULL WHERE flag = 2").await;
        ids[1].2 = None;
        for (flag, version, found) in ids {
            let expected = found.map(|(number, at)| ChangeAt { number, at });
            assert_eq!(db.change_of_version(environment, flag, version).await.unwrap(), expected, "{flag} {version}");
        }
        assert_eq!(db.last_exposure(environment, 1).await.unwrap(), None);
    }
}
