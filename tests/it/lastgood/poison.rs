//! Rows that cannot be read: that flag goes on as it was, all others move on.

use serde_json::{Value, json};

use super::{Stand, on_both, seen};
use crate::fixture::*;
use huidu::live::load::checksum;

/// Statements that poison the flag `p`, by what they do to it.
fn poisons() -> Vec<(&'static str, String)> {
    let unknown = json!({
        "key": "p", "placement": "checkout", "value_type": "boolean", "variants": {"off": false, "on": true},
        "off_variant": "off", "salt": "p",
        "rules": [{"id": "r", "when": {"attribute": "user.x", "op": "resembles", "value": "y"}, "serve": {"variant": "off"}}],
    })
    .to_string();
    let with = |document: &str| {
        format!("UPDATE flags SET document = '{document}', sha256 = '{}' WHERE key = 'p'", checksum(document))
    };
    let other = ramp("q", 0.0, 0.0).to_string();
    vec![
        ("null", with("null")),
        ("half", with(unknown.split_at(unknown.len() / 2).0)),
        ("unknown operator", with(&unknown)),
        ("another flag's document", with(&other)),
        ("wrong sum", "UPDATE flags SET sha256 = 'abc' WHERE key = 'p'".into()),
        ("too large", with(&format!("{{\"key\":\"p\",\"x\":\"{}\"}}", "y".repeat(3 << 20)))),
        ("lower version", "UPDATE flags SET version = 1 WHERE key = 'p'".into()),
    ]
}

/// The stored version, which a refused write names.
fn stored_version(huidu: &Huidu) -> i64 {
    let refused = huidu
        .manage("PUT", "/flags/p", Some(987_654), &ramp("p", 100.0, 0.0))
        .refused(412, "version_conflict");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    detail.split("at version ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
}

fn frozen(stand: &Stand) -> Option<f64> {
    stand.huidu.metric("huidu_frozen_flags{environment=\"production\"}")
}

on_both! {
    fn a_poisoned_row_freezes_its_flag_and_one_good_write_heals_it(stand) {
        for key in ["p", "q", "r"] {
            stand.huidu.create_flag(&ramp(key, 0.0, 0.0));
        }
        stand.huidu.manage("PUT", "/flags/p", Some(1), &ramp("p", 100.0, 0.0)).expect(200);
        for (times, (what, sql)) in (1..).zip(poisons()) {
            stand.sql(&sql);
            stand.huidu.manage("POST", "/flags/r/kill", None, &json!({})).expect(200);
            let open = times % 2 == 1;
            let percent = if open { 100.0 } else { 0.0 };
            let version = stand.huidu.get("/v1/environments/production/flags/q", ADMIN).json()["version"].as_i64();
            stand.huidu.manage("PUT", "/flags/q", version, &ramp("q", percent, 0.0)).expect(200);
            assert_eq!(frozen(stand), Some(0.0), "{what}: nobody has read it yet");
            stand.touch(&["p"]);
            eventually(what, || frozen(stand) == Some(1.0));
            assert_eq!(seen(&stand.huidu, "p"), json!([true, "on", "SPLIT", null]), "{what}");
            assert_eq!(seen(&stand.huidu, "q")[0], open, "{what}: the others move on");
            let (word, codes) = stand.standing();
            assert_eq!((word.as_str(), codes), ("degraded", vec!["flags_frozen".to_owned()]), "{what}");
            let read = stand.huidu.get("/v1/environments/production/flags/p", ADMIN).expect(200).json();
            assert!(read["frozen"].is_string() && read["unreadable"].is_null(), "{what}: {read}");
            // Read once more, with a change after it that shows when that is done.
            stand.touch(&["p"]);
            stand.touch(&["q"]);
            let number = stand.number();
            eventually("all is read again", || {
                stand.huidu.metric("huidu_snapshot_number{environment=\"production\"}") == Some(number)
            });
            let said = stand.huidu.log().matches("it goes on as it was").count();
            assert_eq!(said, usize::try_from(times).unwrap(), "{what}: said once");
            let healed = stand.huidu.manage("PUT", "/flags/p", Some(stored_version(&stand.huidu)), &ramp("p", 100.0, 0.0));
            assert!([200, 201].contains(&healed.status), "{what}: {healed:?}");
            eventually(&format!("{what} healed"), || frozen(stand) == Some(0.0) && stand.standing().0 == "ready");
            let read = stand.huidu.get("/v1/environments/production/flags/p", ADMIN).expect(200).json();
            assert!(read["frozen"].is_null(), "{what}: {read}");
        }
    }

    fn a_flag_stays_frozen_over_a_restart_and_answers_an_error_where_no_good_form_is_known(stand) {
        stand.huidu.create_flag(&ramp("p", 100.0, 0.0));
        stand.huidu.create_flag(&ramp("q", 100.0, 0.0));
        let poisons = poisons();
        stand.sql(&poisons[2].1);
        stand.touch(&["p"]);
        eventually("frozen", || frozen(stand) == Some(1.0));
        stand.huidu.stop();
        stand.huidu.start_again();
        assert_eq!(seen(&stand.huidu, "p"), json!([true, "on", "SPLIT", null]));
        assert_eq!(frozen(stand), Some(1.0));
        stand.huidu.stop();
        std::fs::remove_dir_all(stand.huidu.folder().join("last-good")).unwrap();
        stand.huidu.start_again();
        assert_eq!(seen(&stand.huidu, "p"), json!([false, null, "ERROR", "flag_unreadable"]));
        assert_eq!(seen(&stand.huidu, "q")[0], true);
        assert_eq!(stand.standing().1, ["flags_unreadable"]);
        let single = stand.huidu.post("/ofrep/v1/evaluate/flags/p", &stand.huidu.client, &json!({"context": {"targetingKey": "u"}}));
        assert_eq!((single.status, &single.json()["errorCode"]), (500, &json!("GENERAL")), "{single:?}");
        // The copy of a flag that answers an error does not make it good.
        stand.huidu.stop();
        stand.take_away();
        stand.huidu.start_again();
        assert_eq!(seen(&stand.huidu, "p")[3], "flag_unreadable");
        assert_eq!(seen(&stand.huidu, "q")[0], true);
    }

    fn a_frozen_flag_can_be_killed(stand) {
        stand.huidu.create_flag(&ramp("p", 100.0, 0.0));
        stand.sql(&poisons()[0].1);
        stand.touch(&["p"]);
        eventually("frozen", || frozen(stand) == Some(1.0));
        stand.huidu.manage("POST", "/flags/p/kill", None, &json!({})).expect(200);
        assert_eq!(seen(&stand.huidu, "p"), json!([false, "off", "DISABLED", null]));
        stand.huidu.stop();
        stand.huidu.start_again();
        assert_eq!(seen(&stand.huidu, "p"), json!([false, "off", "DISABLED", null]));
    }

    fn ten_times_the_rows_never_replace_a_good_state(stand) {
        stand.huidu.create_flag(&ramp("p", 100.0, 0.0));
        let document = "{}";
        let numbers = match stand.engine {
            crate::postgres::Engine::Postgres => "SELECT n FROM generate_series(1, 10500) AS s(n)",
            crate::postgres::Engine::Sqlite => {
                "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 10500) SELECT n FROM s"
            }
        };
        stand.sql(&format!(
            "INSERT INTO flags (environment, number, key, version, document, sha256, state, stage_open, stages, updated_at, updated_by)
             SELECT 1, 1000 + n, 'x' || n, 1, '{document}', 'abc', 'live', 1, 1, 0, 'x' FROM ({numbers}) AS numbers"
        ));
        // Without the changes in between, all is read again.
        stand.sql("UPDATE environments SET snapshot = snapshot + 2 WHERE number = 1");
        stand.until("degraded");
        assert_eq!(stand.standing().1, ["too_many_flags"]);
        assert_eq!(seen(&stand.huidu, "p")[0], true);
        assert_eq!(frozen(stand), Some(0.0));
        stand.sql("DELETE FROM flags WHERE number > 1000");
        stand.until("ready");
        assert_eq!(stand.huidu.log().matches("the state of the database is refused").count(), 1);
        let read: Value = stand.huidu.get("/v1/environments/production/flags?limit=100", ADMIN).expect(200).json();
        assert_eq!(read["items"].as_array().unwrap().len(), 3);
    }
}
