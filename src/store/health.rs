//! What operators ask of a database: which engine it is, what its clock shows, how new its newest row is.

use super::error::StoreError;
use super::lent::both;
use super::{Db, Store};

/// The engine of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// `SQLite` or `PostgreSQL`.
    pub name: &'static str,
    /// Its version, as it says it.
    pub version: String,
}

impl Store {
    /// Which engine this is.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn engine(&self) -> Result<Engine, StoreError> {
        let mut lent = self.reader("engine").await?;
        let sql = lent.pick("SELECT sqlite_version()", "SELECT current_setting('server_version')");
        let version = both!(&mut lent, "engine", c => sqlx::query_scalar::<_, String>(sql).fetch_one(c))?;
        let name = match self.db {
            Db::Sqlite { .. } => "SQLite",
            Db::Postgres(_) => "PostgreSQL",
        };
        Ok(Engine { name, version })
    }

    /// What the database's own clock shows, in milliseconds since 1970: for comparing it with the machine's only.
    /// `None` on SQLite, which has none.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn clock_ms(&self) -> Result<Option<i64>, StoreError> {
        if let Db::Sqlite { .. } = self.db {
            return Ok(None);
        }
        let mut lent = self.reader("clock").await?;
        both!(&mut lent, "clock", c => sqlx::query_scalar::<_, i64>(
            "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)").fetch_one(c))
        .map(Some)
    }

    /// When the newest change of flags, audiences and keys was made, in milliseconds since 1970; 0 without any.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn newest_change_ms(&self) -> Result<i64, StoreError> {
        let mut lent = self.reader("newest change").await?;
        both!(&mut lent, "newest change", c => sqlx::query_scalar::<_, i64>(
            "SELECT CAST(coalesce(max(at), 0) AS BIGINT) FROM (
                 SELECT max(updated_at) AS at FROM flags
                 UNION ALL SELECT max(updated_at) FROM audiences
                 UNION ALL SELECT max(created_at) FROM api_keys) AS newest").fetch_one(c))
    }
}
