//! What huidu does by itself with what it keeps: leases, ends of tests, erasing, retention.

mod expiry;
mod forget;
mod leases;
mod retention;
mod units;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};

use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

/// Where a service keeps its data: a SQLite file or a PostgreSQL database.
fn url_of(huidu: &Huidu) -> String {
    format!("sqlite:{}", huidu.database().display())
}

/// An empty PostgreSQL database for services to share.
fn shared_database() -> String {
    let mut url = String::new();
    block_on(async { url = Database::empty(Engine::Postgres).await.url.clone() });
    url
}

/// Runs statements behind the services' back.
fn execute(url: &str, sql: &str) {
    block_on(async {
        let sql = AssertSqlSafe(sql.to_owned());
        if url.starts_with("sqlite:") {
            SqliteConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
        } else {
            PgConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
        }
    });
}

/// One column of texts, asked behind the services' back.
fn texts(url: &str, sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    block_on(async {
        let sql = AssertSqlSafe(sql.to_owned());
        found = if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url).await.unwrap();
            connection.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
        } else {
            let mut connection = PgConnection::connect(url).await.unwrap();
            connection.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
        };
    });
    found
}

/// The audit rows of an action, newest first.
fn audited(huidu: &Huidu, action: &str) -> Vec<Value> {
    let page = huidu.get("/v1/environments/production/audit?limit=200", ADMIN).expect(200).json();
    let rows = page["items"].as_array().unwrap().iter();
    rows.filter(|row| row["action"] == action).cloned().collect()
}

/// The snapshot number that decides.
fn snapshot(huidu: &Huidu) -> i64 {
    let body = json!({"placement": "none", "user": {"id": "u"}});
    huidu.post("/v1/decisions", &huidu.server, &body).expect(200).json()["snapshot"].as_i64().unwrap()
}
