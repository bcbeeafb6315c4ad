//! The last good state: starting and deciding without the database, copies that are not good, rows that are not.

mod away;
mod copy;
mod older;
mod poison;
mod proxy;

use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::fixture::*;
use crate::postgres::{Database, Engine};
use proxy::Proxy;

/// A service whose database can be taken away and poisoned.
struct Stand {
    huidu: Huidu,
    url: String,
    engine: Engine,
    proxy: Option<Proxy>,
    /// Of PostgreSQL; dropped with this.
    _database: Option<Database>,
    runtime: tokio::runtime::Runtime,
    /// Holds the SQLite file while it is away.
    holder: Option<sqlx::SqliteConnection>,
}

impl Stand {
    fn start(engine: Engine) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // A frozen database is given up soon; nothing here waits longer for a healthy one.
        let timeout = ("DATABASE_TIMEOUT_MS", "3000");
        match engine {
            Engine::Sqlite => {
                let huidu = Huidu::start_with(&[timeout]);
                let url = format!("sqlite:{}", huidu.database().display());
                Self { huidu, url, engine, proxy: None, _database: None, runtime, holder: None }
            }
            Engine::Postgres => {
                let database = runtime.block_on(Database::empty(engine));
                let proxy = Proxy::start(&database.url);
                let huidu = Huidu::start_with(&[("DATABASE_URL", &proxy.url), timeout]);
                let url = database.url.clone();
                let (proxy, database) = (Some(proxy), Some(database));
                Self { huidu, url, engine, proxy, _database: database, runtime, holder: None }
            }
        }
    }

    /// Takes the database away: nobody can open it.
    fn take_away(&mut self) {
        match &self.proxy {
            Some(proxy) => proxy.cut(),
            None => {
                let url = self.url.clone();
                self.holder = Some(self.runtime.block_on(async {
                    let mut holder = sqlx::SqliteConnection::connect(&url).await.unwrap();
                    for sql in ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "COMMIT"] {
                        sqlx::query(sql).execute(&mut holder).await.unwrap();
                    }
                    holder
                }));
            }
        }
    }

    /// Brings it back.
    fn give_back(&mut self) {
        match &self.proxy {
            Some(proxy) => proxy.pass(),
            None => {
                let holder = self.holder.take().unwrap();
                self.runtime.block_on(holder.close()).unwrap();
            }
        }
    }

    /// Runs a statement behind huidu's back.
    fn sql(&self, sql: &str) {
        self.runtime.block_on(crate::postgres::execute(&self.url, self.engine, sql));
    }

    /// Has every instance read these flags of `production` again.
    fn touch(&self, flags: &[&str]) {
        self.sql("UPDATE environments SET snapshot = snapshot + 1 WHERE number = 1");
        let subjects = json!({"flags": flags});
        self.sql(&format!(
            "INSERT INTO changes (environment, number, at, subjects)
             SELECT 1, snapshot, 0, '{subjects}' FROM environments WHERE number = 1"
        ));
    }

    /// The number that `production` has in the database.
    fn number(&self) -> f64 {
        let sql = "SELECT snapshot FROM environments WHERE number = 1";
        self.runtime.block_on(crate::postgres::number(&self.url, self.engine, sql)) as f64
    }

    /// The codes of what `readyz` says to the admin, and the word for everybody.
    fn standing(&self) -> (String, Vec<String>) {
        standing(&self.huidu)
    }

    /// Waits until `readyz` says `word`.
    #[track_caller]
    fn until(&self, word: &str) {
        eventually(word, || self.standing().0 == word);
    }
}

fn standing(huidu: &Huidu) -> (String, Vec<String>) {
    let answer = huidu.get("/readyz", ADMIN).json();
    let reasons = answer["reasons"].as_array().cloned().unwrap_or_default();
    let codes = reasons.iter().map(|reason| reason["code"].as_str().unwrap().to_owned());
    (answer["status"].as_str().unwrap().to_owned(), codes.collect())
}

/// What everybody sees of a flag for a fixed shopper.
fn seen(huidu: &Huidu, flag: &str) -> Value {
    let entry = huidu.entry(flag, &json!({"id": "u-1"}), &json!([]));
    json!([entry["visible"], entry["variant"], entry["reason"], entry["code"]])
}

/// Makes each `fn name(stand)` the tests `sqlite::name` and `postgres::name`.
macro_rules! on_both {
    ($($(#[$meta:meta])* fn $name:ident($stand:ident) $body:block)*) => {
        $($(#[$meta])* fn $name($stand: &mut super::Stand) $body)*
        mod sqlite {
            $(#[test]
            fn $name() {
                super::$name(&mut super::super::Stand::start($crate::postgres::Engine::Sqlite));
            })*
        }
        mod postgres {
            $(#[test]
            fn $name() {
                super::$name(&mut super::super::Stand::start($crate::postgres::Engine::Postgres));
            })*
        }
    };
}
use on_both;
