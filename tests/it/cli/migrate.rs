//! `huidu migrate`.

use sqlx::Connection as _;

use super::*;
use crate::postgres::{Database, Engine, block_on, on_both_engines};

/// Makes a database look as an older release left it, by hiding the last migration's row.
async fn forget(url: &str, sql: &'static str) {
    match url.strip_prefix("sqlite:") {
        Some(_) => {
            let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        None => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

fn migrate(folder: &Path, url: &str, more: &[&str]) -> Done {
    let data = folder.to_str().unwrap();
    let variables =
        [("HUIDU_DATA_DIR", data), ("HUIDU_DATABASE_URL", url), ("HUIDU_DATABASE_TIMEOUT_MS", "20000")];
    run_with(folder, &variables, &[&["migrate"], more].concat(), b"")
}

on_both_engines! {
    async fn a_database_is_brought_up_to_date_once_and_a_newer_one_is_refused(db) {
        let state = db.store.migrations().await.unwrap();
        assert_eq!((state.pending.len(), state.unknown.len()), (0, 0));
        let folder = tempfile::tempdir().unwrap();
        migrate(folder.path(), &db.url, &[]).good().says(&[&format!("is up to date, at migration {}", state.at)]);
        let json = migrate(folder.path(), &db.url, &["--json"]).good().json();
        assert_eq!(json, serde_json::json!({"dry_run": false, "from": state.at, "to": state.at, "migrations": []}));
        forget(&db.url, "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1").await;
        migrate(folder.path(), &db.url, &[]).bad(1, &["newer huidu (migration 9999 is unknown here)"]);
    }
}

#[test]
fn an_empty_postgresql_database_is_migrated_from_nothing_after_a_rehearsal() {
    block_on(async {
        let db = Database::empty(Engine::Postgres).await;
        let folder = tempfile::tempdir().unwrap();
        migrate(folder.path(), &db.url, &["--dry-run"])
            .good()
            .says(&["the database is at migration 0; `huidu migrate` would bring it to", "  0001 initial"]);
        let rehearsed = db.store.migrations().await.unwrap();
        assert_eq!(rehearsed.at, 0, "nothing was changed");
        let last = rehearsed.pending.last().unwrap().version;
        migrate(folder.path(), &db.url, &[])
            .good()
            .says(&[&format!("was migrated from 0 to {last}:"), "  0001 initial"]);
        migrate(folder.path(), &db.url, &[]).good().says(&["is up to date"]);
        // Tables alone are no content: `serve` makes that.
        let data = folder.path().to_str().unwrap();
        let arguments = ["key", "list", "--data-dir", data, "--database-url", &db.url];
        run(folder.path(), &arguments).bad(1, &["has no content yet", "huidu serve"]);
    });
}
