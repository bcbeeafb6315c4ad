//! What changed, by snapshot number; and the consistent reads that a snapshot is made from.

use super::error::StoreError;
use super::lent::{Lent, both};
use super::{AudienceRow, EnvironmentRow, FlagRow, Store, audiences, flags};

/// A stored change.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ChangeRow {
    /// The snapshot number that it made.
    pub number: i64,
    /// When.
    pub at: i64,
    /// What changed, as JSON.
    pub subjects: String,
}

/// An environment as one moment saw it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The environment, with its snapshot number.
    pub environment: EnvironmentRow,
    /// All its flags.
    pub flags: Vec<FlagRow>,
    /// All its audiences.
    pub audiences: Vec<AudienceRow>,
}

/// What changed in an environment, as one moment saw it.
#[derive(Debug, Clone)]
pub struct ChangedRows {
    /// The environment, with its snapshot number and settings.
    pub environment: EnvironmentRow,
    /// The changes in order.
    pub changes: Vec<ChangeRow>,
    /// The flags that they name.
    pub flags: Vec<FlagRow>,
    /// The audiences that they name and that are there.
    pub audiences: Vec<AudienceRow>,
    /// The audiences that they name and that were deleted.
    pub deleted_audiences: Vec<String>,
    /// Whether one of them says that stored events were erased.
    pub erased: bool,
}

/// An environment and one of its changes, if it has any.
type ChangeOf = (i64, String, String, String, i64, i64, Option<i64>, Option<i64>, Option<String>);

#[derive(serde::Deserialize, Default)]
struct Subjects {
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    erased: bool,
}

impl Store {
    /// Everything that an environment's snapshot is made from, as of one moment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown environment.
    pub async fn read_snapshot(&self, environment: i64) -> Result<Loaded, StoreError> {
        let mut lent = self.read_transaction("snapshot").await?;
        let row = environment_row(&mut lent, environment).await?;
        let flags = flags::flags(&mut lent, environment).await?;
        let audiences = audiences::audiences(&mut lent, environment).await?;
        lent.commit().await?;
        Ok(Loaded { environment: row, flags, audiences })
    }

    /// The flags of these keys that there are.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn flags_named(&self, environment: i64, keys: Vec<String>) -> Result<Vec<FlagRow>, StoreError> {
        named_flags(&mut self.reader("flags").await?, environment, keys).await
    }

    /// What changed after `since`, as of one moment; `None` if nothing did.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown environment, [`StoreError::Corrupt`] if a change cannot be read,
    /// [`StoreError::Swept`] if some are kept no more, [`StoreError::SetBack`] if `since` was never reached.
    pub async fn read_changes(
        &self,
        environment: i64,
        since: i64,
    ) -> Result<Option<ChangedRows>, StoreError> {
        let mut lent = self.read_transaction("changes").await?;
        let (row, changes) = changes(&mut lent, environment, since).await?;
        if row.snapshot < since {
            return Err(StoreError::SetBack { at: row.snapshot, known: since });
        }
        // Each number has its change: where some are missing, retention has deleted them.
        if i64::try_from(changes.len()).is_ok_and(|known| known < row.snapshot - since) {
            return Err(StoreError::Swept { after: since });
        }
        if changes.is_empty() {
            lent.commit().await?;
            return Ok(None);
        }
        let mut named = Subjects::default();
        for change in &changes {
            let subjects: Subjects = serde_json::from_str(&change.subjects)
                .map_err(|e| StoreError::Corrupt { what: format!("change {}: {e}", change.number) })?;
            named.flags.extend(subjects.flags);
            named.audiences.extend(subjects.audiences);
            named.erased |= subjects.erased;
        }
        let flags = named_flags(&mut lent, environment, named.flags).await?;
        let audiences = named_audiences(&mut lent, environment, named.audiences.clone()).await?;
        lent.commit().await?;
        let mut deleted_audiences = named.audiences;
        deleted_audiences.retain(|key| !audiences.iter().any(|row| row.key == *key));
        Ok(Some(ChangedRows {
            environment: row,
            changes,
            flags,
            audiences,
            deleted_audiences,
            erased: named.erased,
        }))
    }
}

pub(super) async fn environment_row(lent: &mut Lent, number: i64) -> Result<EnvironmentRow, StoreError> {
    both!(lent, "environment", c => sqlx::query_as::<_, EnvironmentRow>(
        "SELECT number, key, name, settings, snapshot, created_at FROM environments WHERE number = $1")
        .bind(number).fetch_optional(c))?
    .ok_or(StoreError::NotFound)
}

/// The environment, and its changes after a number.
async fn changes(
    lent: &mut Lent,
    environment: i64,
    after: i64,
) -> Result<(EnvironmentRow, Vec<ChangeRow>), StoreError> {
    let sql =
        "SELECT e.number, e.key, e.name, e.settings, e.snapshot, e.created_at, c.number, c.at, c.subjects
         FROM environments AS e LEFT JOIN changes AS c ON c.environment = e.number AND c.number > $2
         WHERE e.number = $1 ORDER BY c.number";
    let rows = lent.ask::<ChangeOf>("changes", sql, &[environment.into(), after.into()]).await?;
    let Some((number, key, name, settings, snapshot, created_at, ..)) = rows.first().cloned() else {
        return Err(StoreError::NotFound);
    };
    let row = EnvironmentRow { number, key, name, settings, snapshot, created_at };
    let change = |(.., number, at, subjects): ChangeOf| {
        Some(ChangeRow { number: number?, at: at?, subjects: subjects? })
    };
    Ok((row, rows.into_iter().filter_map(change).collect()))
}

/// The keys once each, as a JSON array.
fn key_list(mut keys: Vec<String>) -> String {
    keys.sort_unstable();
    keys.dedup();
    serde_json::Value::from(keys).to_string()
}

/// The flags of these keys; a document that is too large comes back empty.
async fn named_flags(
    lent: &mut Lent,
    environment: i64,
    keys: Vec<String>,
) -> Result<Vec<FlagRow>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys = key_list(keys);
    let sql = lent.pick(
        "SELECT number, key, version,
                CASE WHEN octet_length(document) <= 2097152 THEN document ELSE '' END AS document,
                sha256, state, stage_open, stages, updated_at, updated_by
         FROM flags WHERE environment = $1 AND key IN (SELECT value FROM json_each($2)) ORDER BY number",
        "SELECT number, key, version,
                CASE WHEN octet_length(document) <= 2097152 THEN document ELSE '' END AS document,
                sha256, state, stage_open, stages, updated_at, updated_by
         FROM flags WHERE environment = $1 AND key IN (SELECT json_array_elements_text($2::json)) ORDER BY number",
    );
    lent.ask("flags", sql, &[environment.into(), keys.as_str().into()]).await
}

async fn named_audiences(
    lent: &mut Lent,
    environment: i64,
    keys: Vec<String>,
) -> Result<Vec<AudienceRow>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys = key_list(keys);
    let sql = lent.pick(
        "SELECT key, kind, version, generation, size, updated_at, updated_by
         FROM audiences WHERE environment = $1 AND key IN (SELECT value FROM json_each($2)) ORDER BY key",
        "SELECT key, kind, version, generation, size, updated_at, updated_by
         FROM audiences WHERE environment = $1 AND key IN (SELECT json_array_elements_text($2::json)) ORDER BY key",
    );
    lent.ask("audiences", sql, &[environment.into(), keys.as_str().into()]).await
}
