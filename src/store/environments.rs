//! Environments, secrets, and who the database is.

use crate::engine::key::EnvironmentKey;

use super::Store;
use super::error::StoreError;
use super::lent::{Lent, both};

/// Who a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A name that no other database has.
    pub database_id: String,
    /// How unit ids are stored: `plain` or `hashed`.
    pub unit_ids: String,
    /// When the first start was.
    pub created_at: i64,
}

/// A stored environment. Not to be logged whole: its settings hold secrets.
#[derive(Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EnvironmentRow {
    /// Its number, for ever.
    pub number: i64,
    /// Its key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its settings as JSON.
    pub settings: String,
    /// The last snapshot number taken.
    pub snapshot: i64,
    /// When it was made.
    pub created_at: i64,
}

impl std::fmt::Debug for EnvironmentRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnvironmentRow({} {} at {})", self.number, self.key, self.snapshot)
    }
}

/// An environment to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewEnvironment<'a> {
    /// Its key.
    pub key: &'a EnvironmentKey,
    /// Its name.
    pub name: &'a str,
    /// Its settings as JSON.
    pub settings: &'a str,
    /// When it is made.
    pub created_at: i64,
}

/// A stored secret. Not to be logged.
#[derive(Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SecretRow {
    /// What it is for.
    pub purpose: String,
    /// Its number, counted by purpose.
    pub number: i64,
    /// Its bytes.
    pub value: Vec<u8>,
    /// When it was made.
    pub created_at: i64,
    /// When it was retired.
    pub retired_at: Option<i64>,
}

impl std::fmt::Debug for SecretRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretRow({} {})", self.purpose, self.number)
    }
}

/// A secret to be kept. Not to be logged.
#[derive(Clone, Copy)]
pub struct NewSecret<'a> {
    /// What it is for: `token`, `audience`, `unit_ids`, ...
    pub purpose: &'a str,
    /// Its bytes.
    pub value: &'a [u8],
    /// When it is made.
    pub created_at: i64,
}

#[derive(sqlx::FromRow)]
struct MetaRow {
    key: String,
    value: String,
}

impl Store {
    /// Who this database is; `None` before the first start.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        identity(&mut self.reader("identity").await?).await
    }

    /// All environments in order of number.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn environments(&self) -> Result<Vec<EnvironmentRow>, StoreError> {
        let mut lent = self.reader("environments").await?;
        both!(&mut lent, "environments", c => sqlx::query_as::<_, EnvironmentRow>(
            "SELECT number, key, name, settings, snapshot, created_at FROM environments ORDER BY number")
            .fetch_all(c))
    }

    /// The secrets of a purpose in order of number, retired ones included.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn secrets(&self, purpose: &str) -> Result<Vec<SecretRow>, StoreError> {
        let mut lent = self.reader("secrets").await?;
        both!(&mut lent, "secrets", c => sqlx::query_as::<_, SecretRow>(
            "SELECT purpose, number, value, created_at, retired_at FROM secrets WHERE purpose = $1 ORDER BY number")
            .bind(purpose).fetch_all(c))
    }
}

pub(super) async fn identity(lent: &mut Lent) -> Result<Option<Identity>, StoreError> {
    let rows = both!(lent, "identity", c => sqlx::query_as::<_, MetaRow>(
        "SELECT key, value FROM meta WHERE key IN ('database_id', 'unit_ids', 'created_at')").fetch_all(c))?;
    if rows.is_empty() {
        return Ok(None);
    }
    let find = |key: &str| {
        let found = rows.iter().find(|r| r.key == key).map(|r| r.value.clone());
        found.ok_or_else(|| StoreError::Corrupt { what: format!("meta has no {key}") })
    };
    let created_at = find("created_at")?
        .parse()
        .map_err(|e| StoreError::Corrupt { what: format!("meta created_at: {e}") })?;
    Ok(Some(Identity { database_id: find("database_id")?, unit_ids: find("unit_ids")?, created_at }))
}
