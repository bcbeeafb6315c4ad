//! `huidu doctor`: what it finds, and that a fault of each kind is found.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::*;
use crate::postgres::{Database, Engine, block_on};

fn doctor(huidu: &Huidu, more: &[&str]) -> Done {
    on_database(huidu, &[&["doctor"], more].concat())
}

/// The checks of that name: state and what was found.
fn checks(report: &Value, name: &str) -> Vec<(String, String)> {
    let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|check| check["check"] == name)
        .map(|check| (text(check, "state"), text(check, "found")))
        .collect()
}

fn has(report: &Value, name: &str, state: &str, words: &str) {
    let found = checks(report, name);
    assert!(
        found.iter().any(|(known, found)| known == state && found.contains(words)),
        "no {name} {state} with {words:?} in {report:#}"
    );
}

#[test]
fn a_running_service_is_well_and_its_folder_is_seen_to_be_held() {
    let mut huidu = Huidu::start();
    fs::set_permissions(huidu.folder(), fs::Permissions::from_mode(0o700)).unwrap();
    let url = format!("http://{}", huidu.address);
    eventually("a last good state", || huidu.folder().join("last-good/state").exists());
    let report = doctor(&huidu, &["--url", &url, "--json"]).good().json();
    assert_eq!(report["ok"], true, "{report:#}");
    let pid = format!("a running service holds it (process {})", huidu.pid());
    has(&report, "data folder", "ok", &pid);
    has(&report, "data folder", "ok", "for its owner only");
    has(&report, "database", "ok", "SQLite 3.");
    has(&report, "last good", "ok", "2 environments, 2 flags, 3 keys");
    has(&report, "durability", "ok", "journal_mode = wal");
    has(&report, "durability", "ok", "synchronous = 2");
    has(&report, "migrations", "ok", "none pending");
    has(&report, "hash", "ok", "reference");
    has(&report, "service", "ok", "is ready");
    has(&report, "clock", "ok", "the service's agrees");
    for name in ["version", "open files", "disk"] {
        assert_eq!(checks(&report, name).len(), 1, "{name}");
    }
    let words = doctor(&huidu, &["--connections-max", "10"]).good();
    assert!(words.out.starts_with("ok    version        huidu "), "{}", words.out);
    words.says(&[
        "  connections_max = 10   from argument\n",
        "   from HUIDU_DATA_DIR\n",
        "  database_timeout_ms = 20000   from HUIDU_DATABASE_TIMEOUT_MS\n",
    ]);
    huidu.stop();
    let report = doctor(&huidu, &["--json"]).good().json();
    has(&report, "data folder", "ok", "no service holds it");
    let report = doctor(&huidu, &["--url", &url, "--json"]).bad(1, &[]).json();
    has(&report, "service", "fail", "nothing listens there");
}

#[test]
fn faults_of_folder_database_and_settings_fail_with_advice() {
    let mut huidu = Huidu::start();
    huidu.stop();
    fs::set_permissions(huidu.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let report = doctor(&huidu, &["--json"]).good().json();
    has(&report, "data folder", "warn", "mode 755");
    let copy = huidu.folder().join("last-good/state");
    let whole_copy = fs::read(&copy).unwrap();
    fs::write(&copy, &whole_copy[..whole_copy.len() / 2]).unwrap();
    let report = doctor(&huidu, &["--json"]).good().json();
    has(&report, "last good", "warn", "it would be ignored: the state is damaged");
    fs::write(&copy, &whole_copy).unwrap();
    let report = doctor(&huidu, &["--unit-ids", "hashed", "--json"]).bad(1, &[]).json();
    has(&report, "database", "fail", "unit ids plain");
    let whole = fs::read(huidu.database()).unwrap();
    fs::write(huidu.database(), b"dear diary\n".repeat(1_000)).unwrap();
    let words = doctor(&huidu, &[]).bad(1, &[]).says(&[
        "fail  database",
        "is no database of huidu",
        "-> see `database_url`",
    ]);
    assert!(words.out.ends_with("look at\n"), "{}", words.out);
    assert_eq!(fs::read(huidu.database()).unwrap(), b"dear diary\n".repeat(1_000), "it is left as it is");
    fs::remove_file(huidu.database()).unwrap();
    let report = doctor(&huidu, &["--json"]).bad(1, &[]).json();
    has(&report, "database", "fail", "is gone");
    fs::write(huidu.database(), whole).unwrap();
    doctor(&huidu, &[]).good();
    let empty = tempfile::tempdir().unwrap();
    run(empty.path(), &["doctor"]).good().says(&["huidu-data is not there yet", "huidu.db is not there yet"]);
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "it makes nothing");
    let typo = run_with(empty.path(), &[("HUIDU_LISTNE", "x")], &["doctor"], b"");
    typo.bad(1, &[]).says(&["fail  settings", "HUIDU_LISTNE; did you mean HUIDU_LISTEN?"]);
    let typo =
        run_with(empty.path(), &[("HUIDU_WORKERS", "many")], &["doctor", "--json"], b"").bad(1, &[]).json();
    has(&typo, "settings", "fail", "HUIDU_WORKERS");
}

#[test]
fn postgresql_is_asked_and_its_password_stays_hidden() {
    block_on(async {
        let db = Database::start(Engine::Postgres).await;
        let folder = tempfile::tempdir().unwrap();
        let ask = |url: &str| {
            let variables = [
                ("HUIDU_DATABASE_URL", url),
                ("HUIDU_DATABASE_TIMEOUT_MS", "20000"),
                ("HUIDU_BOOTSTRAP_ADMIN_KEY", ADMIN),
            ];
            run_with(folder.path(), &variables, &["doctor", "--json"], b"")
        };
        // This one runs without fsync, as only tests may.
        let report = ask(&db.url).bad(1, &[]).json();
        has(&report, "database", "ok", "PostgreSQL ");
        has(&report, "durability", "fail", "fsync = off");
        has(&report, "durability", "ok", "synchronous_commit = on");
        has(&report, "clock", "ok", "from the database's");
        has(&report, "database", "warn", "no content yet");
        let refused = ask("postgres://huidu:secret-word@127.0.0.1:1/none").bad(1, &[]);
        has(&refused.json(), "database", "fail", "database");
        assert!(!refused.out.contains("secret-word") && !refused.out.contains(ADMIN), "{}", refused.out);
        let settings = refused.json()["settings"].clone();
        let value = |name: &str| {
            let found = settings.as_array().unwrap().iter().find(|setting| setting["name"] == name).unwrap();
            (found["value"].clone(), found["origin"].clone())
        };
        assert_eq!(
            value("database_url"),
            (json!("postgres://...@127.0.0.1:1/none"), json!("HUIDU_DATABASE_URL"))
        );
        assert_eq!(value("bootstrap_admin_key").0, "(set, not shown)");
        assert_eq!(value("listen"), (json!("127.0.0.1:8080"), json!("default")));
    });
}
