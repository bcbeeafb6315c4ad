//! Migrations, safe when several instances start at once. The lock is a row (PostgreSQL) or a file
//! (SQLite) of our own: a session lock would not hold on every engine that speaks PostgreSQL's protocol.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::error::StoreError;
use super::{Db, Store, sqlite};

/// Attempts to make the table of the lock while other instances make it too.
const LOCK_TABLE_ATTEMPTS: u32 = 20;

impl Store {
    /// Brings the database to this release's form; does nothing where it is so already.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer release was here, [`StoreError::Corrupt`] if a migration is not the
    /// one that was run, or any failure of a write.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let work = async {
            match &self.db {
                Db::Sqlite { write, .. } => {
                    let options = write.connect_options();
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

/// To be run with `run_direct`: the future of `run` is not `Send`.
fn unlocked(mut migrator: Migrator) -> Migrator {
    migrator.set_locking(false);
    migrator
}

async fn migrate_sqlite(options: &SqliteConnectOptions, path: &Path) -> Result<(), StoreError> {
    let lock = sqlite::lock(path).await?;
    let mut connection = options.connect().await.map_err(|e| StoreError::of("migrate", &e))?;
    let migrator = unlocked(sqlx::migrate!("./migrations/sqlite"));
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
    let migrator = unlocked(sqlx::migrate!("./migrations/postgres"));
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
