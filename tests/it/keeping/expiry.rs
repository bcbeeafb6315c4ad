//! The end of a test: shut by each instance at once, written down by one of them, once.

use huidu::clock::{Clock as _, MachineClock, rfc3339};
use serde_json::{Value, json};

use super::{audited, execute, shared_database, snapshot, texts, url_of};
use crate::fixture::*;

fn ending(key: &str, in_ms: i64) -> Value {
    let mut flag = ramp(key, 100.0, 0.0);
    flag["expire_at"] = json!(rfc3339(MachineClock.now_ms() + in_ms));
    flag
}

fn read(huidu: &Huidu, key: &str) -> Value {
    huidu.manage("GET", &format!("/flags/{key}"), None, &json!({})).expect(200).json()
}

fn shown(huidu: &Huidu, key: &str) -> (bool, String) {
    let entry = huidu.entry(key, &json!({"id": "u-1"}), &json!([]));
    (entry["visible"].as_bool().unwrap(), entry["reason"].as_str().unwrap().to_owned())
}

/// How often the end of `key` stands in the audit.
fn ends(huidu: &Huidu, key: &str) -> usize {
    audited(huidu, "expire").iter().filter(|row| row["subject"] == key).count()
}

#[test]
fn an_end_is_written_down_once_without_a_new_version() {
    let mut huidu = Huidu::start();
    let url = url_of(&huidu);
    let document = ending("f", 2_500);
    huidu.create_flag(&document);
    let before = snapshot(&huidu);
    assert_eq!((shown(&huidu, "f").0, &read(&huidu, "f")["expired"]), (true, &json!(false)));
    eventually("the end is written down", || ends(&huidu, "f") == 1);
    let flag = read(&huidu, "f");
    assert_eq!(
        (&flag["expired"], &flag["stage"], &flag["version"], &flag["state"]),
        (&json!(true), &Value::Null, &json!(1), &json!("live"))
    );
    assert_eq!(shown(&huidu, "f"), (false, "DISABLED".into()));
    // Written down a moment before it is served.
    eventually("others hear of it", || snapshot(&huidu) == before + 1);
    let row = &audited(&huidu, "expire")[0];
    assert_eq!((&row["actor"], &row["kind"]), (&json!("huidu (expiry)"), &json!("flag")));
    assert_eq!(
        row["detail"],
        json!({"version": 1, "state": "live", "stage": null, "ended_stage": 1, "expire_at": document["expire_at"]})
    );
    let closed = "SELECT CAST(closed_at AS TEXT) FROM stages AS s JOIN flags AS f ON f.number = s.flag
                  AND f.environment = s.environment WHERE f.key = 'f' AND s.stage = 1";
    let closed: i64 = texts(&url, closed)[0].parse().unwrap();
    assert_eq!(json!(rfc3339(closed)), document["expire_at"], "a stage ends when its test ended");

    // A second end, seen after a restart, proves that the first was looked at again.
    huidu.stop();
    huidu.start_again();
    huidu.create_flag(&ending("g", 500));
    eventually("the next end is written down", || ends(&huidu, "g") == 1);
    assert_eq!(ends(&huidu, "f"), 1);
}

#[test]
fn an_end_that_moves_later_opens_a_stage_and_is_written_down_again() {
    let huidu = Huidu::start();
    huidu.create_flag(&ending("f", 500));
    eventually("the first end", || ends(&huidu, "f") == 1);
    huidu.manage("PUT", "/flags/f", Some(1), &ending("f", 3_600_000)).expect(200);
    let flag = read(&huidu, "f");
    assert_eq!((&flag["expired"], &flag["stage"]), (&json!(false), &json!(2)));
    assert!(shown(&huidu, "f").0);
    huidu.manage("PUT", "/flags/f", Some(2), &ending("f", 1_500)).expect(200);
    assert_eq!(read(&huidu, "f")["stage"], 2, "an end alone begins no stage");
    eventually("the second end", || ends(&huidu, "f") == 2);
    assert_eq!(audited(&huidu, "expire")[0]["detail"]["ended_stage"], 2);
    assert_eq!(shown(&huidu, "f"), (false, "DISABLED".into()));
}

#[test]
fn an_end_of_what_is_shut_already_is_no_event() {
    let huidu = Huidu::start();
    for key in ["killed", "archived"] {
        huidu.create_flag(&ending(key, 1_500));
    }
    huidu.manage("POST", "/flags/killed/kill", None, &json!({})).expect(200);
    huidu.manage("POST", "/flags/archived/archive", Some(1), &json!({})).expect(200);
    huidu.create_flag(&ending("past", -60_000));
    huidu.create_flag(&ending("live", 2_000));
    eventually("the open one ends", || ends(&huidu, "live") == 1);
    for key in ["killed", "archived", "past"] {
        assert_eq!(ends(&huidu, key), 0, "{key}");
    }
    // Restored after its end it stays shut, and no stage opens.
    huidu.manage("POST", "/flags/killed/restore", Some(2), &json!({})).expect(200);
    assert_eq!((shown(&huidu, "killed").0, &read(&huidu, "killed")["stage"]), (false, &Value::Null));
}

#[test]
fn a_closed_stage_keeps_a_flag_shut_whatever_a_clock_says() {
    let mut huidu = Huidu::start();
    let url = url_of(&huidu);
    huidu.create_flag(&ending("f", 3_600_000));
    assert!(shown(&huidu, "f").0);
    huidu.stop();
    // As an instance whose clock is an hour ahead would have left it.
    execute(&url, "UPDATE flags SET stage_open = NULL WHERE key = 'f'");
    huidu.start_again();
    assert_eq!(shown(&huidu, "f"), (false, "DISABLED".into()));
    assert_eq!(read(&huidu, "f")["expired"], true);
}

#[test]
fn two_instances_write_an_end_down_once_and_both_hear_of_it() {
    let url = shared_database();
    let first = Huidu::start_with(&[("DATABASE_URL", &url)]);
    let second = Huidu::beside(&first);
    let keys: Vec<String> = (0..5).map(|n| format!("f-{n}")).collect();
    for key in &keys {
        first.create_flag(&ending(key, 4_000));
    }
    for key in &keys {
        eventually("the end is written down", || ends(&second, key) == 1);
    }
    let number: i64 = texts(&url, "SELECT CAST(snapshot AS TEXT) FROM environments WHERE key = 'production'")
        [0]
    .parse()
    .unwrap();
    for huidu in [&first, &second] {
        eventually("both are at the last number", || snapshot(huidu) == number);
        for key in &keys {
            assert_eq!((shown(huidu, key).0, &read(huidu, key)["expired"]), (false, &json!(true)));
            assert_eq!(ends(huidu, key), 1);
        }
    }
}
