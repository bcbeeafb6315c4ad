//! Migrations, safe when several instances start at once. The lock is a row (PostgreSQL) or a file
//! (SQLite) of our own: a session lock would not hold on every engine that speaks PostgreSQL's protocol.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::error::StoreError;
use super::lent::both;
use super::{Db, Store, sqlite};

/// Attempts to make the table of the lock while other instances make it too.
const LOCK_TABLE_ATTEMPTS: u32 = 20;

/// One migration of this release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationInfo {
    /// Its number; they are run in this order.
    pub version: i64,
    /// What it does, in a few words.
    pub description: String,
}

/// How far a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    /// The last migration that was run; 0 for a database without tables.
    pub at: i64,
    /// Those of this release that were not run yet, in their order.
    pub pending: Vec<MigrationInfo>,
    /// Those that were run and that this release does not know: a newer one was here.
    pub unknown: Vec<i64>,
}

impl Store {
    /// How far the database is; nothing is changed.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn migrations(&self) -> Result<MigrationState, StoreError> {
        let mut lent = self.reader("migrations").await?;
        let exists = lent.pick(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
            "SELECT count(*) FROM information_schema.tables
             WHERE table_schema = current_schema() AND table_name = '_sqlx_migrations'",
        );
        let exists = both!(&mut lent, "migrations", c => sqlx::query_scalar::<_, i64>(exists).fetch_one(c))?;
        let applied = if exists == 0 {
            Vec::new()
        } else {
            both!(&mut lent, "migrations", c => sqlx::query_scalar::<_, i64>(
                "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version").fetch_all(c))?
        };
        let known = match self.db {
            Db::Sqlite { .. } => sqlite_migrator(),
            Db::Postgres(_) => postgres_migrator(),
        };
        let is_known = |version: &i64| known.iter().any(|migration| migration.version == *version);
        let pending = known.iter().filter(|migration| !applied.contains(&migration.version));
        let info = |migration: &Migration| MigrationInfo {
            version: migration.version,
            description: migration.description.to_string(),
        };
        Ok(MigrationState {
            at: applied.last().copied().unwrap_or_default(),
            pending: pending.map(info).collect(),
            unknown: applied.iter().copied().filter(|version| !is_known(version)).collect(),
        })
    }

    /// Brings the database to this release's form; does nothing where it is so already.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer release was here, [`StoreError::Corrupt`] if a migration is not the
    /// one that was run, or any failure of a write.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let work = async {
            match &self.db {
                Db::Sqlite { write, .. } => {
                    let options = write.options();
                    migrate_sqlite(&options, options.get_filename()).await
                }
                Db::Postgres(pool) => migrate_postgres(&pool.connect_options()).await,
            }
        };
        tokio::time::timeout(self.deadlines.migrate, Box::pin(work))
            .await
            .map_err(|_elapsed| StoreError::Timeout { what: "migrate" })?
    }
}

fn sqlite_migrator() -> Migrator {
    sqlx::migrate!("./migrations/sqlite")
}

fn postgres_migrator() -> Migrator {
    sqlx::migrate!("./migrations/postgres")
}

/// To be run with `run_direct`: the future of `run` is not `Send`.
fn unlocked(mut migrator: Migrator) -> Migrator {
    migrator.set_locking(false);
    migrator
}

async fn migrate_sqlite(options: &SqliteConnectOptions, path: &Path) -> Result<(), StoreError> {
    let lock = sqlite::lock(path).await?;
    let mut connection = options.connect().await.map_err(|e| StoreError::of("migrate", &e))?;
    let migrator = unlocked(sqlite_migrator());
    let outcome = migrator.run_direct(None, &mut connection, false).await;
    connection.close().await.map_err(|e| StoreError::of("migrate", &e))?;
    drop(lock);
    outcome.map_err(|e| StoreError::of_migration(&e))
}

async fn migrate_postgres(options: &PgConnectOptions) -> Result<(), StoreError> {
    let sorted = |e: sqlx::Error| StoreError::of("migrate", &e);
    let mut holder = options.connect().await.map_err(sorted)?;
    make_lock(&mut holder).await?;
    let mut lock = holder.begin().await.map_err(sorted)?;
    lock.execute("SELECT id FROM migration_lock WHERE id = 1 FOR UPDATE").await.map_err(sorted)?;
    let mut connection = options.connect().await.map_err(sorted)?;
    let migrator = unlocked(postgres_migrator());
    let outcome = migrator.run_direct(None, &mut connection, false).await;
    connection.close().await.map_err(sorted)?;
    lock.commit().await.map_err(sorted)?;
    holder.close().await.map_err(sorted)?;
    outcome.map_err(|e| StoreError::of_migration(&e))
}

/// Makes the lock's row. Making a table that another session makes at that moment fails: again then.
async fn make_lock(connection: &mut PgConnection) -> Result<(), StoreError> {
    let mut attempt = 0;
    loop {
        let made =
            connection.execute("CREATE TABLE IF NOT EXISTS migration_lock (id BIGINT PRIMARY KEY)").await;
        match made {
            Ok(_) => break,
            Err(sqlx::Error::Database(_)) if attempt < LOCK_TABLE_ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(e) => return Err(StoreError::of("migrate", &e)),
        }
    }
    connection
        .execute("INSERT INTO migration_lock (id) VALUES (1) ON CONFLICT DO NOTHING")
        .await
        .map(drop)
        .map_err(|e| StoreError::of("migrate", &e))
}
