//! Flags, their versions and their stages.

use crate::engine::key::FlagKey;

use super::Store;
use super::bulk::Value;
use super::error::StoreError;
use super::lent::{both, run};
use super::together::Must;
use super::write::{Change, WriteTx};

/// A stored flag.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FlagRow {
    /// Its number in its environment, for ever.
    pub number: i64,
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: i64,
    /// Its document as JSON.
    pub document: String,
    /// The hash of the document, in hex.
    pub sha256: String,
    /// `live`, `killed` or `archived`.
    pub state: String,
    /// The open stage.
    pub stage_open: Option<i64>,
    /// How many stages it has had.
    pub stages: i64,
    /// When it changed last.
    pub updated_at: i64,
    /// Who changed it last.
    pub updated_by: String,
}

/// A flag to be made, as version 1.
#[derive(Debug, Clone, Copy)]
pub struct NewFlag<'a> {
    /// Its key.
    pub key: &'a FlagKey,
    /// Everything else.
    pub content: FlagUpdate<'a>,
}

/// What a flag shall be from now on.
#[derive(Debug, Clone, Copy)]
pub struct FlagUpdate<'a> {
    /// Its document as JSON.
    pub document: &'a str,
    /// The hash of the document, in hex.
    pub sha256: &'a str,
    /// `live`, `killed` or `archived`.
    pub state: &'a str,
    /// The open stage.
    pub stage_open: Option<i64>,
    /// How many stages it has had.
    pub stages: i64,
    /// When.
    pub at: i64,
    /// Who.
    pub by: &'a str,
}

/// A stored version of a flag.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct VersionRow {
    /// The flag's number.
    pub flag: i64,
    /// The version.
    pub version: i64,
    /// The document as JSON.
    pub document: String,
    /// The hash of the document, in hex.
    pub sha256: String,
    /// `live`, `killed` or `archived`.
    pub state: String,
    /// When it was made.
    pub at: i64,
    /// Who made it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// What was done.
    pub action: String,
    /// What differs from the version before, as JSON.
    pub diff: Option<String>,
}

/// A stored stage of a flag.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StageRow {
    /// The flag's number.
    pub flag: i64,
    /// The stage's number.
    pub stage: i64,
    /// When it began.
    pub opened_at: i64,
    /// When it ended.
    pub closed_at: Option<i64>,
    /// The version that opened it.
    pub version: i64,
    /// Percentages by rule, and variants, as JSON.
    pub deciding: String,
}

impl Store {
    /// All flags of an environment in order of number.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn flags(&self, environment: i64) -> Result<Vec<FlagRow>, StoreError> {
        flags(&mut self.reader("flags").await?, environment).await
    }

    /// One flag.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn flag(&self, environment: i64, key: &FlagKey) -> Result<Option<FlagRow>, StoreError> {
        flag(&mut self.reader("flag").await?, environment, key).await
    }

    /// Versions of a flag, newest first, before a version.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn versions_page(
        &self,
        environment: i64,
        flag: i64,
        before_version: Option<i64>,
        limit: i64,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let mut lent = self.reader("versions").await?;
        both!(&mut lent, "versions", c => sqlx::query_as::<_, VersionRow>(
            "SELECT flag, version, document, sha256, state, at, actor, reason, action, diff
             FROM flag_versions WHERE environment = $1 AND flag = $2 AND version < $3
             ORDER BY version DESC LIMIT $4")
            .bind(environment).bind(flag).bind(before_version.unwrap_or(i64::MAX)).bind(limit).fetch_all(c))
    }

    /// One version of a flag.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn version(
        &self,
        environment: i64,
        flag: i64,
        version: i64,
    ) -> Result<Option<VersionRow>, StoreError> {
        let mut lent = self.reader("version").await?;
        both!(&mut lent, "version", c => sqlx::query_as::<_, VersionRow>(
            "SELECT flag, version, document, sha256, state, at, actor, reason, action, diff
             FROM flag_versions WHERE environment = $1 AND flag = $2 AND version = $3")
            .bind(environment).bind(flag).bind(version).fetch_optional(c))
    }

    /// Those of the flags numbered `flags` that have an open stage, in order of number.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn open_stages(&self, environment: i64, flags: &[i64]) -> Result<Vec<i64>, StoreError> {
        let flags = serde_json::Value::from(flags.to_vec()).to_string();
        let mut lent = self.reader("open stages").await?;
        let sql = lent.pick(
            "SELECT number FROM flags WHERE environment = $1 AND stage_open IS NOT NULL
               AND number IN (SELECT value FROM json_each($2)) ORDER BY number",
            "SELECT number FROM flags WHERE environment = $1 AND stage_open IS NOT NULL
               AND number IN (SELECT value::bigint FROM json_array_elements_text($2::json)) ORDER BY number",
        );
        both!(&mut lent, "open stages", c => sqlx::query_scalar::<_, i64>(sql)
            .bind(environment).bind(flags.as_str()).fetch_all(c))
    }

    /// The stages of a flag in order; with `None` those of all flags.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn stages(&self, environment: i64, flag: Option<i64>) -> Result<Vec<StageRow>, StoreError> {
        let mut lent = self.reader("stages").await?;
        both!(&mut lent, "stages", c => sqlx::query_as::<_, StageRow>(
            "SELECT flag, stage, opened_at, closed_at, version, deciding FROM stages
             WHERE environment = $1 AND flag BETWEEN $2 AND $3 ORDER BY flag, stage")
            .bind(environment).bind(flag.unwrap_or(0)).bind(flag.unwrap_or(i64::MAX)).fetch_all(c))
    }
}

/// Most flags that are read of an environment: one more than there may be, so that too many are seen.
const FLAGS_READ_MAX: i64 = 10_001;

/// All flags. A document of over 2 MiB, which nobody could have stored through huidu, comes back empty: one row must
/// not fill the memory.
pub(super) async fn flags(lent: &mut super::Lent, environment: i64) -> Result<Vec<FlagRow>, StoreError> {
    both!(lent, "flags", c => sqlx::query_as::<_, FlagRow>(
        "SELECT number, key, version,
                CASE WHEN octet_length(document) <= 2097152 THEN document ELSE '' END AS document,
                sha256, state, stage_open, stages, updated_at, updated_by
         FROM flags WHERE environment = $1 ORDER BY number LIMIT $2")
        .bind(environment).bind(FLAGS_READ_MAX).fetch_all(c))
}

/// One flag, by environment and key.
const FLAG: &str =
    "SELECT number, key, version, document, sha256, state, stage_open, stages, updated_at, updated_by
     FROM flags WHERE environment = $1 AND key = $2";

async fn flag(
    lent: &mut super::Lent,
    environment: i64,
    key: &FlagKey,
) -> Result<Option<FlagRow>, StoreError> {
    Ok(lent.ask("flag", FLAG, &[environment.into(), key.as_str().into()]).await?.pop())
}

impl Store {
    /// Begins a change of an environment, as [`Store::change`] does, with one flag as it then is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown environment.
    pub async fn change_of_flag(
        &self,
        environment: i64,
        key: &FlagKey,
    ) -> Result<(Change, Option<FlagRow>), StoreError> {
        let mut change = self.begin_write().await?;
        let flag: [Value<'_>; 2] = [environment.into(), key.as_str().into()];
        let mut found = change.lock_with(environment, (FLAG, &flag)).await?;
        Ok((change, found.pop()))
    }
}

impl WriteTx {
    /// One flag, as this transaction sees it.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn flag(&mut self, key: &FlagKey) -> Result<Option<FlagRow>, StoreError> {
        let environment = self.locked()?;
        flag(&mut self.lent, environment, key).await
    }

    /// All flags of the environment, as this transaction sees them.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn flags(&mut self) -> Result<Vec<FlagRow>, StoreError> {
        let environment = self.locked()?;
        flags(&mut self.lent, environment).await
    }

    /// Makes a flag, as version 1; its number is answered.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the key is taken.
    pub async fn insert_flag(&mut self, new: NewFlag<'_>) -> Result<i64, StoreError> {
        let environment = self.locked()?;
        let content = new.content;
        both!(&mut self.lent, "insert a flag", c => sqlx::query_scalar::<_, i64>(
            "INSERT INTO flags (environment, number, key, version, document, sha256, state, stage_open, stages,
                                updated_at, updated_by)
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, 1, $3, $4, $5, $6, $7, $8, $9
             FROM flags WHERE environment = $1
             ON CONFLICT DO NOTHING RETURNING number")
            .bind(environment).bind(new.key.as_str()).bind(content.document).bind(content.sha256)
            .bind(content.state).bind(content.stage_open).bind(content.stages).bind(content.at).bind(content.by)
            .fetch_optional(c))?
        .ok_or(StoreError::Exists)
    }

    /// Replaces a flag that is at version `expected`, and brings it to the next.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for one that is not, at the latest from the commit.
    pub async fn update_flag(
        &mut self,
        key: &FlagKey,
        expected: i64,
        content: FlagUpdate<'_>,
    ) -> Result<(), StoreError> {
        let environment = self.locked()?;
        let sql =
            "UPDATE flags SET version = version + 1, document = $4, sha256 = $5, state = $6, stage_open = $7,
                              stages = $8, updated_at = $9, updated_by = $10
             WHERE environment = $1 AND key = $2 AND version = $3";
        let values = [
            environment.into(),
            key.as_str().into(),
            expected.into(),
            content.document.into(),
            content.sha256.into(),
            content.state.into(),
            content.stage_open.into(),
            content.stages.into(),
            content.at.into(),
            content.by.into(),
        ];
        self.lent.write("update a flag", Must::Find, sql, &values).await
    }

    /// Brings a flag's version up to `version`, if it is lower: one that fell behind what was served goes on above it.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn raise_version(&mut self, key: &FlagKey, version: i64) -> Result<(), StoreError> {
        let environment = self.locked()?;
        run!(
            &mut self.lent,
            "raise a version",
            sqlx::query("UPDATE flags SET version = $3 WHERE environment = $1 AND key = $2 AND version < $3")
                .bind(environment)
                .bind(key.as_str())
                .bind(version)
        )
        .map(drop)
    }

    /// Keeps a version of a flag, of the number that this transaction takes next.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if that version is kept already, at the latest from the commit.
    pub async fn append_version(&mut self, row: &VersionRow) -> Result<(), StoreError> {
        let (environment, number) = (self.locked()?, self.snapshot() + 1);
        let sql = "INSERT INTO flag_versions (environment, flag, version, document, sha256, state, at, actor, reason,
                                        action, diff, number)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let values = [
            environment.into(),
            row.flag.into(),
            row.version.into(),
            row.document.as_str().into(),
            row.sha256.as_str().into(),
            row.state.as_str().into(),
            row.at.into(),
            row.actor.as_str().into(),
            row.reason.as_deref().into(),
            row.action.as_str().into(),
            row.diff.as_deref().into(),
            number.into(),
        ];
        self.lent.write("append a version", Must::Run, sql, &values).await
    }

    /// Opens a stage of a flag.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the flag has had a stage of that number, at the latest from the commit.
    pub async fn open_stage(&mut self, row: &StageRow) -> Result<(), StoreError> {
        let environment = self.locked()?;
        let sql = "INSERT INTO stages (environment, flag, stage, opened_at, closed_at, version, deciding)
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let values = [
            environment.into(),
            row.flag.into(),
            row.stage.into(),
            row.opened_at.into(),
            row.closed_at.into(),
            row.version.into(),
            row.deciding.as_str().into(),
        ];
        self.lent.write("open a stage", Must::Run, sql, &values).await
    }

    /// Closes a stage of a flag; one that is closed keeps its end.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown stage, at the latest from the commit.
    pub async fn close_stage(&mut self, flag: i64, stage: i64, at: i64) -> Result<(), StoreError> {
        let environment = self.locked()?;
        let sql = "UPDATE stages SET closed_at = COALESCE(closed_at, $4) WHERE environment = $1 AND flag = $2 AND stage = $3";
        let values = [environment.into(), flag.into(), stage.into(), at.into()];
        self.lent.write("close a stage", Must::Find, sql, &values).await
    }

    /// Ends the open stage of a flag without a new version: its end has passed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if that stage of the flag is not the open one.
    pub async fn end_stage(&mut self, flag: i64, stage: i64, at: i64) -> Result<(), StoreError> {
        let environment = self.locked()?;
        let ended = both!(&mut self.lent, "end a stage", c => sqlx::query_scalar::<_, i64>(
            "UPDATE flags SET stage_open = NULL WHERE environment = $1 AND number = $2 AND stage_open = $3
             RETURNING number")
            .bind(environment).bind(flag).bind(stage).fetch_optional(c))?;
        ended.ok_or(StoreError::NotFound)?;
        self.close_stage(flag, stage, at).await
    }
}
