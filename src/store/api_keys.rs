//! API keys. Only hashes are stored.

use super::Store;
use super::error::StoreError;
use super::lent::{both, run};
use super::write::WriteTx;

/// A stored key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyRow {
    /// Its id, which is no secret.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Its environment; `None` = all.
    pub environment: Option<i64>,
    /// The hash of the key.
    pub hash: Vec<u8>,
    /// The key's last characters.
    pub hint: String,
    /// When it was made.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
    /// When it ends by itself.
    pub expires_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// When it was used last, roughly.
    pub last_used_at: Option<i64>,
}

/// Numbers that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Sequences {
    /// Counts every change of keys.
    pub keys: i64,
    /// When an operator said that this database was restored from a backup on purpose, milliseconds since 1970; 0:
    /// never.
    pub restored_at: i64,
}

/// A key to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'a> {
    /// Its id, which is no secret.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its role.
    pub role: &'a str,
    /// Its environment; `None` = all.
    pub environment: Option<i64>,
    /// The hash of the key.
    pub hash: &'a [u8; 32],
    /// The key's last characters.
    pub hint: &'a str,
    /// When it is made.
    pub created_at: i64,
    /// Who makes it.
    pub created_by: &'a str,
    /// When it ends by itself.
    pub expires_at: Option<i64>,
}

impl Store {
    /// All keys, revoked ones included, in the order of their making.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let mut lent = self.reader("keys").await?;
        both!(&mut lent, "keys", c => sqlx::query_as::<_, KeyRow>(
            "SELECT id, name, role, environment, hash, hint, created_at, created_by, expires_at, revoked_at,
                    last_used_at FROM api_keys ORDER BY created_at, id")
            .fetch_all(c))
    }

    /// What says whether something changed that belongs to no environment; asked often.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn sequences(&self) -> Result<Sequences, StoreError> {
        let mut lent = self.reader("sequences").await?;
        both!(&mut lent, "sequences", c => sqlx::query_as::<_, Sequences>(
            "SELECT CAST(coalesce(max(CASE WHEN key = 'keys_sequence' THEN value END), '0') AS BIGINT) AS keys,
                    CAST(coalesce(max(CASE WHEN key = 'restored_at' THEN value END), '0') AS BIGINT) AS restored_at
             FROM meta WHERE key IN ('keys_sequence', 'restored_at')").fetch_one(c))
    }

    /// Notes when keys (by id) were used last; an earlier time than the stored one is ignored.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn touch_keys(&self, used: &[(&str, i64)]) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        let mut used = used.to_vec();
        used.sort_unstable();
        let rows: Vec<_> = used.iter().map(|(id, at)| serde_json::json!({"i": id, "a": at})).collect();
        let rows = serde_json::Value::from(rows).to_string();
        let mut lent = self.write_transaction("touch keys", self.deadlines.write).await?;
        let sql = lent.pick(
            "UPDATE api_keys SET last_used_at = u.at
             FROM (SELECT value ->> 'i' AS id, MAX(value ->> 'a') AS at FROM json_each($1) GROUP BY 1) AS u
             WHERE api_keys.id = u.id AND COALESCE(last_used_at, -1) < u.at",
            "UPDATE api_keys SET last_used_at = u.at
             FROM (SELECT i AS id, MAX(a) AS at FROM json_to_recordset($1::json) AS r(i text, a bigint) GROUP BY 1) AS u
             WHERE api_keys.id = u.id AND COALESCE(last_used_at, -1) < u.at",
        );
        run!(&mut lent, "touch keys", sqlx::query(sql).bind(rows.as_str()))?;
        lent.commit().await
    }
}

impl WriteTx {
    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if its id or hash is there already.
    pub async fn insert_key(&mut self, new: NewKey<'_>) -> Result<(), StoreError> {
        self.lock_keys().await?;
        let added = both!(&mut self.lent, "insert a key", c => sqlx::query_scalar::<_, String>(
            "INSERT INTO api_keys (id, name, role, environment, hash, hint, created_at, created_by, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING id")
            .bind(new.id).bind(new.name).bind(new.role).bind(new.environment).bind(new.hash.as_slice())
            .bind(new.hint).bind(new.created_at).bind(new.created_by).bind(new.expires_at).fetch_optional(c))?;
        added.map(drop).ok_or(StoreError::Exists)
    }

    /// Revokes a key; one that is revoked keeps its time, and `false` is answered.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown key.
    pub async fn revoke_key(&mut self, id: &str, at: i64) -> Result<bool, StoreError> {
        self.lock_keys().await?;
        let before = both!(&mut self.lent, "revoke a key", c => sqlx::query_scalar::<_, Option<i64>>(
            "SELECT revoked_at FROM api_keys WHERE id = $1").bind(id).fetch_optional(c))?;
        if before.ok_or(StoreError::NotFound)?.is_some() {
            return Ok(false);
        }
        run!(
            &mut self.lent,
            "revoke a key",
            sqlx::query("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
                .bind(id)
                .bind(at)
        )?;
        Ok(true)
    }

    /// Counts the keys' sequence up without committing; the new number is answered.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn take_keys_number(&mut self) -> Result<i64, StoreError> {
        self.lock_keys().await?;
        both!(&mut self.lent, "count keys up", c => sqlx::query_scalar::<_, i64>(
            "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE key = 'keys_sequence'
             RETURNING CAST(value AS BIGINT)")
            .fetch_one(c))
    }
}
