//! The store's promises, on both engines.

mod audiences;
mod events;
mod files;
mod flags;
mod places;

use std::sync::Arc;
use std::time::Duration;

use huidu::engine::key::{AudienceKey, EnvironmentKey, FlagKey};
use huidu::store::{
    AuditFilter, FlagUpdate, Identity, NewAudit, NewEnvironment, NewFlag, NewKey, NewSecret, Store,
    StoreError, VersionRow, WriteTx, open,
};

use crate::postgres::{Database, creating, on_both_engines};

fn flag_key(text: &str) -> FlagKey {
    FlagKey::parse(text).unwrap()
}

fn audience_key(text: &str) -> AudienceKey {
    AudienceKey::parse(text).unwrap()
}

fn content(document: &str, at: i64) -> FlagUpdate<'_> {
    FlagUpdate { document, sha256: "00", state: "live", stage_open: Some(1), stages: 1, at, by: "ann" }
}

fn entry<'a>(actor: &'a str, subject: &'a str, at: i64) -> NewAudit<'a> {
    NewAudit {
        at,
        actor,
        action: "create",
        subject_kind: "flag",
        subject,
        reason: None,
        request_id: None,
        detail: "{}",
    }
}

/// How many migrations there are.
fn migrations() -> i64 {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    i64::try_from(files.count()).unwrap()
}

/// Adds an environment; its number is answered.
pub(crate) async fn environment(store: &Store, key: &str) -> i64 {
    let mut tx = store.begin_write().await.unwrap();
    let key = EnvironmentKey::parse(key).unwrap();
    let new = NewEnvironment { key: &key, name: "E", settings: "{}", created_at: 1 };
    let number = tx.insert_environment(new).await.unwrap();
    tx.commit().await.unwrap();
    number
}

/// Adds a flag in a change of its own.
pub(crate) async fn flag(store: &Store, environment: i64, key: &str) -> i64 {
    let mut change = store.change(environment).await.unwrap();
    let number = insert(&mut change, key).await.unwrap();
    change.commit_change(&format!(r#"{{"flags":["{key}"]}}"#), 5).await.unwrap();
    number
}

async fn insert(tx: &mut WriteTx, key: &str) -> Result<i64, StoreError> {
    tx.insert_flag(NewFlag { key: &flag_key(key), content: content("{}", 5) }).await
}

on_both_engines! {
    async fn migrating_again_changes_nothing(db) {
        db.migrate().await.unwrap();
        assert_eq!(db.number("SELECT count(*) FROM _sqlx_migrations").await, migrations());
        assert_eq!(db.identity().await.unwrap(), None);
        assert_eq!(db.sequences().await.unwrap().keys, 0);
        db.ping().await.unwrap();
        db.close().await;
        assert_eq!(db.ping().await.unwrap_err().code(), "unavailable");
    }

    async fn a_database_of_a_newer_release_is_refused(db) {
        db.execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                    SELECT 9999, description, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1").await;
        assert_eq!(db.migrate().await, Err(StoreError::Newer { migration: 9999 }));
    }

    async fn the_first_start_is_one_transaction_and_happens_once(db) {
        let identity = Identity { database_id: "d-1".into(), unit_ids: "plain".into(), created_at: 7 };
        let mut tx = db.first_start().await.unwrap().unwrap();
        tx.initialise(&identity).await.unwrap();
        drop(tx);
        assert_eq!(db.identity().await.unwrap(), None, "dropped: nothing stays");

        let mut tx = db.first_start().await.unwrap().unwrap();
        tx.initialise(&identity).await.unwrap();
        let secret = NewSecret { purpose: "token", value: &[1, 2], created_at: 7 };
        assert_eq!(tx.insert_secret(secret).await.unwrap(), 1);
        assert_eq!(tx.insert_secret(secret).await.unwrap(), 2);
        for (number, key) in [(1, "production"), (2, "staging")] {
            let key = EnvironmentKey::parse(key).unwrap();
            let new = NewEnvironment { key: &key, name: "P", settings: "{}", created_at: 7 };
            assert_eq!(tx.insert_environment(new).await.unwrap(), number);
            assert_eq!(insert(&mut tx, "scan-pay").await.unwrap(), 1);
            tx.audit(entry("system", "scan-pay", 7)).await.unwrap();
            assert_eq!(tx.take_number(r#"{"flags":["scan-pay"]}"#, 7).await.unwrap(), 1);
        }
        assert_eq!(tx.insert_environment(NewEnvironment {
            key: &EnvironmentKey::parse("staging").unwrap(), name: "", settings: "{}", created_at: 1,
        }).await, Err(StoreError::Exists));
        tx.retire_secret("token", 1, 9).await.unwrap();
        tx.commit().await.unwrap();

        assert_eq!(db.identity().await.unwrap(), Some(identity));
        assert!(db.first_start().await.unwrap().is_none());
        let secrets = db.secrets("token").await.unwrap();
        assert_eq!(secrets.iter().map(|s| (s.number, s.retired_at)).collect::<Vec<_>>(), [(1, Some(9)), (2, None)]);
        let environments = db.environments().await.unwrap();
        assert_eq!(environments.iter().map(|e| (e.number, e.key.as_str(), e.snapshot)).collect::<Vec<_>>(),
                   [(1, "production", 1), (2, "staging", 1)]);
    }

    async fn twenty_changes_at_once_take_twenty_numbers(db) {
        let environment = environment(&db, "production").await;
        let db = Arc::new(db);
        let mut tasks = Vec::new();
        for n in 0..20 {
            let db = Arc::clone(&db);
            tasks.push(tokio::spawn(async move {
                let mut change = db.change(environment).await.unwrap();
                let before = change.snapshot();
                let number = insert(&mut change, &format!("f-{n}")).await.unwrap();
                change.audit(entry("ann", "f", n)).await.unwrap();
                let taken = change.commit_change("{}", n).await.unwrap();
                assert_eq!((before + 1, number), (taken, taken));
                taken
            }));
        }
        let mut taken = Vec::new();
        for task in tasks {
            taken.push(task.await.unwrap());
        }
        taken.sort_unstable();
        assert_eq!(taken, (1..=20).collect::<Vec<_>>());
        let stored: Vec<_> = db.read_changes(environment, 0).await.unwrap().unwrap().changes.iter().map(|c| c.number).collect();
        assert_eq!(stored, taken);
    }

    async fn a_dropped_change_leaves_nothing(db) {
        let environment = environment(&db, "production").await;
        let before = db.counts(environment).await.unwrap();
        let mut change = db.change(environment).await.unwrap();
        insert(&mut change, "a").await.unwrap();
        change.take_number("{}", 1).await.unwrap();
        change.audit(entry("ann", "a", 1)).await.unwrap();
        drop(change);
        assert_eq!(db.counts(environment).await.unwrap(), before);
        assert_eq!(db.change(environment).await.unwrap().snapshot(), 0);
        assert!(matches!(db.change(99).await, Err(StoreError::NotFound)));
        let mut nothing_locked = db.begin_write().await.unwrap();
        assert_eq!(insert(&mut nothing_locked, "a").await, Err(StoreError::NotLocked));
    }

    async fn a_call_that_takes_too_long_ends_and_the_pool_is_whole_after(db) {
        let environment = environment(&db, "production").await;
        let mut options = creating();
        options.deadlines.write = Duration::from_millis(300);
        let hurried = open(&db.url, &options).await.unwrap();
        let holder = db.change(environment).await.unwrap();
        for _ in 0..12 {
            let refused = hurried.change(environment).await;
            assert!(matches!(refused, Err(StoreError::Timeout { .. })), "{:?}", refused.err());
            hurried.environments().await.unwrap();
        }
        drop(holder);
        let mut ended = hurried.change(environment).await;
        for _ in 0..60 {
            if ended.is_ok() { break }
            ended = hurried.change(environment).await;
        }
        let mut change = ended.unwrap();
        insert(&mut change, "a").await.unwrap();
        change.commit_change("{}", 1).await.unwrap();
        assert_eq!(db.flags(environment).await.unwrap().len(), 1);
    }

    async fn a_caller_that_goes_away_in_a_statement_leaves_nothing(db) {
        let environment = environment(&db, "production").await;
        for wait_us in [0, 50, 200, 500, 1_000, 2_000, 4_000] {
            let work = async {
                let mut change = db.change(environment).await.unwrap();
                insert(&mut change, "gone").await.unwrap();
                std::future::pending::<()>().await;
            };
            let _gone = tokio::time::timeout(Duration::from_micros(wait_us), work).await;
        }
        assert!(db.flags(environment).await.unwrap().is_empty());
        assert_eq!(flag(&db, environment, "stays").await, 1);
    }

    async fn an_environment_is_renamed_counted_and_read_inside_its_transaction(db) {
        let number = environment(&db, "production").await;
        environment(&db, "staging").await;
        let mut change = db.change(number).await.unwrap();
        assert_eq!(change.environments_count().await.unwrap(), 2);
        change.update_environment("Shop", r#"{"require_signed_units":true}"#).await.unwrap();
        let row = change.environment_row().await.unwrap();
        assert_eq!((row.key.as_str(), row.name.as_str(), row.snapshot), ("production", "Shop", 0));
        let committed = db.environments().await.unwrap();
        assert!(committed.iter().all(|row| row.name == "E"), "nobody else sees it yet");
        change.commit_change(r#"{"settings":true}"#, 7).await.unwrap();
        let changed = db.read_changes(number, 0).await.unwrap().unwrap();
        assert_eq!((changed.environment.settings.as_str(), changed.environment.snapshot), (r#"{"require_signed_units":true}"#, 1));
        assert!(changed.flags.is_empty() && changed.audiences.is_empty());
        let mut none = db.begin_write().await.unwrap();
        assert_eq!(none.environment_row().await.err(), Some(StoreError::NotLocked));
        let shown = format!("{:?}", changed.environment);
        assert!(!shown.contains("signed"), "settings hold secrets: {shown}");
    }

    async fn flags_are_found_by_name_and_a_long_change_is_a_change(db) {
        let (here, there) = (environment(&db, "production").await, environment(&db, "staging").await);
        for key in ["a", "b", "c"] {
            flag(&db, here, key).await;
        }
        flag(&db, there, "d").await;
        let named = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        for (keys, found) in [(named(&["c", "a", "a", "d", "\u{7070}"]), vec!["a", "c"]), (named(&[]), vec![])] {
            let rows = db.flags_named(here, keys).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), found);
        }
        let mut change = db.long_change(here).await.unwrap();
        assert_eq!(change.snapshot(), 3);
        insert(&mut change, "e").await.unwrap();
        change.commit_change(r#"{"flags":["e"]}"#, 8).await.unwrap();
        assert_eq!(db.flags(here).await.unwrap().len(), 4);
        assert_eq!(db.long_change(99).await.err(), Some(StoreError::NotFound));
    }

    async fn keys_are_added_revoked_once_and_counted(db) {
        let new = NewKey {
            id: "k-1", name: "n", role: "admin", environment: None, hash: &[7; 32], hint: "wxyz",
            created_at: 3, created_by: "ann", expires_at: None,
        };
        let mut tx = db.keys_change().await.unwrap();
        tx.insert_key(new).await.unwrap();
        assert_eq!(tx.insert_key(NewKey { id: "k-2", ..new }).await, Err(StoreError::Exists), "same hash");
        tx.insert_key(NewKey { id: "k-2", hash: &[8; 32], environment: Some(4), ..new }).await.unwrap();
        tx.audit(entry("ann", "k-1", 3)).await.unwrap();
        assert_eq!(tx.commit_keys().await.unwrap(), 1);

        let mut tx = db.keys_change().await.unwrap();
        assert!(tx.revoke_key("k-1", 9).await.unwrap());
        assert!(!tx.revoke_key("k-1", 12).await.unwrap());
        assert_eq!(tx.revoke_key("k-9", 12).await, Err(StoreError::NotFound));
        tx.audit(entry("ann", "k-1", 9)).await.unwrap();
        assert_eq!(tx.commit_keys().await.unwrap(), 2);
        assert_eq!(db.sequences().await.unwrap().keys, 2);

        db.touch_keys(&[("k-2", 50), ("k-1", 40), ("k-2", 45), ("k-9", 1)]).await.unwrap();
        db.touch_keys(&[("k-2", 30)]).await.unwrap();
        db.touch_keys(&[]).await.unwrap();
        let keys = db.keys().await.unwrap();
        let seen: Vec<_> =
            keys.iter().map(|k| (k.id.as_str(), k.environment, k.revoked_at, k.last_used_at, k.hash.len())).collect();
        assert_eq!(seen, [("k-1", None, Some(9), Some(40), 32), ("k-2", Some(4), None, Some(50), 32)]);
    }

    async fn the_audit_is_paged_and_filtered(db) {
        let environment = environment(&db, "production").await;
        let mut change = db.change(environment).await.unwrap();
        for n in 1..=9 {
            let (actor, subject) = (if n % 2 == 0 { "ann" } else { "bob" }, if n % 3 == 0 { "a" } else { "b" });
            change.audit(entry(actor, subject, n * 10)).await.unwrap();
        }
        change.commit().await.unwrap();
        let any = AuditFilter::default();
        let cases = [
            (any, None, 3, vec![9, 8, 7]),
            (any, Some(7), 2, vec![6, 5]),
            (any, Some(1), 2, vec![]),
            (AuditFilter { actor: Some("ann"), ..any }, None, 9, vec![8, 6, 4, 2]),
            (AuditFilter { subject_kind: Some("flag"), subject: Some("a"), ..any }, Some(9), 9, vec![6, 3]),
            (AuditFilter { from: Some(30), to: Some(60), ..any }, None, 9, vec![5, 4, 3]),
            (AuditFilter { subject_kind: Some("audience"), ..any }, None, 9, vec![]),
        ];
        for (filter, before, limit, ids) in cases {
            let rows = db.audit_page(environment, filter, before, limit).await.unwrap();
            assert_eq!(rows.iter().map(|r| r.id).collect::<Vec<_>>(), ids, "{filter:?}");
        }
        assert!(db.audit_page(0, any, None, 9).await.unwrap().is_empty());
    }
}

async fn migrated_by_five(db: Database) {
    let mut tasks = Vec::new();
    for _ in 0..5 {
        let url = db.url.clone();
        tasks.push(tokio::spawn(async move {
            let store = open(&url, &creating()).await?;
            store.migrate().await
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(db.number("SELECT count(*) FROM _sqlx_migrations").await, migrations());
    assert_eq!(db.sequences().await.unwrap().keys, 0);
}

mod five_at_once {
    use super::migrated_by_five;
    use crate::postgres::{Database, Engine, block_on};

    #[test]
    fn sqlite() {
        block_on(async { migrated_by_five(Database::empty(Engine::Sqlite).await).await });
    }

    #[test]
    fn postgres() {
        block_on(async { migrated_by_five(Database::empty(Engine::Postgres).await).await });
    }
}

fn version(flag: i64, version: i64) -> VersionRow {
    VersionRow {
        flag,
        version,
        document: format!("{{\"v\":{version}}}"),
        sha256: "ab".into(),
        state: "live".into(),
        at: version * 10,
        actor: "ann".into(),
        reason: (version > 1).then(|| "wider".into()),
        action: "replace".into(),
        diff: None,
    }
}
