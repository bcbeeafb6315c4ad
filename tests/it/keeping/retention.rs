//! What is older than the settings say goes once a day, and nothing else.

use huidu::clock::{Clock as _, DAY_MS, MachineClock};
use serde_json::{Value, json};

use super::{audited, execute, shared_database, snapshot, texts, url_of};
use crate::fixture::*;

const ENVIRONMENT: &str = "(SELECT number FROM environments WHERE key = 'production')";

/// Rows of every table, `days` days old.
fn insert(url: &str, unit: &str, days: i64) {
    let at = MachineClock.now_ms() - days * DAY_MS;
    execute(
        url,
        &format!(
            "INSERT INTO exposures (environment, unit, flag, stage, rule, unit_attribute, arm, variant, at)
             VALUES ({ENVIRONMENT}, '{unit}', 1, 1, 'ramp', 'user.id', 1, 'on', {at});
             INSERT INTO exposed_users (environment, flag, variant, arm, users) VALUES ({ENVIRONMENT}, 1, 'on', 1, 1)
             ON CONFLICT (environment, flag, variant, arm) DO UPDATE SET users = exposed_users.users + 1;
             INSERT INTO steps (environment, unit, unit_attribute, step, id, at)
             VALUES ({ENVIRONMENT}, '{unit}', 'user.id', 'paid', 's', {at});
             UPDATE audit SET at = {at} WHERE environment = {ENVIRONMENT} AND id = {days}"
        ),
    );
}

/// Lets a day pass for the job.
fn pass_a_day(url: &str) {
    execute(url, "UPDATE leases SET done_at = 1 WHERE name = 'retention'");
}

fn last_run(huidu: &Huidu) -> f64 {
    huidu.metric("huidu_retention_last_run_timestamp_seconds").unwrap_or_default()
}

fn deleted(huidu: &Huidu, table: &str) -> f64 {
    huidu.metric(&format!("huidu_retention_deleted_rows_total{{table=\"{table}\"}}")).unwrap_or_default()
}

fn units(url: &str, table: &str) -> Vec<String> {
    texts(url, &format!("SELECT unit FROM {table} ORDER BY unit"))
}

#[test]
fn old_rows_go_once_a_day_and_it_is_written_down() {
    let mut huidu = Huidu::start_with(&[
        ("RETENTION_DAYS_EXPOSURES", "61"),
        ("RETENTION_DAYS_STEPS", "90"),
        ("RETENTION_DAYS_AUDIT", "100"),
    ]);
    let url = url_of(&huidu);
    eventually("a first run", || last_run(&huidu) > 1.0);
    let first = last_run(&huidu);
    for (unit, days) in [("young", 60), ("middle", 62), ("old", 91)] {
        insert(&url, unit, days);
    }
    let before = snapshot(&huidu);
    huidu.stop();
    pass_a_day(&url);
    huidu.start_again();
    eventually("a second run", || last_run(&huidu) > first);
    assert_eq!(units(&url, "exposures"), ["young"]);
    assert_eq!(units(&url, "steps"), ["middle", "young"]);
    assert_eq!(
        texts(&url, "SELECT CAST(users AS TEXT) FROM exposed_users"),
        ["1"],
        "it counts what is stored"
    );
    let rows = audited(&huidu, "retention");
    assert_eq!(rows.len(), 1, "a run that deletes nothing says nothing: {rows:?}");
    assert_eq!(
        (&rows[0]["actor"], &rows[0]["kind"], &rows[0]["subject"]),
        (&json!("huidu (retention)"), &json!("environment"), &json!("production"))
    );
    assert_eq!(
        rows[0]["detail"],
        json!({"exposures": 2, "steps": 1, "audit": 0, "kept_days": {"exposures": 61, "steps": 90, "audit": 100}})
    );
    assert!((deleted(&huidu, "exposures") - 2.0).abs() < 0.1 && (deleted(&huidu, "steps") - 1.0).abs() < 0.1);
    assert_eq!(snapshot(&huidu), before + 1, "what others remember of events is forgotten");
    // The same day it does not run again.
    insert(&url, "old", 91);
    let second = last_run(&huidu);
    huidu.stop();
    huidu.start_again();
    eventually("the last run is known", || last_run(&huidu) > 1.0);
    assert!((last_run(&huidu) - second).abs() < 0.001);
    assert_eq!(units(&url, "exposures"), ["old", "young"]);
}

#[test]
fn by_default_everything_is_kept() {
    let mut huidu = Huidu::start();
    let url = url_of(&huidu);
    eventually("a first run", || last_run(&huidu) > 1.0);
    let first = last_run(&huidu);
    insert(&url, "ancient", 5_000);
    execute(&url, "UPDATE audit SET at = 1");
    let audit = texts(&url, "SELECT CAST(count(*) AS TEXT) FROM audit");
    huidu.stop();
    pass_a_day(&url);
    huidu.start_again();
    eventually("a second run", || last_run(&huidu) > first);
    assert_eq!(
        (units(&url, "exposures"), units(&url, "steps")),
        (vec!["ancient".into()], vec!["ancient".into()])
    );
    assert_eq!(texts(&url, "SELECT CAST(count(*) AS TEXT) FROM audit"), audit);
    assert_eq!(audited(&huidu, "retention"), Vec::<Value>::new());
}

#[test]
fn old_audit_rows_go_and_their_numbers_go_on() {
    let mut huidu = Huidu::start_with(&[("RETENTION_DAYS_AUDIT", "61")]);
    let url = url_of(&huidu);
    huidu.create_flag(&ramp("f", 1.0, 0.0));
    eventually("a first run", || last_run(&huidu) > 1.0);
    let first = last_run(&huidu);
    let newest = || {
        let page = huidu.get("/v1/environments/production/audit?limit=1", ADMIN).expect(200).json();
        page["items"][0]["id"].as_i64().unwrap()
    };
    let last = newest();
    huidu.stop();
    let old = MachineClock.now_ms() - 62 * DAY_MS;
    execute(&url, &format!("UPDATE audit SET at = {old}"));
    pass_a_day(&url);
    huidu.start_again();
    eventually("a second run", || last_run(&huidu) > first);
    let rows = huidu.get("/v1/environments/production/audit", ADMIN).expect(200).json();
    let ids: Vec<i64> =
        rows["items"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [last + 1, last], "the newest stays, and the run's own row follows it");
    assert_eq!(rows["items"][0]["action"], "retention");
}

#[test]
fn an_instance_far_behind_the_kept_changes_loads_everything() {
    let url = shared_database();
    let first = Huidu::start_with(&[("DATABASE_URL", &url)]);
    let second = Huidu::beside(&first);
    first.create_flag(&ramp("before", 100.0, 0.0));
    eventually("both know the flag", || snapshot(&first) == snapshot(&second));
    signal(second.pid(), "STOP");
    for n in 0..3 {
        first.create_flag(&ramp(&format!("f-{n}"), 100.0, 0.0));
    }
    first.manage("POST", "/flags/before/kill", None, &json!({})).expect(200);
    execute(&url, &format!("DELETE FROM changes WHERE environment = {ENVIRONMENT}"));
    signal(second.pid(), "CONT");
    eventually("it is at the last number", || snapshot(&second) == snapshot(&first));
    for n in 0..3 {
        let entry = second.entry(&format!("f-{n}"), &json!({"id": "u"}), &json!([]));
        assert_eq!(entry["visible"], true);
    }
    assert_eq!(second.entry("before", &json!({"id": "u"}), &json!([]))["reason"], "DISABLED");
    // And it hears of the next one as ever.
    first.create_flag(&ramp("after", 100.0, 0.0));
    eventually("the next change", || snapshot(&second) == snapshot(&first));
}

#[test]
fn two_instances_delete_once() {
    let url = shared_database();
    let mut first = Huidu::start_with(&[
        ("DATABASE_URL", &url),
        ("RETENTION_DAYS_EXPOSURES", "61"),
        ("RETENTION_DAYS_STEPS", "61"),
    ]);
    eventually("a first run", || last_run(&first) > 1.0);
    let mut second = Huidu::beside(&first);
    let before = last_run(&first);
    for n in 0..50 {
        insert(&url, &format!("u-{n}"), 62 + n);
    }
    first.stop();
    second.stop();
    pass_a_day(&url);
    first.start_again();
    second.start_again();
    for huidu in [&first, &second] {
        eventually("both know of the run", || last_run(huidu) > before);
    }
    assert_eq!(units(&url, "exposures").len() + units(&url, "steps").len(), 0);
    let rows = audited(&first, "retention");
    assert_eq!((rows.len(), &rows[0]["detail"]["exposures"]), (1, &json!(50)));
    let both = deleted(&first, "exposures") + deleted(&second, "exposures");
    assert!((both - 50.0).abs() < 0.1, "{both}");
}

#[test]
fn fewer_days_than_events_may_come_and_count_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    for setting in ["RETENTION_DAYS_EXPOSURES", "RETENTION_DAYS_STEPS", "RETENTION_DAYS_AUDIT"] {
        for days in ["1", "60", "36501", "-1", "soon"] {
            let settings = [(setting.to_owned(), days.to_owned())];
            let output = program(folder.path(), &settings).arg("serve").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{setting} {days}");
            assert!(
                said.contains(setting) && said.contains("for ever (0) or for 61 to 36500 days"),
                "{said}"
            );
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was begun");
}
